//! The inputs that fuzzing starts from, and those by which it once found something, are run by an ordinary test: every file of
//! fuzz/seeds and every golden file, against what fuzz/properties says of it. `SEEDS_WRITE=1 cargo test -p attestation --test
//! seeds` writes those that are made, and leaves those that were found.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "the crate is pure, its inputs for fuzzing are files")]

#[path = "../../fuzz/properties/envelope.rs"]
mod envelope;
#[path = "../../fuzz/properties/log.rs"]
mod log;
#[path = "../../fuzz/properties/machine.rs"]
mod machine;
#[path = "../../fuzz/properties/proof.rs"]
mod proof;
#[path = "../../fuzz/properties/statement.rs"]
mod statement;
#[path = "../../fuzz/properties/trust.rs"]
mod trust;

use attestation::dsse;
use attestation::merkle::{inclusion_proof, leaf_hash};
use attestation::platform::{BootPolicy, Endorsement, Message as _, Request, Terms};
use attestation::proof::Proof;
use attestation::synthetic::Session;
use attestation::synthetic::tpm::Node;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use proto::evidence::{Frame, SegmentHeader, frame};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
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

/// A file of the vectors of TPMs, timestamps or receipts.
fn vector(path: &str) -> Vec<u8> {
    fs::read(folder("attestation/tests").join(path)).unwrap()
}

#[test]
fn of_the_machine() {
    let mut node = Node::new(7).unwrap();
    let sealed = Session::build().seal(&mut node, 5, &[1, 2, 3]).unwrap();
    let (public, mut quoting) = (node.tpm.public(), Vec::new());
    sealed.quoting.write(&sealed.payload_sha256, &mut quoting).unwrap();
    let seals: Vec<u8> = node.seals.iter().flat_map(attestation::platform::Seal::to_bytes).collect();
    let endorsing = Endorsement { public: machine::endorsement_public(), certificate: Vec::new() };
    let request = Request::new(&public, vec![endorsing]);
    let terms = Terms { name: "m", spiffe_id: None, seal_pcr: 12, makers: None, endorsement_key: None };
    let (challenge, pending) = request.challenge(&terms, 0, 1).unwrap();
    let attest = |data: &[u8; 32]| [data, node.tpm.quote(data, &[0, 12, 23]).attest.as_slice()].concat();
    let policy = serde_json::to_vec(&BootPolicy::new(&[[1; 32]], Some(&[[2; 32], [3; 32]]))).unwrap();
    let made = [
        ("firmware-ovmf", led_by(machine::FIRMWARE, &vector("tpm/6.1-ovmf.events"))),
        ("firmware-seabios", led_by(machine::FIRMWARE, &vector("tpm/6.18-seabios.events"))),
        ("list-ima-ng", led_by(machine::LIST, &vector("tpm/6.12-seabios.ima"))),
        ("list-ima-sigv2", led_by(machine::LIST, &vector("tpm/6.18-seabios.ima"))),
        ("entries", led_by(machine::ENTRIES, b"\x02\x0a\x02\x01\x03abcdef\x80\x0b\x01\x01\x00gh")),
        ("public-ecc", led_by(machine::PUBLIC, &vector("tpm/ecc.pub"))),
        ("public-rsa", led_by(machine::PUBLIC, &vector("tpm/rsa.pub"))),
        ("public-signing", led_by(machine::PUBLIC, &vector("tpm/signing.pub"))),
        ("public-endorsing", led_by(machine::PUBLIC, &machine::endorsement_public())),
        ("attest", led_by(machine::ATTEST, &attest(&[9; 32]))),
        ("signature", led_by(machine::SIGNATURE, &vector("tpm/ecc.sig"))),
        ("seals", led_by(machine::SEALS, &seals)),
        ("machine", led_by(machine::ENROLMENT, &node.machine("m").unwrap().to_json().unwrap())),
        ("policy", led_by(machine::ENROLMENT, &policy)),
        ("request", led_by(machine::ENROLMENT, &request.to_json().unwrap())),
        ("challenge", led_by(machine::ENROLMENT, &challenge.to_json().unwrap())),
        ("pending", led_by(machine::ENROLMENT, &pending.to_json().unwrap())),
        ("sealed", led_by(machine::SEALED, &[])),
        // The same bit twice is none.
        ("sealed-bent-twice", led_by(machine::SEALED, &[0, 1, 1, 0, 1, 1])),
        ("quoting", quoting),
    ];
    run("machine", &made, machine::hold);
}

#[test]
fn of_whom_to_trust() {
    let key = || KeyPair::generate().unwrap();
    let (mut root, own) = (CertificateParams::default(), key());
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let bundle = root.self_signed(&own).unwrap();
    let mut workload = CertificateParams::default();
    workload.subject_alt_names = vec![SanType::URI("spiffe://example.org/ci/builder".try_into().unwrap())];
    workload.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let svid = workload.signed_by(&key(), &Issuer::new(root, own)).unwrap();
    let jwks = serde_json::json!({"keys": [{"use": "x509-svid", "x5c": [STANDARD.encode(bundle.der())]}]});
    let chain = [svid.pem(), bundle.pem()].join("\0");
    // A status that grants, and the token.
    let token = vector("timestamps/p256.der");
    let length = u16::try_from(token.len() + 5).unwrap().to_be_bytes();
    let answer = [&[0x30, 0x82][..], &length, &[0x30, 3, 2, 1, 0], &token].concat();
    let made = [
        ("bundle", led_by(trust::BUNDLE, bundle.pem().as_bytes())),
        ("bundle-spiffe", led_by(trust::BUNDLE, jwks.to_string().as_bytes())),
        ("chain", led_by(trust::CHAIN, chain.as_bytes())),
        ("certificate", led_by(trust::CERTIFICATE, svid.der())),
        ("token", led_by(trust::TOKEN, &token)),
        ("token-rsa", led_by(trust::TOKEN, &vector("timestamps/rsa.der"))),
        ("answer", led_by(trust::ANSWER, &answer)),
        ("authority", led_by(trust::AUTHORITIES, &vector("timestamps/p256.pem"))),
        ("makers", led_by(trust::AUTHORITIES, bundle.pem().as_bytes())),
        ("log-key", led_by(trust::LOG_KEY, &vector("receipts/log.vkey"))),
        ("name", led_by(trust::NAME, b"spiffe://example.org/ci/builder")),
        ("pattern", led_by(trust::NAME, b"spiffe://example.org/*/**")),
        ("receipt", vector("receipts/receipt.tlog-proof")),
    ];
    run("trust", &made, trust::hold);
}
