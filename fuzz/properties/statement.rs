//! What holds of a payload, whatever its bytes: what is read has one form and is what the published schema allows, what has that
//! form and is refused is forbidden by the schema; and no statement is accepted as complete that says otherwise itself.

use attestation::dsse;
use attestation::escape::is_escaped;
use attestation::statement::{Claims, ReadError, read};
use attestation::synthetic::{self, ROOT, Session};
use attestation::verify::{Options, verify};
use jsonschema::Validator;
use proto::evidence::{Act, BlindSpot, Network, Survivor, event, frame, network};
use serde_json::Value;
use std::sync::OnceLock;

/// The first byte of an input that puts a value in the place of another: which statement, which place, and the value's text.
pub const BENT: u8 = 0;

/// Whether the payload was read.
pub fn hold(input: &[u8]) -> bool {
    match input.split_first() {
        Some((&BENT, [document, low, high, value @ ..])) => {
            let documents = documents();
            let document = &documents[usize::from(*document) % documents.len()];
            let place = usize::from(u16::from_le_bytes([*low, *high])) % document.places.len();
            let (before, after) = document.around(place);
            payload(&[before, value, after].concat())
        }
        _ => payload(input),
    }
}

/// A statement and where its values stand, keys included.
struct Document {
    text: Vec<u8>,
    places: Vec<std::ops::Range<usize>>,
}

impl Document {
    fn new(session: &Session) -> Self {
        let envelope = session.sign(40).expect("memory takes everything").envelope;
        let text = dsse::read(envelope.as_slice()).expect("it was signed").into_unverified();
        let places = places(&text);
        Self { text, places }
    }

    fn around(&self, place: usize) -> (&[u8], &[u8]) {
        let std::ops::Range { start, end } = self.places[place];
        (&self.text[..start], &self.text[end..])
    }
}

/// Of compact JSON, where each key, text, number and word stands.
fn places(json: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut places, mut at) = (Vec::new(), 0);
    while at < json.len() {
        let begin = at;
        at += match json[at] {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                at += 1;
                continue;
            }
            b'"' => {
                let mut escaped = false;
                let is_end = |byte: &u8| {
                    let ends = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    ends
                };
                2 + json[at + 1..].iter().position(is_end).expect("a text ends")
            }
            _ => json[at..].iter().position(|byte| b",]}".contains(byte)).expect("a number ends"),
        };
        places.push(begin..at);
    }
    places
}

fn documents() -> &'static [Document] {
    static DOCUMENTS: OnceLock<Vec<Document>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| vec![Document::new(&Session::open()), Document::new(&everything())])
}

/// A short session whose statement has nearly every field that a statement can have.
pub fn everything() -> Session {
    let mut session = Session::open();
    session.exec(ROOT, synthetic::file(1, b"/bin/sh"), &[b"sh", b"\x1b"]);
    session.open_file(ROOT, synthetic::file(2, b"/src/tool"), 10, 3);
    session.digest(1, proto::evidence::Class::Raced, b"/bin/sh", "FRESH_CTIME", false);
    session.digest(2, proto::evidence::Class::Stable, b"/src/tool", "", true);
    let texts = vec![b"one".to_vec(), b"\x1b".to_vec()];
    let act =
        Act { call: "mount".into(), arguments: vec![7; 6], texts, outside: true, dev: 1, ino: 2, ..Act::default() };
    session.act(ROOT, act);
    session.fork(ROOT, 1003);
    session.rename(ROOT, b"/a", b"/b");
    session.connect(ROOT, &[192, 0, 2, 7], 443);
    let unix = Network {
        operation: network::Operation::Connect.into(),
        family: 1,
        remote: b"/run/\x1b\\sock".to_vec(),
        ..Network::default()
    };
    session.event(11, ROOT, event::Body::Network(unix));
    let spot = BlindSpot { code: "RECOVERED".into(), detail: "d".into(), ends_completeness: true };
    session.push(frame::Body::BlindSpot(spot));
    session.push(frame::Body::Survivor(Survivor { pid: 1003, start_ns: 5 }));
    session.exit(ROOT, 3);
    session.accounts();
    session.close("ended", 9);
    session
}

fn schema() -> &'static Validator {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let document = include_str!("../../docs/schema/statement-v1.schema.json");
        let document = serde_json::from_str(document).expect("the schema is JSON");
        let options = jsonschema::options().with_format("testimony-escaped", is_escaped).should_validate_formats(true);
        options.build(&document).expect("the schema is one")
    })
}

fn payload(payload: &[u8]) -> bool {
    let claims = read(payload);
    let Ok(value) = serde_json::from_slice::<Value>(payload) else {
        assert!(claims.is_err(), "what is no JSON was read");
        return false;
    };
    let one_form = value.to_string().as_bytes() == payload && is_integral(&value) && !has_other_escapes(payload);
    match claims {
        Ok(claims) => {
            assert!(one_form, "it was read and has another form: {value}");
            assert!(schema().is_valid(&value), "it was read and the schema forbids it: {}", faults(&value));
            check_verdict(payload, &claims);
            true
        }
        // What a schema cannot say: a version is not known, segments are in order.
        Err(ReadError::Value(_)) => false,
        Err(error) => {
            assert!(!one_form || !schema().is_valid(&value), "the schema allows it, and it was not read: {error:?}");
            false
        }
    }
}

fn faults(value: &Value) -> String {
    schema().iter_errors(value).map(|error| format!("{}: {error}; ", error.instance_path)).collect()
}

fn is_integral(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Array(list) => list.iter().all(is_integral),
        Value::Object(map) => map.values().all(is_integral),
        _ => true,
    }
}

/// Whether a backslash stands before something else than a quote or a backslash.
fn has_other_escapes(json: &[u8]) -> bool {
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && !matches!(bytes.next(), Some(b'"' | b'\\')) {
            return true;
        }
    }
    false
}

/// Signed, the payload is understood. What is accepted as complete says nothing that ends completeness.
fn check_verdict(payload: &[u8], claims: &Claims) {
    let key = synthetic::key().expect("the bytes are a key");
    let mut envelope = Vec::new();
    dsse::write_envelope(&mut envelope, |out| out.write_all(payload), &[&key]).expect("memory takes everything");
    let keys = [key.public().clone()];
    let options = Options::by_keys(&keys);
    let verdict = verify(envelope.as_slice(), &options);
    assert!(verdict.understood && !verdict.recomputed, "{verdict:#?}");
    assert_eq!(verdict.claims.as_deref(), Some(claims), "the claims");
    if verdict.exit_code() == 0 {
        let ends = claims.gaps.iter().chain(&claims.blind_spots).any(|item| item.ends_completeness);
        let lost = claims.hooks.iter().any(|hook| hook.lost + hook.truncated != 0 || hook.misses != Some(0));
        assert!(claims.complete && claims.lossless && !ends && !lost && claims.survivors == 0, "{claims:#?}");
        let adds_up = |of: [u64; 3]| of.into_iter().try_fold(0u64, u64::checked_add);
        let balanced = claims
            .hooks
            .iter()
            .all(|hook| adds_up([hook.delivered, hook.coalesced, hook.lost]) == Some(hook.attempted));
        assert!(balanced && claims.digest_classes == claims.counted_classes, "{claims:#?}");
    }
}
