//! Peers: who was contacted, by whom, with how many bytes.

use std::net::{TcpListener, UdpSocket};

use proto::evidence::network::Operation;
use tests::{Peer, Record, Run, Scratch, python};

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const LOOPBACK6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A server in a child and a client in the root: what each sent is what the other received.
const TALK: &str = r#"
import os, socket, sys
family = getattr(socket, sys.argv[1])
host = {"AF_INET": "127.0.0.1", "AF_INET6": "::1"}[sys.argv[1]]
listener = socket.socket(family)
listener.bind((host, 0))
listener.listen()
port = listener.getsockname()[1]
def read(peer, bytes):
    while bytes: bytes -= len(peer.recv(bytes))
server = os.fork()
if server == 0:
    peer, _ = listener.accept()
    read(peer, 1000)
    peer.sendall(b"s" * 50000)
    assert peer.recv(1) == b""
    peer.close()
    os._exit(0)
listener.close()
client = socket.create_connection((host, port))
client.sendall(b"c" * 1000)
read(client, 50000)
client.close()
os.waitpid(server, 0)
print(port)
"#;

fn acts(record: &Record, operation: Operation) -> Vec<Peer> {
    record.peers().into_iter().filter(|peer| peer.act.operation() == operation).collect()
}

fn talk(family: &str) -> (Record, u32) {
    let scratch = Scratch::new();
    let mut command = python(TALK);
    command.push(family.to_owned());
    let ran = Run::new(&scratch, command).go();
    let port = String::from_utf8_lossy(&ran.stdout).trim().parse().unwrap_or_else(|_| panic!("{}", ran.stderr));
    (ran.complete(), port)
}

fn check_talk(record: &Record, port: u32, family: u32, address: &[u8]) {
    let (client, server) = (record.root().pid, record.children(record.root())[0].pid);
    let connects = acts(record, Operation::Connect);
    let [connect] = connects.as_slice() else { panic!("{connects:?}") };
    assert_eq!((connect.pid, connect.act.family, connect.act.result), (client, family, 0));
    assert_eq!((connect.act.remote.as_slice(), connect.act.remote_port), (address, port));
    let accepts = acts(record, Operation::Accept);
    let [accept] = accepts.as_slice() else { panic!("{accepts:?}") };
    assert_eq!((accept.pid, accept.act.local.as_slice(), accept.act.local_port), (server, address, port));
    assert_eq!((accept.act.remote.as_slice(), accept.act.remote_port != port), (address, true));
    let binds = acts(record, Operation::Bind);
    assert!(binds.iter().any(|bind| bind.pid == client && bind.act.local == address), "{binds:?}");
    let closes = acts(record, Operation::Close);
    let of = |pid: u32| -> Vec<(u64, u64)> {
        let own = closes.iter().filter(|close| close.pid == pid);
        own.map(|close| (close.act.sent_bytes, close.act.received_bytes)).collect()
    };
    assert_eq!((of(client), of(server)), (vec![(1000, 50_000)], vec![(50_000, 1000)]));
    // One row has the bytes: of what was seen last before the connection stood, the call or the attempt within it.
    let holds = if record.sees_before("connect") { Operation::ConnectAttempt } else { Operation::Connect };
    let contacts = record.trace.contacts().filter(|(contact, told)| *told == address && contact.port == port);
    let bytes = contacts.map(|(contact, _)| (contact.operation, contact.sent_bytes, contact.received_bytes));
    let mut bytes: Vec<_> = bytes.filter(|(operation, ..)| *operation != Operation::Bind).collect();
    bytes.sort_unstable();
    let row = |operation| if operation == holds { (operation, 1000, 50_000) } else { (operation, 0, 0) };
    assert_eq!(bytes, [row(Operation::ConnectAttempt), row(Operation::Connect)]);
}

#[test]
fn a_tcp_connection_has_both_ends_and_its_bytes() {
    let (record, port) = talk("AF_INET");
    check_talk(&record, port, AF_INET, &LOOPBACK);
}

#[test]
fn a_tcp_connection_over_ipv6_has_both_ends_and_its_bytes() {
    let (record, port) = talk("AF_INET6");
    check_talk(&record, port, AF_INET6, &LOOPBACK6);
}

#[test]
fn datagrams_to_an_address_name_it_each_time() {
    let scratch = Scratch::new();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("[::1]:0").unwrap();
    let (port, other_port) = (receiver.local_addr().unwrap().port(), other.local_addr().unwrap().port());
    let script = format!(
        r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(5): s.sendto(b"x", ("127.0.0.1", {port}))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.sendto(b"x", ("::1", {other_port}))
"#
    );
    let record = Run::new(&scratch, python(&script)).go().complete();
    let sent = |family: u32| -> Vec<(Vec<u8>, u32, u64)> {
        let sends = acts(&record, Operation::Send);
        let own = sends.into_iter().filter(|send| send.act.family == family);
        own.map(|send| (send.act.remote, send.act.remote_port, send.count)).collect()
    };
    assert_eq!(sent(AF_INET), [(LOOPBACK.to_vec(), u32::from(port), 5)]);
    assert_eq!(sent(AF_INET6), [(LOOPBACK6.to_vec(), u32::from(other_port), 1)]);
}

#[test]
fn a_unix_socket_is_named_by_its_path() {
    let scratch = Scratch::new();
    let _path = std::os::unix::net::UnixListener::bind(scratch.join("s")).unwrap();
    let path = scratch.join("s").into_os_string().into_string().unwrap();
    assert!(path.len() < 108, "{path} is too long for a socket's name");
    let script = format!("import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({path:?})");
    let record = Run::new(&scratch, python(&script)).go().complete();
    let connects = acts(&record, Operation::Connect);
    // Where it is told as it is asked for, it is told again where it arrives.
    assert_eq!(connects.len(), if record.sees_before("connect") { 2 } else { 1 }, "{connects:?}");
    for connect in connects {
        assert_eq!((connect.act.family, connect.act.result), (AF_UNIX, 0));
        assert_eq!(connect.act.remote.escape_ascii().to_string(), path);
    }
}

#[test]
fn a_refused_connection_is_an_attempt_with_its_address() {
    let scratch = Scratch::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let script = format!(
        r#"
import socket
s = socket.socket()
assert s.connect_ex(("127.0.0.1", {closed})) == 111
"#
    );
    let record = Run::new(&scratch, python(&script)).go().complete();
    let to_closed = |peer: &&Peer| peer.act.remote == LOOPBACK && peer.act.remote_port == u32::from(closed);
    let attempts = acts(&record, Operation::ConnectAttempt);
    assert_eq!(attempts.iter().filter(to_closed).count(), 1, "{attempts:?}");
    let connects = acts(&record, Operation::Connect);
    let [connect] = connects.as_slice() else { panic!("{connects:?}") };
    assert!(to_closed(&connect), "{connect:?}");
    // What watches the act before it happens cannot know how it ends.
    assert!([0, -111].contains(&connect.act.result), "{connect:?}");
    assert_eq!(acts(&record, Operation::Accept), []);
}

#[test]
fn a_connection_without_waiting_is_the_same_peer() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        r#"
import select, socket
s = socket.socket()
s.setblocking(False)
s.connect_ex(("127.0.0.1", {port}))
select.select([], [s], [])
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
"#
    );
    let record = Run::new(&scratch, python(&script)).go().complete();
    let connects = acts(&record, Operation::Connect);
    let [connect] = connects.as_slice() else { panic!("{connects:?}") };
    assert_eq!((connect.act.remote.as_slice(), connect.act.remote_port), (LOOPBACK.as_slice(), u32::from(port)));
}
