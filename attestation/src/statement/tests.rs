//! Statements that say what the trace says, and payloads that are none.

use super::*;
use crate::synthetic::{ROOT, SESSION_ID, Session, file};
use crate::trace::access;
use proto::evidence as log;
use proto::evidence::{Class, event, network};
use serde_json::Value;

fn payload(session: &Session) -> Vec<u8> {
    let (head, _) = session.write(1000).unwrap();
    let mut out = Vec::new();
    write(&mut out, &session.trace().unwrap(), &head, &Meta::default()).unwrap();
    out
}

fn statement(session: &Session) -> Value {
    serde_json::from_slice(&payload(session)).unwrap()
}

#[test]
fn the_same_session_gives_the_same_bytes() {
    assert_eq!(payload(&Session::build()), payload(&Session::build()));
    assert!(!payload(&Session::build()).contains(&b'\n'));
}

#[test]
fn what_in_toto_and_the_predicate_require_is_there() {
    let statement = statement(&Session::build());
    assert_eq!(statement["_type"], STATEMENT_TYPE);
    assert_eq!(statement["predicateType"], PREDICATE_TYPE);
    assert_eq!(statement["subject"][0]["name"], "/src/tool");
    let predicate = &statement["predicate"];
    for uri in [&predicate["monitor"]["type"], &predicate["monitoredProcess"]["hostID"]] {
        assert!(uri.as_str().unwrap().starts_with("urn:"));
    }
    assert_eq!(predicate["monitoredProcess"]["event"], format!("urn:uuid:{}", crate::hex::uuid(&SESSION_ID)));
    for file in predicate["monitorLog"]["fileAccess"].as_array().unwrap() {
        assert!(file["digest"]["sha256"].is_string() != file["uri"].is_string(), "a ResourceDescriptor: {file}");
    }
}

#[test]
fn without_a_product_the_log_is_the_subject() {
    let session = Session::open();
    let (head, _) = session.write(10).unwrap();
    let statement = statement(&session);
    assert_eq!(statement["subject"].as_array().unwrap().len(), 1);
    assert_eq!(statement["subject"][0]["name"], SUBJECT_EVIDENCE);
    let (head_10, root) = (head.segments.len(), statement["subject"][0]["digest"]["sha256"].as_str().unwrap().len());
    assert_eq!((head_10, root), (1, 64));
}

#[test]
fn a_session_that_was_not_closed_has_no_end() {
    let metadata = &statement(&Session::build_open())["predicate"]["metadata"];
    assert!(metadata["buildFinishedOn"].is_null() && metadata["buildStartedOn"].is_string());
}

#[test]
fn hostile_names_are_escaped_wherever_they_stand() {
    let hostile = b"/\x1b[2J\n\\\xff\"\xe2\x80\xae";
    let mut session = Session::open();
    session.exec(ROOT, file(1, hostile), &[hostile]);
    session.open_file(ROOT, file(2, hostile), access::WRITE, 0);
    session.digest(2, Class::Stable, hostile, "", true);
    session.rename(ROOT, hostile, hostile);
    let unix = log::Network {
        operation: network::Operation::Connect.into(),
        family: 1,
        remote: hostile.to_vec(),
        ..log::Network::default()
    };
    session.event(11, ROOT, event::Body::Network(unix));
    let statement = statement(&session);
    let escaped = "/\\x1b[2J\\x0a\\\\\\xff\"\\xe2\\x80\\xae";
    let predicate = &statement["predicate"];
    for place in [
        &statement["subject"][0]["name"],
        &predicate["monitorLog"]["process"][0]["processBinary"],
        &predicate["monitorLog"]["process"][0]["arguments"][0],
        &predicate["monitorLog"]["fileAccess"][1]["name"],
        &predicate["monitorLog"]["network"][0]["path"],
        &predicate["testimony"]["nameChanges"][0]["target"],
    ] {
        assert_eq!(place, escaped);
        assert_eq!(crate::escape::unescape(place.as_str().unwrap()).unwrap(), hostile);
    }
    assert_eq!(predicate["monitorLog"]["network"][0]["protocol"], "unix");
}

#[test]
fn a_process_has_an_entry_for_every_program_and_one_without() {
    let mut session = Session::open();
    session.exec(ROOT, file(1, b"/bin/sh"), &[b"sh"]);
    session.exec(ROOT, file(2, b"/bin/env"), &[]);
    session.fork(ROOT, 1001);
    let statement = statement(&session);
    let entries = statement["predicate"]["monitorLog"]["process"].as_array().unwrap();
    let told: Vec<_> = entries.iter().map(|entry| (&entry["eventType"], &entry["processBinary"])).collect();
    assert_eq!(
        told,
        [
            (&Value::from("exec"), &Value::from("/bin/sh")),
            (&Value::from("exec"), &Value::from("/bin/env")),
            (&Value::from("fork"), &Value::Null)
        ]
    );
    assert_eq!(entries[1]["arguments"], Value::Array(vec![]));
    assert_eq!((&entries[2]["ppid"], &entries[2]["parent"]), (&Value::from(ROOT), &Value::from(0)));
}

