//! The inputs that fuzzing starts from, and those by which it once found something, are run by an ordinary test: every file of
//! fuzz/seeds and every golden file, against what fuzz/properties says of it. `SEEDS_WRITE=1 cargo test -p attestation --test
//! seeds` writes those that are made, and leaves those that were found.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "the crate is pure, its inputs for fuzzing are files")]

#[path = "../../fuzz/properties/envelope.rs"]
mod envelope;
#[path = "../../fuzz/properties/log.rs"]
mod log;
#[path = "../../fuzz/properties/proof.rs"]
mod proof;
#[path = "../../fuzz/properties/statement.rs"]
mod statement;

use attestation::dsse;
use attestation::merkle::{inclusion_proof, leaf_hash};
use attestation::proof::Proof;
use attestation::synthetic::Session;
use prost::Message as _;
use proto::evidence::{Frame, SegmentHeader, frame};
use std::fs;
use std::path::{Path, PathBuf};

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Runs what was found and what is made; of the latter, some must be accepted, or the seeds have rotted.
fn run(target: &str, made: &[(&str, Vec<u8>)], hold: fn(&[u8]) -> bool) {
    let seeds = folder("fuzz/seeds").join(target);
    if std::env::var_os("SEEDS_WRITE").is_some() {
        fs::create_dir_all(&seeds).unwrap();
        made.iter().for_each(|(name, bytes)| fs::write(seeds.join(name), bytes).unwrap());
    }
    for path in files(&seeds).into_iter().chain(files(&folder("tests/golden"))) {
        println!("{}", path.display());
        hold(&fs::read(path).unwrap());
    }
    for (name, bytes) in made {
        assert!(seeds.join(name).exists(), "{name} is not kept");
        assert!(hold(bytes), "{name} is not accepted any more");
    }
}

fn led_by(first: u8, bytes: &[u8]) -> Vec<u8> {
    [&[first], bytes].concat()
}

/// The frames of a session as a fuzzer's messages, a header before every so many.
fn messages(session: &Session, frames_per_segment: usize) -> Vec<u8> {
    let header = Frame { body: Some(frame::Body::Segment(SegmentHeader::default())) };
    let mut out = Vec::new();
    for (index, frame) in session.frames.iter().enumerate() {
        let begins = index > 0 && index.is_multiple_of(frames_per_segment);
        for frame in begins.then_some(&header).into_iter().chain([frame]) {
            let message = frame.encode_to_vec();
            out.extend(u16::try_from(message.len()).unwrap().to_le_bytes());
            out.extend(message);
        }
    }
    out
}

/// The frames of one object, decompressed.
fn stream(session: &Session) -> Vec<u8> {
    let (head, objects) = session.write(1000).unwrap();
    zstd::decode_all(objects[&head.segments[0].sha256].as_slice()).unwrap()
}

fn objects(session: &Session, frames_per_segment: usize) -> Vec<u8> {
    let (head, objects) = session.write(frames_per_segment).unwrap();
    head.segments.iter().flat_map(|segment| objects[&segment.sha256].clone()).collect()
}

#[test]
fn of_the_log() {
    let (small, whole) = (statement::everything(), Session::build());
    let made = [
        ("objects", objects(&small, 1000)),
        ("objects-of-many", objects(&small, 20)),
        ("stream", led_by(log::STREAM, &stream(&small))),
        ("messages", led_by(log::MESSAGES, &messages(&small, 25))),
        ("messages-of-a-build", led_by(log::MESSAGES, &messages(&whole, 1000))),
        ("signed", led_by(log::SIGNED, &messages(&small, 1000))),
        ("signed-complete", led_by(log::SIGNED, &messages(&whole, 30))),
    ];
    run("log", &made, log::hold);
}

#[test]
fn of_the_envelope() {
    let envelope = |session: &Session| session.sign(1000).unwrap().envelope;
    let short = {
        let mut out = Vec::new();
        let key = attestation::synthetic::key().unwrap();
        dsse::write_envelope(&mut out, |out| out.write_all(b"{\"a\":[1]}?>"), &[&key, &key]).unwrap();
        out
    };
    let text = String::from_utf8(short.clone()).unwrap();
    let made = [
        ("short", short),
        ("spaced", text.replace("\":", "\" :\n").into_bytes()),
        ("unknown-fields", text.replacen('{', "{\"more\":[null,{}],", 1).into_bytes()),
        ("unpadded", text.replace('=', "").into_bytes()),
        ("signed", led_by(envelope::SIGNED, b"\x10\0\0{\"a\":1}")),
        ("text", led_by(envelope::TEXT, b"YWI/Pz4+")),
        ("text-padded", led_by(envelope::TEXT, b"YWJjZA==")),
        ("typed", led_by(envelope::TYPED, b"text/plain\0{}")),
        ("signed-nothing", led_by(envelope::SIGNED, b"\xff\x01\0")),
        ("session", envelope(&Session::open())),
    ];
    run("envelope", &made, envelope::hold);
}

#[test]
fn of_the_statement() {
    let payload =
        |session: &Session| dsse::read(session.sign(40).unwrap().envelope.as_slice()).unwrap().into_unverified();
    let made = [
        ("opened", payload(&Session::open())),
        ("everything", payload(&statement::everything())),
        ("build", payload(&Session::build())),
        ("bent", led_by(statement::BENT, b"\x01\x02\0\"subject\"")),
    ];
    run("statement", &made, statement::hold);
}

#[test]
fn of_the_proof() {
    let session = Session::build();
    let leaves: Vec<Vec<u8>> = session.frames.iter().map(|frame| frame.encode_to_vec()).collect();
    let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let proof = |leaf: usize, of: usize| {
        let proof = Proof {
            session_id: [7; 16],
            tree_size: of as u64,
            root: attestation::merkle::root_of(&hashes[..of]),
            leaf: leaf as u64,
            frame: leaves[leaf].clone(),
            hashes: inclusion_proof(&hashes[..of], leaf).unwrap(),
        };
        proof.to_json().unwrap().into_bytes()
    };
    let made = [
        ("single", proof(0, 1)),
        ("first-of-two", proof(0, 2)),
        ("last-of-three", proof(2, 3)),
        ("of-many", proof(19, hashes.len())),
        ("tree", led_by(proof::TREE, &[20, 0, 7, 0, 13, 0, 1, 2, 3, 4, b'a'])),
        ("tree-of-one", led_by(proof::TREE, &[])),
    ];
    run("proof", &made, proof::hold);
}
