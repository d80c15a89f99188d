//! Golden files of format version 1: what was once written is verified for ever, and what is written now is the same,
//! byte for byte. `GOLDEN_WRITE=1 cargo test -p attestation --test golden` writes them anew, which a released version
//! never needs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the crate is pure, its golden files are files"
)]

use attestation::codes;
use attestation::dsse::PublicKey;
use attestation::hex;
use attestation::merkle::Hash;
use attestation::synthetic::{self, HOOKS, ROOT, Session};
use attestation::verify::{Objects, Options, Verdict, verify};
use proto::evidence::measure::{Algorithm, Means};
use proto::evidence::{Act, BlindSpot, Dns, DnsQuestion, DnsRecord, Level, Network, Peer, event, frame, network};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

struct Golden {
    name: &'static str,
    session: Session,
    frames_per_segment: usize,
    complete: bool,
}

/// A session of a container, whose image is known or is not.
fn container(known: bool) -> Session {
    let mut session = Session::build_open();
    session.is_container(known);
    session.accounts();
    session.close("ended", 0);
    session
}

fn goldens() -> Vec<Golden> {
    let golden = |name, session, frames_per_segment, complete| Golden { name, session, frames_per_segment, complete };
    vec![
        golden("complete", Session::build(), 30, true),
        golden("one-segment", Session::build(), 1000, true),
        golden("blind-spot", blind_spot(), 1000, false),
        golden("lost-events", lost_events(), 1000, false),
        golden("survivor", survivor(), 1000, false),
        golden("not-closed", Session::build_open(), 25, false),
        golden("malformed", malformed(), 1000, false),
        golden("no-product", no_product(), 1000, true),
        golden("acts", acts(), 1000, false),
        golden("canaries", canaries(&[]), 1000, true),
        golden("canaries-silent", canaries(&[4, 9]), 1000, false),
        golden("redacted", redacted(), 1000, false),
        golden("inherited", inherited(), 1000, true),
        golden("platform", platform(), 1000, true),
        golden("dns", dns(), 1000, false),
        golden("measured", measured(), 1000, true),
        golden("unix", unix(), 1000, false),
        golden("container", container(true), 1000, true),
        golden("container-not-known", container(false), 1000, true),
    ]
}

fn closed(mut session: Session) -> Session {
    session.accounts();
    session.close("ended", 0);
    session
}

