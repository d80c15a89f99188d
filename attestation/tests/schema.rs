//! What is produced validates against the published schema, and the reader refuses whatever the schema forbids.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use attestation::codes;
use attestation::dsse;
use attestation::escape::is_escaped;
use attestation::statement::read;
use attestation::synthetic::{ROOT, Session};
use jsonschema::Validator;
use proto::evidence::measure::{Algorithm, Means};
use proto::evidence::{
    Act, Attention, BlindSpot, Dns, DnsQuestion, DnsRecord, Network, Peer, Survivor, event, frame, network,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;

fn document() -> Value {
    serde_json::from_str(include_str!("../../docs/schema/statement-v1.schema.json")).unwrap()
}

fn schema() -> Validator {
    jsonschema::meta::validate(&document()).unwrap();
    let options = jsonschema::options().with_format("testimony-escaped", is_escaped).should_validate_formats(true);
    options.build(&document()).unwrap()
}

fn statement(session: &Session) -> Value {
    let envelope = session.sign(1000).unwrap().envelope;
    serde_json::from_slice(&dsse::read(envelope.as_slice()).unwrap().into_unverified()).unwrap()
}

/// A session whose statement has every field that a statement can have.
fn everything() -> Session {
    let mut session = Session::build_open();
    session.attention(ROOT, codes::IO_URING_USED);
    let texts = vec![b"one".to_vec(), b"\x1b".to_vec()];
    let act =
        Act { call: "mount".into(), arguments: vec![7; 6], texts, outside: true, dev: 1, ino: 2, ..Act::default() };
    session.act(ROOT, act);
    session.fork(ROOT, 1003);
    session.open_known(77, 3, 1);
    session.event(7, ROOT, event::Body::Attention(Attention { code: "NEW".into(), detail: 7 }));
    let unix = Network {
        operation: network::Operation::Connect.into(),
        family: 1,
        remote: b"/run/\x1b\\sock".to_vec(),
        peer: Some(Peer { pid: 77, uid: 65_534, outside: true }),
        ..Network::default()
    };
    session.event(11, ROOT, event::Body::Network(unix));
    let record = DnsRecord { name: b"\x1b.example".to_vec(), r#type: 1, class: 1, data: b"192.0.2.1".to_vec() };
    let question = DnsQuestion { name: b".".to_vec(), r#type: 65_535, class: 255 };
    let dns = Network {
        operation: network::Operation::DnsReceived.into(),
        family: 2,
        protocol: 17,
        remote: vec![127, 0, 0, 53],
        remote_port: 53,
        received_bytes: 7,
        dns: Some(Dns {
            response: true,
            rcode: 3,
            questions: vec![question],
            answers: vec![record],
            fault: Some("several".into()),
            message: Some(vec![0xff]),
            ..Dns::default()
        }),
        ..Network::default()
    };
    session.event(11, ROOT, event::Body::Network(dns));
    session.push(frame::Body::BlindSpot(BlindSpot {
        code: codes::RECOVERED.into(),
        detail: "d".into(),
        ends_completeness: true,
    }));
    session.measured(4, b"/src/main.c", Means::FsVerity, Algorithm::Sha512, vec![7; 64]);
    session.push(frame::Body::Survivor(Survivor { pid: 1003, start_ns: 5 }));
    session.accounts();
    session.close("ended", 9);
    session.tell_platform();
    session
}

#[track_caller]
fn assert_valid(value: &Value) {
    let errors: Vec<String> =
        schema().iter_errors(value).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert_eq!(errors, Vec::<String>::new());
    read(value.to_string().as_bytes()).unwrap();
}

#[test]
fn statements_validate_and_are_read() {
    for session in [Session::build(), Session::build_open(), everything(), Session::open()] {
        assert_valid(&statement(&session));
    }
}

#[test]
fn gaps_have_the_codes_of_recomputing() {
    let listed = document()["$defs"]["gap"]["properties"]["code"]["enum"].clone();
    let gaps: Vec<&str> = codes::ALL.iter().filter(|code| code.is_gap()).map(|code| code.name).collect();
    assert_eq!(listed, json!(gaps));
}

/// The place of a value, with every list's entries taken together.
fn kind_of(pointer: &str) -> String {
    let part = |part: &str| if part.parse::<u32>().is_ok() { "*".to_owned() } else { part.to_owned() };
    pointer.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Pointers to one value of each kind.
fn places(value: &Value, pointer: &str, seen: &mut BTreeSet<String>, found: &mut Vec<String>) {
    if seen.insert(kind_of(pointer)) {
        found.push(pointer.to_owned());
    }
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| places(value, &format!("{pointer}/{key}"), seen, found))
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| places(value, &format!("{pointer}/{at}"), seen, found));
        }
        _ => {}
    }
}

/// The statement with those entries of its lists in which one of these places is.
fn shortened(whole: &Value, found: &[String]) -> Value {
    let mut short = whole.clone();
    for list in ["process", "network", "fileAccess"] {
        let pointer = format!("/predicate/monitorLog/{list}");
        let last =
            |place: &String| place.strip_prefix(&format!("{pointer}/"))?.split('/').next()?.parse::<usize>().ok();
        let keep = found.iter().filter_map(last).max().unwrap_or(0);
        short.pointer_mut(&pointer).unwrap().as_array_mut().unwrap().truncate(keep + 1);
    }
    short
}

/// Values of other types and at the bounds of integers.
const VALUES: &str = "[null, true, false, [], {}, [[]], [{}], [null], [\"a\"], [1, 1], [2, 1], 0, -1, 1, 7, 127, 128, 255, 256,
    65535, 65536, 4294967295, 4294967296, 2147483648, -2147483648, -2147483649, 18446744073709551615, -9223372036854775808]";

