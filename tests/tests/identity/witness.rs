//! What go-witness' own library says of our envelopes: the chain and the timestamps travel as it writes and reads them.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tests::{Spire, TimestampAuthority, tool};

use crate::bench::{Bench, ID, ended, here};

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
    let other = Spire::start("2m");
    fs::write(bench.scratch.join("others"), other.bundle("pem")).expect("written");
    assert_eq!(witness(&bench, "s", &["-roots", "others"]), REFUSED);
    // One byte of the payload, of the certificate, of the signature.
    for (what, at) in [("payload", 100), ("certificate", 300), ("sig", 20)] {
        let mut changed = whole.clone();
        let field = if what == "payload" { &mut changed[what] } else { &mut changed["signatures"][0][what] };
        let mut bytes = STANDARD.decode(field.as_str().expect("text")).expect("base64");
        bytes[at] ^= 1;
        *field = Value::String(STANDARD.encode(bytes));
        write(&bench, "changed", &changed);
        assert_eq!(witness(&bench, "changed", &roots), REFUSED, "{what}");
    }
    let mut without = whole;
    without["signatures"][0].as_object_mut().expect("a signature").shift_remove("certificate");
    write(&bench, "without", &without);
    assert_eq!(witness(&bench, "without", &roots), REFUSED);
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
    // The timestamp of another signature.
    let mut moved = bench.envelope("plain");
    moved["signatures"][0]["timestamps"] = bench.envelope("stamped")["signatures"][0]["timestamps"].clone();
    write(&bench, "moved", &moved);
    assert_eq!(witness(&bench, "moved", &by_time), REFUSED);
}
