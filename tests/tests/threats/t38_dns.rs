//! 38: what is carried out by the names that are asked for.

use std::{
    net::{SocketAddr, UdpSocket},
    thread::{self, JoinHandle},
    time::Duration,
};

use proto::evidence::{Dns, network::Operation};
use tests::{Record, Run, Scratch, python};

use crate::calls::succeeded;

/// A resolver of one's own answers so many questions, each by what is made of it.
struct Resolver {
    address: SocketAddr,
    answers: JoinHandle<()>,
}

impl Resolver {
    fn start(address: &str, answers: usize, answer: fn(usize, &[u8]) -> Vec<u8>) -> Self {
        let socket = UdpSocket::bind((address, 53)).unwrap_or_else(|error| panic!("port 53 of {address}: {error}"));
        socket.set_read_timeout(Some(Duration::from_secs(120))).expect("a socket's own setting");
        let address = socket.local_addr().expect("it is bound");
        let answers = thread::spawn(move || {
            let mut question = [0; 4096];
            for number in 0..answers {
                let Ok((bytes, from)) = socket.recv_from(&mut question) else { return };
                socket.send_to(&answer(number, &question[..bytes]), from).expect("an answer is sent");
            }
        });
        Self { address, answers }
    }
}

/// 192.0.2.7 for whoever asks for an address; no other question has an answer.
fn one_address(_: usize, question: &[u8]) -> Vec<u8> {
    let name = 12 + question[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 1;
    let asks_for_address = question[name..name + 4] == [0, 1, 0, 1];
    let mut answer = question[..name + 4].to_vec();
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(asks_for_address), 0, 0, 0, 0]);
    if asks_for_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    }
    answer
}

/// Every message: what was done, the process, the peer and what it says.
fn messages(record: &Record) -> Vec<(Operation, Option<u32>, Vec<u8>, Dns)> {
    let contacts = record.trace.contacts();
    contacts
        .filter_map(|(contact, peer)| {
            Some((contact.operation, contact.process, peer.to_vec(), record.trace.dns(contact)?))
        })
        .collect()
}

