//! What is produced validates against the published schema, and what contradicts it does not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use attestation::codes;
use attestation::dsse;
use attestation::synthetic::{ROOT, Session};
use jsonschema::Validator;
use serde_json::{Value, json};

fn schema() -> Validator {
    let text = include_str!("../../docs/schema/statement-v1.schema.json");
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn statement(session: &Session) -> Value {
    let envelope = session.sign(1000).unwrap().envelope;
    serde_json::from_slice(&dsse::read(envelope.as_slice()).unwrap().into_unverified()).unwrap()
}

#[track_caller]
fn assert_valid(value: &Value) {
    let errors: Vec<String> =
        schema().iter_errors(value).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn a_complete_statement_validates() {
    assert_valid(&statement(&Session::build()));
}

#[test]
fn an_incomplete_statement_validates() {
    let mut session = Session::build_open();
    session.attention(ROOT, codes::IO_URING_USED);
    session.fork(ROOT, 1003);
    session.open_known(77, 3, 1);
    session.event(
        7,
        ROOT,
        proto::evidence::event::Body::Attention(proto::evidence::Attention { code: "NEW".into(), detail: 7 }),
    );
    assert_valid(&statement(&session));
}

#[test]
fn a_statement_that_was_bent_does_not_validate() {
    let whole = statement(&Session::build());
    let cases = [
        ("/_type", json!("https://in-toto.io/Statement/v0.1")),
        ("/subject", json!([])),
        ("/subject/0/digest", json!({})),
        ("/predicate/monitor/type", Value::Null),
        ("/predicate/monitoredProcess/event", json!("make")),
        ("/predicate/metadata/buildStartedOn", json!("yesterday")),
        ("/predicate/testimony/version", json!(2)),
        ("/predicate/testimony/lossless", json!(false)),
        ("/predicate/testimony/coverageLevel", json!("user-argument")),
        ("/predicate/testimony/gaps", json!([{"code": "LOST_EVENTS", "count": 1}])),
        ("/predicate/testimony/blindSpots", json!([{"code": "X", "count": 1, "endsCompleteness": true}])),
        ("/predicate/testimony/survivors", json!([{"pid": 1}])),
        ("/predicate/testimony/log/rootSha256", json!("00")),
        ("/predicate/testimony/coverage/0/misses", json!("0")),
        ("/predicate/monitorLog/fileAccess/0/name", json!("/a\u{1b}[2J")),
        ("/predicate/monitorLog/fileAccess/0/name", json!("/a\\q")),
        ("/predicate/monitorLog/fileAccess/0/annotations/class", json!("absent")),
        ("/predicate/monitorLog/fileAccess/0/annotations/processes", json!([])),
        ("/predicate/monitorLog/network/0/port", json!(0)),
        ("/predicate/monitorLog/process/0/eventType", json!("spawn")),
    ];
    let schema = schema();
    for (pointer, value) in cases {
        let mut bent = whole.clone();
        *bent.pointer_mut(pointer).unwrap() = value;
        assert!(!schema.is_valid(&bent), "{pointer}");
    }
}