/// Texts at the bounds of the rules.
const TEXTS: &[&str] = &[
    "",
    "x",
    "0",
    "00",
    "-0",
    "-1",
    "007",
    "18446744073709551615",
    "99999999999999999999",
    "100000000000000000000",
    "-9999999999999999999",
    "9999999999",
    "\u{1b}",
    "\u{202e}",
    "\u{9b}",
    "\\",
    "\\\\",
    "\\x1b",
    "\\x41",
    "\\x7f",
    "\\xc3\\xa9",
    "\\xff",
    "\\X1b",
    "\\x1B",
    "é",
    "GONE",
    "SURVIVOR",
    "lower",
    "A_0",
    "none",
    "object",
    "Object",
    "exec",
    "fork",
    "root",
    "read",
    "write+read",
    "read+write+exec+created+truncated+path",
    "created",
    "read+read",
    "+read",
    "read+",
    "stable",
    "absent",
    "fs-verity",
    "sha256",
    "fifo",
    "0644",
    "0844",
    "00644",
    "8:1",
    "8:01",
    "4095:1048575",
    "10000:1",
    "8:",
    "tcp",
    "ip-0",
    "ip-01",
    "ip-4294967295",
    "family-",
    "family-12345678901",
    "::",
    "1.2.3.4",
    "g::",
    ":",
    "0x0000ef53",
    "0x0000EF53",
    "0000ef53",
    "file://",
    "file:///a%20b",
    "file:///a%2",
    "file:///a%2g",
    "file:///a b",
    "file:///é",
    "file:///%C3%A9",
    "urn:testimony:session::v1",
    "urn:testimony:session:a%2Fb:v1",
    "urn:testimony:session:a/b:v1",
    "urn:testimony:session:v1",
    "urn:testimony:host:unknown",
    "urn:uuid:",
    "1969-12-31T23:59:59.000000000Z",
    "1970-01-01T00:00:00.000000000Z",
    "9999-12-31T23:59:59.999999999Z",
    "2024-02-31T00:00:00.000000000Z",
    "2024-13-01T00:00:00.000000000Z",
    "2024-01-00T00:00:00.000000000Z",
    "2024-01-01T24:00:00.000000000Z",
    "2024-01-01T00:60:00.000000000Z",
    "2024-01-01T00:00:60.000000000Z",
    "2024-01-01T00:00:00Z",
    "2024-01-01t00:00:00.000000000Z",
    "٢٠٢٤-01-01T00:00:00.000000000Z",
];

/// What may stand in a value's place instead.
fn others(value: &Value) -> Vec<Value> {
    let mut others: Vec<Value> = serde_json::from_str(VALUES).unwrap();
    others.extend(TEXTS.iter().map(|text| Value::from(*text)));
    match value {
        Value::String(text) => {
            let bends =
                [format!("{text}\n"), format!("{text} "), format!(" {text}"), text.to_uppercase(), format!("{text}0")];
            others.extend(bends.map(Value::from));
            let mut shorter = text.clone();
            shorter.pop();
            others.push(Value::from(shorter));
        }
        Value::Object(map) => others.push(map.values().cloned().collect()),
        Value::Array(list) => others.push(list.iter().chain(list).cloned().collect()),
        _ => {}
    }
    others
}

/// Rules of docs/format.md that a schema cannot say: a version is not known, segments are in order.
fn is_beyond_schema(kind: &str) -> bool {
    kind.ends_with("/sequence") || kind.ends_with("/segments")
}

/// How many values were put in the place of this one, in which both agreed.
fn agree_at(pointer: &str, whole: &Value, schema: &Validator) -> usize {
    let others = others(whole.pointer(pointer).unwrap());
    for other in &others {
        let mut bent = whole.clone();
        *bent.pointer_mut(pointer).unwrap() = other.clone();
        agree(schema, &bent, pointer, &format!("{other}"));
    }
    if let Some((parent, key)) = pointer.rsplit_once('/')
        && let Some(Value::Object(_)) = whole.pointer(parent)
    {
        let mut bent = whole.clone();
        bent.pointer_mut(parent).unwrap().as_object_mut().unwrap().shift_remove(key);
        agree(schema, &bent, pointer, "absent");
    }
    others.len()
}

#[test]
fn the_reader_and_the_schema_agree_on_every_value_that_is_put_in_the_place_of_another() {
    let (schema, mut seen, mut cases) = (schema(), BTreeSet::new(), 0);
    for whole in [statement(&everything()), statement(&Session::build()), statement(&Session::open())] {
        let mut found = Vec::new();
        places(&whole, "", &mut seen, &mut found);
        let whole = &shortened(&whole, &found);
        let (half, rest) = found.split_at(found.len() / 2);
        let agreed = |found: &[String]| found.iter().map(|pointer| agree_at(pointer, whole, &schema)).sum::<usize>();
        cases += thread::scope(|scope| {
            let other = scope.spawn(|| agreed(rest));
            agreed(half) + other.join().unwrap()
        });
    }
    assert!(cases > 20_000, "{cases}");
}

#[track_caller]
fn agree(schema: &Validator, bent: &Value, pointer: &str, what: &str) {
    // The escapes of a text are those of JSON that a payload may have.
    let text = bent.to_string();
    let taken = read(text.as_bytes());
    if schema.is_valid(bent) && is_beyond_schema(&kind_of(pointer)) {
        return;
    }
    assert_eq!(taken.is_ok(), schema.is_valid(bent), "{pointer} = {what}: {taken:?}");
}