fn names(dns: &Dns) -> Vec<(String, u32)> {
    dns.questions.iter().map(|question| (question.name.escape_ascii().to_string(), question.r#type)).collect()
}

/// Code and data of an answer; a question has none.
fn answers(dns: &Dns) -> Option<(u32, Vec<String>)> {
    let data = dns.answers.iter().map(|answer| answer.data.escape_ascii().to_string()).collect();
    dns.response.then_some((dns.rcode, data))
}

/// A script that may say `ask(bytes)`, and gets what the resolver answers.
fn asking(resolver: &Resolver, body: &str) -> String {
    let address = resolver.address.ip();
    format!(
        r#"
import os, socket
own = socket.socket({}, socket.SOCK_DGRAM)
own.settimeout(60)
def ask(message):
    own.sendto(message, ("{address}", 53))
    return own.recv(65536)
def question(name):
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
    return os.urandom(2) + b"\1\0\0\1" + bytes(6) + labels + b"\0\0\1\0\1"
{body}"#,
        if address.is_ipv6() { "socket.AF_INET6" } else { "socket.AF_INET" },
    )
}

/// Runs a script, which must succeed.
fn run(scratch: &Scratch, script: &str) -> Record {
    succeeded(Run::new(scratch, python(script)).go())
}

#[test]
fn a_name_that_a_program_asks_for_is_told_with_its_answer() {
    let scratch = Scratch::new();
    let resolver = Resolver::start("127.38.0.1", 2, one_address);
    scratch.write("resolv.conf", format!("nameserver {}\n", resolver.address.ip()));
    let act = "mount --bind resolv.conf /etc/resolv.conf && exec getent hosts secret.testimony.example";
    let command = ["unshare", "--mount", "sh", "-c", act];
    let ran = Run::new(&scratch, command).go();
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    let record = succeeded(ran);
    assert!(printed.contains("192.0.2.7"), "{printed}");
    record.must_be_complete_on_the_weakest();
    let messages = messages(&record);
    assert!(messages.iter().all(|(_, process, peer, _)| (*process, peer.as_slice()) == (Some(0), &[127, 38, 0, 1])));
    let said: Vec<_> = messages.iter().map(|(operation, .., dns)| (*operation, names(dns), answers(dns))).collect();
    let (address4, address6) = (1, 28);
    let asks = |kind| (Operation::DnsSent, vec![("secret.testimony.example".to_owned(), kind)], None);
    let hears = |kind, data: &[&str]| {
        let data = data.iter().map(|data| (*data).to_owned()).collect();
        (Operation::DnsReceived, vec![("secret.testimony.example".to_owned(), kind)], Some((0, data)))
    };
    // It wants the longer address first.
    assert_eq!(said, [asks(address6), hears(address6, &[]), asks(address4), hears(address4, &["192.0.2.7"])]);
    record.sees("dns", "names that are asked for, and their answers");
    resolver.answers.join().unwrap();
}

#[test]
fn a_name_asked_for_over_ipv6_is_told() {
    let scratch = Scratch::new();
    let resolver = Resolver::start("::1", 1, one_address);
    let record = run(&scratch, &asking(&resolver, "ask(question(b'six.example'))"));
    let messages = messages(&record);
    let told: Vec<_> = messages.iter().map(|(operation, _, peer, dns)| (*operation, peer.len(), names(dns))).collect();
    let asked = vec![("six.example".to_owned(), 1)];
    assert_eq!(told, [(Operation::DnsSent, 16, asked.clone()), (Operation::DnsReceived, 16, asked)]);
}

#[test]
fn hostile_messages_are_told_as_such() {
    let scratch = Scratch::new();
    let resolver = Resolver::start("127.38.0.2", 3, |number, _| match number {
        0 => b"garbage".to_vec(),
        // A name that leads to itself.
        1 => b"\0\0\x81\x80\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01".to_vec(),
        _ => vec![0xff; 65_507],
    });
    let record = run(
        &scratch,
        &asking(
            &resolver,
            "for name in b'a', b'\\xff\\0', b'c': ask(question(name))\nask_nobody = own.sendto(b'', ('127.38.0.3', 53))",
        ),
    );
    record.must_be_complete_on_the_weakest();
    record.must_balance();
    let messages = messages(&record);
    let faults: Vec<_> = messages.iter().map(|(.., dns)| dns.fault.as_deref().unwrap_or_default()).collect();
    assert_eq!(faults, ["", "malformed", "", "malformed", "", "cut", "malformed"]);
    let sizes: Vec<_> = messages.iter().map(|(.., dns)| dns.message.as_ref().map_or(0, Vec::len)).collect();
    assert_eq!(sizes, [0, 7, 0, 18, 0, 1232, 0]);
    assert_eq!(messages[1].3.message.as_deref(), Some(&b"garbage"[..]));
    assert_eq!(names(&messages[2].3)[0].0, r"\xff\x00");
    record.sees("dns", "messages that cannot be read, as they were");
    resolver.answers.join().unwrap();
}

#[test]
fn the_same_question_again_is_counted() {
    let scratch = Scratch::new();
    let resolver = Resolver::start("127.38.0.4", 0, one_address);
    let record = run(
        &scratch,
        &asking(
            &resolver,
            "for n in range(500): own.sendto(question(b'flood.example'), ('127.38.0.4', 53))\nask = question(b'other.example'); own.sendto(ask, ('127.38.0.4', 53))",
        ),
    );
    record.must_be_complete_on_the_weakest();
    record.must_balance();
    let told = messages(&record);
    let asked: Vec<_> = told.iter().map(|(.., dns)| names(dns)[0].0.clone()).collect();
    assert_eq!(asked, ["flood.example", "other.example"]);
    let [attempted, delivered, coalesced, lost] = record.numbers("dns");
    assert_eq!((coalesced, lost), (499, 0));
    assert_eq!(attempted, delivered + coalesced);
}

#[test]
fn a_name_that_a_child_asks_for_by_an_inherited_socket_is_the_child_s() {
    let scratch = Scratch::new();
    let resolver = Resolver::start("127.38.0.5", 2, one_address);
    let record = run(
        &scratch,
        &asking(
            &resolver,
            "ask(question(b'parent.example'))\nif os.fork() == 0: ask(question(b'child.example'))\nelse: os.wait()",
        ),
    );
    let who: Vec<_> =
        messages(&record).into_iter().map(|(_, process, _, dns)| (process, names(&dns)[0].0.clone())).collect();
    let of = |process: u32, name: &str| (Some(process), name.to_owned());
    let (parent, child) = (of(0, "parent.example"), of(1, "child.example"));
    assert_eq!(who, [parent.clone(), parent, child.clone(), child]);
}

#[test]
fn dns_over_tcp_is_said_not_to_be_read() {
    let scratch = Scratch::new();
    let listener = std::net::TcpListener::bind("127.38.0.6:53").unwrap();
    let record = run(&scratch, "import socket\nsocket.create_connection(('127.38.0.6', 53)).close()");
    record.must_be_complete_on_the_weakest();
    record.must_say("DNS_NOT_READ");
    let mut spots = record.trace.blind_spots().iter();
    assert!(spots.any(|spot| (spot.code.as_str(), spot.detail.as_str()) == ("DNS_NOT_READ", "tcp/53")));
    drop(listener);
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let script = format!(
        "import socket\nown = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nown.sendto(b'x', {:?})",
        ("127.0.0.1", other.local_addr().unwrap().port())
    );
    let record = run(&scratch, &script);
    record.must_be_complete_on_the_weakest();
    assert_eq!(messages(&record), []);
    assert!(!record.says("DNS_NOT_READ"));
}