#[test]
fn protocols_have_their_names() {
    let cases = [
        (2, 1, 0, "tcp"),
        (2, 2, 0, "udp"),
        (10, 1, 6, "tcp"),
        (2, 2, 17, "udp"),
        (2, 3, 1, "icmp"),
        (10, 3, 58, "icmp"),
        (2, 1, 132, "ip-132"),
        (1, 1, 0, "unix"),
        (16, 3, 0, "family-16"),
        (40, 1, 0, "family-40"),
    ];
    let mut session = Session::open();
    for (family, socket, protocol, _) in cases {
        let act = log::Network {
            operation: network::Operation::Send.into(),
            family,
            r#type: socket,
            protocol,
            ..log::Network::default()
        };
        session.event(13, ROOT, event::Body::Network(act));
    }
    let statement = statement(&session);
    let entries = statement["predicate"]["monitorLog"]["network"].as_array().unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry["protocol"].as_str().unwrap()).collect();
    assert_eq!(names, cases.map(|case| case.3));
}

#[test]
fn addresses_that_their_family_does_not_have_are_no_ip() {
    let mut session = Session::open();
    for remote in [vec![1, 2, 3], vec![0; 16], vec![]] {
        let operation = network::Operation::Connect.into();
        let act = log::Network { operation, family: 2, remote, remote_port: 65_535, ..log::Network::default() };
        session.event(11, ROOT, event::Body::Network(act));
    }
    let statement = statement(&session);
    for entry in statement["predicate"]["monitorLog"]["network"].as_array().unwrap() {
        assert!(entry["ip"].is_null() && entry["port"].is_null(), "{entry}");
    }
}

#[test]
fn an_output_that_fails_is_told() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let session = Session::build();
    let (head, _) = session.write(1000).unwrap();
    let error = write(Full, &session.trace().unwrap(), &head, &Meta::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn claims_are_what_was_written() {
    let session = Session::build();
    let (head, _) = session.write(20).unwrap();
    let (signer, previous) = ("SHA256:k".into(), Some([9; 32]));
    let meta = Meta { signer, number: Some(u64::MAX), previous, ..Meta::default() };
    let mut out = Vec::new();
    write(&mut out, &session.trace().unwrap(), &head, &meta).unwrap();
    let claims = read(&out).unwrap();
    assert_eq!((claims.log, claims.meta), (head, meta));
    assert_eq!(claims.digest_classes, claims.counted_classes);
    assert_eq!(claims.listed, [3, 2]);
    assert!(claims.complete && claims.lossless && claims.gaps.is_empty());
}

#[test]
fn a_key_that_stands_twice_anywhere_is_refused() {
    let payload = String::from_utf8(payload(&Session::build())).unwrap();
    for (from, to) in [
        ("\"ino\":", "\"ino\":\"1\",\"ino\":"),
        ("\"uid\":", "\"uid\":1,\"uid\":"),
        ("\"ip\":", "\"ip\":\"::\",\"i\\u0070\":"),
        ("\"predicate\":", "\"predicate\":{},\"predicate\":"),
        ("\"monitor\":{", "\"monitor\":{\"x\":{\"y\":1,\"z\":2,\"y\":3},"),
    ] {
        assert!(payload.contains(from));
        let twice = payload.replacen(from, to, 1);
        assert!(matches!(read(twice.as_bytes()), Err(ReadError::NotStrict(_))), "{from}");
    }
    let more = payload.replacen("\"monitor\":{", "\"monitor\":{\"x\":{\"y\":1,\"z\":2},", 1);
    assert!(read(more.as_bytes()).is_ok(), "unknown fields are ignored");
}

#[test]
fn deep_broken_and_foreign_documents_are_refused() {
    let deep = |open: &str, close: &str| [open.repeat(200), close.repeat(200)].concat();
    for text in ["", "{", "null", "[]", "{}", "{\"_type\":1}", "\"x", "1e999", &deep("[", "]"), &deep("{\"a\":", "}")] {
        assert!(read(text.as_bytes()).is_err(), "{text}");
    }
    assert!(read(b"{\"\xff\":1}").is_err());
}

#[test]
fn a_list_over_its_limit_is_refused() {
    let payload = String::from_utf8(payload(&Session::build())).unwrap();
    let with = |count: usize| {
        let gaps = vec!["{\"code\":\"SURVIVOR\",\"count\":1}"; count].join(",");
        payload.replacen("\"gaps\":[]", &format!("\"gaps\":[{gaps}]"), 1)
    };
    assert_eq!(read(with(LIST_MAX).as_bytes()).unwrap().gaps.len(), LIST_MAX);
    assert!(matches!(read(with(LIST_MAX + 1).as_bytes()), Err(ReadError::Shape(_))));
}
