//! What go-witness' own library says of our envelopes: the chain and the timestamps travel as it writes and reads them.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::{TimestampAuthority, ended, proven, tool};

use crate::bench::{ANY, Bench, ID, certificate, here};

const ACCEPTED: Option<i32> = Some(0);
const REFUSED: Option<i32> = Some(1);

/// The exit code over a statement, by these options.
fn witness(bench: &Bench, name: &str, options: &[&str]) -> Option<i32> {
    let mut witness = Command::new(tool("witness/bin/witness"));
    witness.args(options).arg(bench.statement(name)).current_dir(bench.scratch.path());
    witness.output().expect("witness runs").status.code()
}

fn write(bench: &Bench, name: &str, envelope: &Value) {
    fs::write(bench.statement(name), envelope.to_string()).expect("written");
}

#[test]
fn go_witness_accepts_the_chain_and_nothing_that_was_changed() {
    if !here() {
        return;
    }
    let bench = Bench::new("2m");
    ended(&bench.run("s", &["--signer", &bench.signer()], &["true"]), 0);
    let (roots, whole) = (["-roots", "pem"], bench.envelope("s"));
    assert_eq!(witness(&bench, "s", &roots), ACCEPTED);
    assert_eq!(witness(&bench, "s", &["-roots", "pem", "-uri", ID]), ACCEPTED);
    assert_eq!(witness(&bench, "s", &["-roots", "pem", "-uri", "spiffe://example.org/other"]), REFUSED);
    // One byte of the payload, of the certificate, of the signature.
    let mut payload = whole.clone();
    payload["payload"] = one_byte_changed(&payload["payload"], 100);
    let mut sig = whole.clone();
    sig["signatures"][0]["sig"] = one_byte_changed(&sig["signatures"][0]["sig"], 20);
    let (mut of_certificate, mut without, mut unsigned, mut empty) =
        (whole.clone(), whole.clone(), whole.clone(), whole);
    of_certificate["signatures"][0]["certificate"] = certificate_changed(&certificate(&of_certificate));
    without["signatures"][0].as_object_mut().expect("a signature").shift_remove("certificate");
    unsigned["signatures"] = json!([]);
    empty["signatures"][0]["sig"] = json!("");
    let changed = [payload, sig, of_certificate, without, unsigned, empty];
    for (number, envelope) in changed.iter().enumerate() {
        write(&bench, "changed", envelope);
        assert_eq!(witness(&bench, "changed", &roots), REFUSED, "{number}");
    }
}

/// That many bytes on, in base64.
fn one_byte_changed(field: &Value, at: usize) -> Value {
    let mut bytes = STANDARD.decode(field.as_str().expect("text")).expect("base64");
    bytes[at] ^= 1;
    Value::String(STANDARD.encode(bytes))
}

/// The certificate in PEM in base64, with the last byte of its authority's signature changed: it can be read as before.
fn certificate_changed(field: &str) -> Value {
    let pem = String::from_utf8(STANDARD.decode(field).expect("base64")).expect("PEM");
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut der = STANDARD.decode(body).expect("base64");
    *der.last_mut().expect("a certificate") ^= 1;
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    Value::String(STANDARD.encode(pem))
}

#[test]
fn go_witness_takes_nothing_of_another_spire() {
    if !here() {
        return;
    }
    let (bench, other) = (Bench::new("2m"), Bench::new("2m"));
    for bench in [&bench, &other] {
        ended(&bench.run("s", &["--signer", &bench.signer()], &["true"]), 0);
    }
    let (own, theirs) = (bench.spire.bundle("pem"), other.spire.bundle("pem"));
    fs::write(bench.scratch.join("others"), &theirs).expect("written");
    fs::write(bench.scratch.join("both"), own + &theirs).expect("written");
    let mut envelope = other.envelope("s");
    write(&bench, "theirs", &envelope);
    for (name, roots, code) in [
        ("s", "pem", ACCEPTED),
        ("s", "others", REFUSED),
        ("s", "both", ACCEPTED),
        ("theirs", "pem", REFUSED),
        ("theirs", "others", ACCEPTED),
    ] {
        assert_eq!(witness(&bench, name, &["-roots", roots]), code, "{name} by {roots}");
    }
    // The same name, and a chain that holds: but the key of somebody else.
    let signed = bench.envelope("s");
    let theirs = envelope["signatures"][0].take();
    envelope = signed;
    for field in ["certificate", "intermediates"] {
        match theirs.get(field) {
            Some(value) => envelope["signatures"][0][field] = value.clone(),
            None => drop(envelope["signatures"][0].as_object_mut().expect("a signature").shift_remove(field)),
        }
    }
    write(&bench, "swapped", &envelope);
    for roots in ["pem", "others", "both"] {
        assert_eq!(witness(&bench, "swapped", &["-roots", roots]), REFUSED, "{roots}");
    }
}