/// Messages: a question twice, its answer, one that is unread, and three that are malformed: without, and where none belongs.
fn dns() -> Session {
    let mut session = Session::build_open();
    let question = || DnsQuestion { name: b"a\\.b.\xff".to_vec(), r#type: 28, class: 1 };
    let record = DnsRecord { name: b"a".to_vec(), r#type: 28, class: 1, data: b"2001:db8::1".to_vec() };
    let asked = Dns { questions: vec![question()], ..Dns::default() };
    let answered =
        Dns { response: true, rcode: 3, questions: vec![question()], answers: vec![record], ..Dns::default() };
    let unread = Dns { fault: Some("malformed".into()), message: Some(vec![0xff; 3]), ..Dns::default() };
    let mut tell = |pid: u32, operation: network::Operation, dns: Option<Dns>| {
        let [sent_bytes, received_bytes] = if operation == network::Operation::DnsSent { [40, 0] } else { [0, 60] };
        let act = Network {
            operation: operation.into(),
            family: 2,
            r#type: 2,
            protocol: 17,
            local: vec![127, 0, 0, 1],
            local_port: 40_000,
            remote: vec![127, 0, 0, 53],
            remote_port: 53,
            cookie: 7,
            sent_bytes,
            received_bytes,
            level: Level::Object.into(),
            dns,
            ..Network::default()
        };
        session.event(11, pid, event::Body::Network(act));
    };
    let (sent, received) = (network::Operation::DnsSent, network::Operation::DnsReceived);
    tell(ROOT, sent, Some(asked.clone()));
    tell(ROOT, received, Some(answered));
    tell(ROOT, sent, Some(asked.clone()));
    tell(0, received, Some(unread));
    tell(ROOT, received, Some(Dns::default()));
    tell(ROOT, sent, None);
    tell(ROOT, network::Operation::Unspecified, Some(asked.clone()));
    tell(ROOT, network::Operation::Close, Some(asked));
    closed(session)
}

/// Unix sockets: a connection without a peer, and with each kind of peer, the last twice; a datagram by name, and one with a peer.
fn unix() -> Session {
    let mut session = Session::build_open();
    let act = |operation: network::Operation, peer: Option<Peer>| Network {
        operation: operation.into(),
        family: 1,
        r#type: 1,
        remote: b"/run/\x1b".to_vec(),
        level: Level::Object.into(),
        peer,
        ..Network::default()
    };
    let peer = |pid: u32, uid: u32, outside: bool| Some(Peer { pid, uid, outside });
    let ends = [
        None,
        peer(0, 0, false),
        peer(ROOT, 1000, false),
        peer(77, 0, true),
        peer(77, 0, true),
        peer(77, 1, true),
        peer(77, 0, false),
    ];
    for end in ends {
        session.event(11, ROOT, event::Body::Network(act(network::Operation::Connect, end)));
    }
    let accepted = Network { cookie: 9, ..act(network::Operation::Accept, peer(77, 0, true)) };
    session.event(11, ROOT, event::Body::Network(accepted.clone()));
    let close = Network { operation: network::Operation::Close.into(), sent_bytes: 7, ..accepted };
    session.event(11, 0, event::Body::Network(close.clone()));
    session.event(11, 0, event::Body::Network(close));
    session.unix_send(ROOT, Network { level: Level::UserArgument.into(), ..act(network::Operation::Send, None) });
    session.unix_send(ROOT, Network { r#type: 2, ..act(network::Operation::Send, peer(0, 65_534, true)) });
    closed(session)
}

/// Contents that the kernel measured, by each of its means.
fn measured() -> Session {
    let mut session = Session::build_open();
    session.measured(1, b"/usr/bin/dash", Means::Ima, Algorithm::Sha256, vec![1; 32]);
    session.measured(2, b"/usr/bin/cc", Means::FsVerity, Algorithm::Sha256, vec![2; 32]);
    session.measured(4, b"/src/main.c", Means::FsVerity, Algorithm::Sha512, vec![4; 64]);
    closed(session)
}

/// A call with every field, one without, and one that is none.
fn acts() -> Session {
    let mut session = Session::build_open();
    let arguments = || vec![0, 1, 2, 3, 4, u64::MAX];
    let texts = vec![b"none".to_vec(), b"/mnt/\x1b".to_vec()];
    let whole = Act {
        call: "mount".into(),
        arguments: arguments(),
        texts,
        outside: true,
        dev: 8 << 20 | 1,
        ino: 77,
        result: 1,
    };
    session.act(ROOT, whole);
    session.act(ROOT, Act { call: "ptrace".into(), arguments: arguments(), result: -1, ..Act::default() });
    session.act(ROOT, Act { call: "No call".into(), arguments: arguments(), ..Act::default() });
    session.act(ROOT, Act { call: "setns".into(), ..Act::default() });
    closed(session)
}

/// Three rounds; in the second some hooks are silent. One more round is of no number that can be, and one of a hook that there is
/// not.
fn canaries(silent: &[u32]) -> Session {
    let hooks: Vec<u32> = HOOKS.iter().filter(|hook| hook.1 != "attention").map(|hook| hook.0).collect();
    let told: Vec<u32> = hooks.iter().copied().filter(|hook| !silent.contains(hook)).collect();
    let mut session = Session::build_open();
    session.canaries(0, &hooks, &hooks);
    session.wait(2_000_000_000);
    session.canaries(1, &told, &hooks);
    if !silent.is_empty() {
        session.wait(61_000_000_000);
        session.canaries(3, &hooks, &hooks);
        session.canaries(2, &hooks, &[1, 2, 99]);
    }
    session.canaries(2, &hooks, &hooks);
    closed(session)
}

/// The host before and after, every fact of it, and what a session that is complete may say besides.
fn platform() -> Session {
    let mut session = Session::build_open();
    let notice = |code: &str| BlindSpot { code: code.into(), detail: "loop came".into(), ends_completeness: false };
    session.push(frame::Body::BlindSpot(notice(codes::MODULES_CHANGED)));
    let mut session = closed(session);
    session.tell_platform();
    session
}

fn redacted() -> Session {
    let mut session = Session::build_open();
    session.redact();
    closed(session)
}

fn inherited() -> Session {
    let mut session = Session::build_open();
    session.inherit();
    for code in [codes::INPUTS_NOT_OBSERVED, codes::SIGNER_NOT_BOUND, codes::INHERITED_DESCRIPTORS] {
        let notice = BlindSpot { code: code.into(), detail: String::new(), ends_completeness: false };
        session.push(frame::Body::BlindSpot(notice));
    }
    closed(session)
}

fn blind_spot() -> Session {
    let mut session = Session::build_open();
    session.attention(ROOT, codes::IO_URING_USED);
    session.attention(ROOT, codes::OUTSIDE_WRITE);
    closed(session)
}

fn lost_events() -> Session {
    let mut session = closed(Session::build_open());
    for frame in &mut session.frames {
        if let Some(frame::Body::Account(account)) = &mut frame.body
            && (account.hook, account.cpu) == (4, 1)
        {
            account.lost += 3;
            account.attempted += 3;
        }
    }
    session
}

fn survivor() -> Session {
    let mut session = Session::build_open();
    session.fork(ROOT, 1003);
    session.push(frame::Body::Survivor(proto::evidence::Survivor { pid: 1003, start_ns: 0 }));
    closed(session)
}

/// An unknown file, a number twice, a code that nobody knows.
fn malformed() -> Session {
    let mut session = Session::build_open();
    session.open_known(ROOT, 99, 1);
    session.attention(ROOT, "SOMETHING_NEW");
    let twice = session.frames.last().cloned().unwrap();
    session.frames.push(twice);
    closed(session)
}

fn no_product() -> Session {
    let mut session = Session::open();
    session.exec(ROOT, synthetic::file(1, b"/usr/bin/true"), &[b"true"]);
    session.exit(ROOT, 0);
    session.digest(1, proto::evidence::Class::Stable, b"/usr/bin/true", "", false);
    closed(session)
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/v1")
}

/// Path and bytes of every file of a golden.
fn files(golden: &Golden) -> Vec<(PathBuf, Vec<u8>)> {
    let signed = golden.session.sign(golden.frames_per_segment).unwrap();
    let evidence = directory().join(format!("{}.evidence", golden.name));
    let mut files = vec![(directory().join(format!("{}.intoto.jsonl", golden.name)), signed.envelope)];
    files.extend(signed.objects.into_iter().map(|(sha256, object)| (evidence.join(hex::encode(&sha256)), object)));
    files
}

fn key_file() -> (PathBuf, Vec<u8>) {
    (directory().join("key.pub"), synthetic::key().unwrap().public().to_pem().unwrap().into_bytes())
}

#[test]
fn what_is_written_now_is_what_was_written_then() {
    let write = std::env::var_os("GOLDEN_WRITE").is_some();
    for (path, bytes) in goldens().iter().flat_map(files).chain([key_file()]) {
        if write {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == bytes, "{} differs", path.display());
    }
}

struct Evidence(PathBuf);

impl Objects for Evidence {
    fn open(&self, sha256: &Hash) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(fs::File::open(self.0.join(hex::encode(sha256)))?))
    }
}

fn verify_golden(name: &str, with_evidence: bool, accept_incomplete: bool) -> Verdict {
    let key = PublicKey::from_pem(&fs::read(directory().join("key.pub")).unwrap()).unwrap();
    let evidence = Evidence(directory().join(format!("{name}.evidence")));
    let evidence = with_evidence.then_some(&evidence as &dyn Objects);
    let envelope = fs::File::open(directory().join(format!("{name}.intoto.jsonl"))).unwrap();
    verify(envelope, &Options { evidence, accept_incomplete, ..Options::by_keys(&[key]) })
}

#[test]
fn what_was_written_then_is_verified_now() {
    for golden in goldens() {
        for with_evidence in [false, true] {
            let verdict = verify_golden(golden.name, with_evidence, true);
            assert_eq!((verdict.exit_code(), verdict.complete), (0, golden.complete), "{}: {verdict:#?}", golden.name);
            let verdict = verify_golden(golden.name, with_evidence, false);
            assert_eq!(verdict.exit_code(), u8::from(!golden.complete), "{}", golden.name);
        }
    }
}

#[test]
fn every_golden_says_why_it_is_incomplete() {
    let expected = [
        ("blind-spot", vec![codes::IO_URING_USED]),
        ("lost-events", vec![codes::LOST_EVENTS]),
        ("survivor", vec![codes::SURVIVOR]),
        ("not-closed", vec![codes::NOT_CLOSED]),
        ("malformed", vec![codes::MALFORMED_LOG, codes::UNKNOWN_CODE, "SOMETHING_NEW"]),
        ("complete", vec![]),
    ];
    for (name, codes) in expected {
        let verdict = verify_golden(name, true, true);
        assert_eq!(verdict.gaps.iter().map(|gap| gap.code.as_str()).collect::<Vec<_>>(), codes, "{name}");
    }
}
