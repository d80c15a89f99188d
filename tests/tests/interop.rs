//! Consumers that nobody here wrote: cosign and Python's securesystemslib take our envelope, and refuse it for its
//! signature, and for nothing else, when a byte of payload or signature was changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::{Run, Scratch};

const PREDICATE: &str = "https://in-toto.io/attestation/runtime-trace/v0.1";
/// How cosign refuses a signature; "failed to verify signature" stands before every refusal of its.
const COSIGN_REFUSES: &str = "could not verify envelope: accepted signatures do not match threshold";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What a consumer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Payload,
    Signature,
}

/// A peer that `cargo xtask setup tests` has put there. A guest has none; what they judge does not depend on the kernel.
fn peer(path: &str) -> Option<PathBuf> {
    let kernel = std::env::var("TESTIMONY_KERNEL").unwrap_or_default();
    if !kernel.is_empty() && kernel != "host" {
        println!("NOT RUN: the peers are on the host, and kernel {kernel} changes nothing of an envelope");
        return None;
    }
    // `cargo xtask test` says where it put them. Otherwise they are in Cargo's target folder.
    let tools = std::env::var_os("TESTIMONY_TOOLS").map_or_else(|| tests::target().join("tools"), PathBuf::from);
    let path = tools.join(path);
    assert!(path.is_file(), "{} is missing: run `cargo xtask setup tests`", path.display());
    Some(path)
}

/// A signed trace of a command that leaves one product, and its envelope.
fn traced() -> (Scratch, PathBuf, Value) {
    let scratch = Scratch::new();
    let ran = Run::new(&scratch, ["/bin/sh", "-c", "echo content >product"]).go();
    let _ = ran.complete();
    let envelope = serde_json::from_slice(&fs::read(ran.statement()).expect("a statement")).expect("an envelope");
    (scratch, ran.public_key(), envelope)
}

/// The envelope with one byte of the decoded value changed.
fn changed(envelope: &Value, change: Change) -> Value {
    let mut envelope = envelope.clone();
    let value = match change {
        Change::None => return envelope,
        Change::Payload => &mut envelope["payload"],
        Change::Signature => &mut envelope["signatures"][0]["sig"],
    };
    let mut bytes = STANDARD.decode(value.as_str().expect("base64")).expect("base64");
    // A time's digit, which no other check of a consumer looks at; the last byte of a signature's second number.
    let at = match change {
        Change::Payload => find(&bytes, b"buildStartedOn\":\"2") + b"buildStartedOn\":\"2".len(),
        _ => bytes.len() - 1,
    };
    bytes[at] ^= 1;
    *value = STANDARD.encode(bytes).into();
    envelope
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).expect("it is there")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Accepted as it is, and refused for its signature in every other form.
fn judge(envelope: &Value, refusal: &str, consumer: impl Fn(&Value) -> Output) {
    for change in [Change::None, Change::Payload, Change::Signature] {
        let output = consumer(&changed(envelope, change));
        let said = text(&output);
        assert_eq!(output.status.success(), change == Change::None, "{change:?}: {said}");
        assert!(change == Change::None || said.contains(refusal), "{change:?}: not for its signature: {said}");
    }
}

fn cosign(cosign: &Path, scratch: &Scratch, key: &Path, envelope: &Value) -> Output {
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "dsseEnvelope": envelope,
    });
    let bundle = scratch.write("bundle.json", bundle.to_string());
    let mut verify = Command::new(cosign);
    verify.arg("verify-blob-attestation").arg("--key").arg(key).args(["--type", PREDICATE, "--insecure-ignore-tlog"]);
    verify.arg("--bundle").arg(bundle).arg(scratch.join("product")).env("HOME", scratch.path());
    verify.output().unwrap_or_else(|error| panic!("cosign: {error}"))
}

#[test]
fn cosign_takes_the_envelope_and_refuses_a_changed_one() {
    let Some(program) = peer("cosign/usr/bin/cosign") else { return };
    let (scratch, key, envelope) = traced();
    judge(&envelope, COSIGN_REFUSES, |envelope| cosign(&program, &scratch, &key, envelope));
}

#[test]
fn cosign_refuses_another_key_and_another_product() {
    let Some(program) = peer("cosign/usr/bin/cosign") else { return };
    let (scratch, key, envelope) = traced();
    let (_other, other_key, _) = traced();
    let output = cosign(&program, &scratch, &other_key, &envelope);
    assert!(!output.status.success() && text(&output).contains(COSIGN_REFUSES), "{}", text(&output));
    scratch.write("product", "other content\n");
    let output = cosign(&program, &scratch, &key, &envelope);
    assert!(!output.status.success() && text(&output).contains("digests do not match"), "{}", text(&output));
}

/// Verifies an envelope against a key whose id the envelope tells, as securesystemslib demands.
const SECURESYSTEMSLIB: &str = r#"
import json, sys
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
envelope = json.load(open(sys.argv[1]))
public = load_pem_public_key(open(sys.argv[2], "rb").read())
key = SSlibKey.from_crypto(public, keyid=envelope["signatures"][0]["keyid"])
envelope = Envelope.from_dict(envelope)
assert envelope.verify([key], 1)
json.loads(envelope.payload)
"#;

#[test]
fn securesystemslib_takes_the_envelope_and_refuses_a_changed_one() {
    let Some(program) = peer("securesystemslib/bin/python") else { return };
    let (scratch, key, envelope) = traced();
    judge(&envelope, "VerificationError", |envelope| {
        let path = scratch.write("envelope.json", envelope.to_string());
        let mut verify = Command::new(&program);
        verify.args(["-I", "-c", SECURESYSTEMSLIB]).arg(path).arg(&key);
        verify.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    });
}