#[test]
fn go_witness_accepts_an_expired_chain_by_its_timestamp_alone() {
    if !here() {
        return;
    }
    let (bench, authority) = (Bench::new("30s"), TimestampAuthority::start());
    fs::copy(authority.chain(), bench.scratch.join("tsa")).expect("copied");
    let (signer, url) = (bench.signer(), authority.url());
    ended(&bench.run("stamped", &["--signer", &signer, "--timestamp", &url], &["true"]), 0);
    ended(&bench.run("plain", &["--signer", &signer], &["true"]), 0);
    assert_eq!(witness(&bench, "plain", &["-roots", "pem"]), ACCEPTED);
    sleep(Duration::from_secs(41));
    assert_eq!(witness(&bench, "plain", &["-roots", "pem"]), REFUSED, "it has expired");
    assert_eq!(witness(&bench, "stamped", &["-roots", "pem"]), REFUSED, "it has expired");
    let by_time = ["-roots", "pem", "-tsa", "tsa", "-uri", ID];
    assert_eq!(witness(&bench, "stamped", &by_time), ACCEPTED);
    assert_eq!(witness(&bench, "plain", &by_time), REFUSED);
    // Of an authority that was not given, and with a byte of its signature changed.
    let other = TimestampAuthority::start();
    fs::copy(other.chain(), bench.scratch.join("others")).expect("copied");
    assert_eq!(witness(&bench, "stamped", &["-roots", "pem", "-tsa", "others"]), REFUSED);
    let mut changed = bench.envelope("stamped");
    let data = &mut changed["signatures"][0]["timestamps"][0]["data"];
    let last = STANDARD.decode(data.as_str().expect("a token")).expect("base64").len() - 1;
    *data = one_byte_changed(data, last);
    write(&bench, "changed", &changed);
    assert_eq!(witness(&bench, "changed", &by_time), REFUSED);
    // The timestamp of another signature.
    let mut moved = bench.envelope("plain");
    moved["signatures"][0]["timestamps"] = bench.envelope("stamped")["signatures"][0]["timestamps"].clone();
    write(&bench, "moved", &moved);
    assert_eq!(witness(&bench, "moved", &by_time), REFUSED);
}

#[test]
fn an_intermediate_of_an_authority_is_found_in_its_token() {
    if !here() {
        return;
    }
    let (bench, authority) = (Bench::new("2m"), TimestampAuthority::with_intermediate());
    let other = TimestampAuthority::with_intermediate();
    for (from, to) in [(authority.chain(), "tsa"), (authority.root(), "root"), (other.chain(), "others")] {
        fs::copy(from, bench.scratch.join(to)).expect("copied");
    }
    let (signer, url) = (bench.signer(), authority.url());
    ended(&bench.run("s", &["--signer", &signer, "--timestamp", &url], &["true"]), 0);
    let by = |tsa: &str| {
        let identity = ["--trust-bundle", "example.org=pem", "--spiffe-id", ANY, "--timestamp-authority", tsa];
        (witness(&bench, "s", &["-roots", "pem", "-tsa", tsa]), bench.check("time", "s", &identity))
    };
    for tsa in ["tsa", "root"] {
        assert_eq!(by(tsa), (ACCEPTED, proven()), "{tsa}");
    }
    // Both: nobody who was given stands behind that time. The SVID is still valid, so only the time is open to verify.
    assert_eq!(by("others"), (REFUSED, (0, Some(("not claimed".to_owned(), None)))));
}
