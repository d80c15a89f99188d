//! Timestamps of a real authority: identities that outlive their certificates, verified when everybody who gave them is gone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::{Found, Scratch, TimestampAuthority, binary, ended, proven, refused, verifier};

use crate::bench::{ANY, Bench, here};

/// What an auditor has: the statement, and roots in files.
const TRUST: [&str; 4] = ["--trust-bundle", "example.org=pem", "--spiffe-id", ANY];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    TRUST.into_iter().chain(more.iter().copied()).collect()
}

fn not_claimed(code: Option<&str>) -> Found {
    Some(("not claimed".to_owned(), code.map(str::to_owned)))
}

/// A time so many days from now, as `--at` takes it.
fn day(days: i64) -> String {
    let said = Command::new("date").args(["-u", "-d", &format!("{days} days"), "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(said.expect("date runs").stdout).expect("text").trim().to_owned()
}

fn stamp(bench: &Bench, authority: &str, name: &str) -> Output {
    let mut stamp = Command::new(binary());
    stamp.args(["timestamp", "--authority", authority]).arg(bench.statement(name));
    stamp.output().expect("testimony runs")
}

fn keep_chain(bench: &Bench, authority: &TimestampAuthority, name: &str) {
    fs::copy(authority.chain(), bench.scratch.join(name)).expect("copied");
}

#[test]
fn an_auditor_two_years_on_is_told_who_signed_and_when() {
    if !here() {
        return;
    }
    let mut bench = Bench::new("2m");
    let mut authority = TimestampAuthority::start();
    keep_chain(&bench, &authority, "tsa");
    let (signer, url) = (bench.signer(), authority.url());
    ended(&bench.run("stamped", &["--signer", &signer, "--timestamp", &url], &["true"]), 0);
    ended(&bench.run("plain", &["--signer", &signer], &["true"]), 0);
    pack(&bench);
    // Every service is gone, and all certificates have expired.
    authority.stop();
    bench.spire.stop_agent();
    let (later, before) = (day(730), day(-1));
    let auditor = with(&["--timestamp-authority", "tsa", "--at", &later]);
    assert_eq!(bench.verify("stamped", &auditor), proven());
    assert_eq!(bench.check("time", "stamped", &auditor), proven());
    opened(&bench, &auditor);
    assert_eq!(bench.verify("plain", &auditor), (1, not_claimed(Some("SVID_EXPIRED"))));
    assert_eq!(bench.verify("stamped", &with(&["--at", &later])), (1, not_claimed(Some("SVID_EXPIRED"))));
    assert_eq!(bench.check("time", "stamped", &with(&[])), (0, not_claimed(None)));
    assert_eq!(bench.check("time", "stamped", &with(&["--timestamp-authority", "tsa"])), proven());
    // Nobody can have verified it before it was there.
    let early = with(&["--timestamp-authority", "tsa", "--at", &before]);
    assert_eq!(bench.verify("stamped", &early), refused("IDENTITY_REFUSED"));
    // An authority that was not given is nobody's.
    let other = TimestampAuthority::start();
    keep_chain(&bench, &other, "other");
    let others = with(&["--timestamp-authority", "other", "--at", &later]);
    assert_eq!(bench.verify("stamped", &others), (1, not_claimed(Some("SVID_EXPIRED"))));
    // Wrong usage, each in a sentence.
    for wrong in [
        &["--timestamp-authority", "none"][..],
        &["--timestamp-authority", "stamped.intoto.jsonl"],
        &["--at", "yesterday"],
        &["--at", "2026-02-30"],
    ] {
        assert_eq!(bench.verify("stamped", &with(wrong)), (64, None), "{wrong:?}");
    }
    changed_timestamps(&bench);
}

/// One file for the auditor; no second one is written over it.
fn pack(bench: &Bench) {
    let run = || {
        let mut pack = Command::new(binary());
        pack.args(["pack", "stamped"]).current_dir(bench.scratch.path()).output().expect("testimony runs")
    };
    assert!(run().status.success());
    assert_eq!(run().status.code(), Some(1));
}

/// The pack alone, elsewhere.
fn opened(bench: &Bench, auditor: &[&str]) {
    let elsewhere = Scratch::new();
    fs::copy(bench.scratch.join("stamped.pack.tar"), elsewhere.join("p.tar")).expect("copied");
    for file in ["pem", "tsa"] {
        fs::copy(bench.scratch.join(file), elsewhere.join(file)).expect("copied");
    }
    let said = Command::new(verifier()).args(auditor).arg("p.tar").current_dir(elsewhere.path()).output();
    let said = said.expect("the verifier runs");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && text.contains("COMPLETE (recomputed from the evidence)"), "{text}");
}

/// A token with one byte changed, of another signature, and none.
fn changed_timestamps(bench: &Bench) {
    let (whole, plain) = (bench.envelope("stamped"), bench.envelope("plain"));
    let asked = with(&["--timestamp-authority", "tsa"]);
    let check = |timestamps: Value| {
        let mut envelope = whole.clone();
        envelope["signatures"][0]["timestamps"] = timestamps;
        fs::write(bench.statement("changed"), envelope.to_string()).expect("written");
        bench.check("time", "changed", &asked)
    };
    let token = STANDARD.decode(data(&whole)).expect("base64");
    let mut refusals = 0;
    for at in (0..token.len()).step_by(31) {
        let mut changed = token.clone();
        changed[at] ^= 1;
        match check(json!([{"type": "tsp", "data": STANDARD.encode(changed)}])) {
            (1, Some((outcome, Some(code)))) if outcome == "refused" && code == "TIMESTAMP_REFUSED" => refusals += 1,
            // A byte that nothing depends on.
            other => assert!([proven(), (0, not_claimed(None))].contains(&other), "{at}: {other:?}"),
        }
    }
    assert!(refusals > token.len() / 31 / 2, "{refusals} of {}", token.len() / 31);
    assert_eq!(check(json!([])), (0, not_claimed(None)));
    assert_eq!(check(json!("none")), refused("TIMESTAMP_REFUSED"));
    let mut moved = plain;
    moved["signatures"][0]["timestamps"] = whole["signatures"][0]["timestamps"].clone();
    fs::write(bench.statement("moved"), moved.to_string()).expect("written");
    assert_eq!(bench.check("time", "moved", &asked), refused("TIMESTAMP_REFUSED"));
}

fn data(envelope: &Value) -> &str {
    envelope["signatures"][0]["timestamps"][0]["data"].as_str().expect("a token")
}

#[test]
fn a_statement_is_stamped_afterwards_and_openssl_agrees() {
    if !here() {
        return;
    }
    let bench = Bench::new("2m");
    let (one, two) = (TimestampAuthority::start(), TimestampAuthority::start());
    keep_chain(&bench, &one, "one");
    let key = format!("key:{}", bench.scratch.join("key").display());
    ended(&bench.run("s", &["--signer", &bench.signer(), "--signer", &key], &["true"]), 0);
    let before = bench.envelope("s");
    for url in [one.url(), two.url()] {
        let said = stamp(&bench, &url, "s");
        assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
        assert!(String::from_utf8_lossy(&said.stdout).contains(&url));
    }
    let mut after = bench.envelope("s");
    for signature in after["signatures"].as_array_mut().expect("signatures") {
        openssl_agrees(&bench, signature, &bench.scratch.join("one"));
        let timestamps = signature.as_object_mut().expect("a signature").shift_remove("timestamps");
        assert_eq!(timestamps.and_then(|list| list.as_array().map(Vec::len)), Some(2));
    }
    assert_eq!(after, before, "nothing else was changed");
    let later = day(30);
    let asked = with(&["--timestamp-authority", "one", "--at", &later]);
    assert_eq!(bench.verify("s", &asked), proven());
    assert_eq!(bench.check("time", "s", &["--key", "key.pub", "--timestamp-authority", "one"]), proven());
}

/// The first token of a signature, held against its root by another program.
fn openssl_agrees(bench: &Bench, signature: &Value, chain: &Path) {
    let bytes = |value: &Value| STANDARD.decode(value.as_str().expect("text")).expect("base64");
    fs::write(bench.scratch.join("sig"), bytes(&signature["sig"])).expect("written");
    fs::write(bench.scratch.join("token"), bytes(&signature["timestamps"][0]["data"])).expect("written");
    let mut verify = Command::new("openssl");
    verify.args(["ts", "-verify", "-token_in", "-in", "token", "-data", "sig", "-CAfile"]).arg(chain);
    let said = verify.current_dir(bench.scratch.path()).output().expect("openssl runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn without_its_authority_a_statement_is_signed_and_says_no_time() {
    if !here() {
        return;
    }
    let bench = Bench::new("2m");
    let mut authority = TimestampAuthority::start();
    keep_chain(&bench, &authority, "tsa");
    let url = authority.url();
    authority.stop();
    let signer = bench.signer();
    let said = ended(&bench.run("s", &["--signer", &signer, "--timestamp", &url], &["true"]), 0);
    assert!(said.contains("a signature has no timestamp") && said.contains(&url), "{said}");
    let asked = with(&["--timestamp-authority", "tsa"]);
    assert_eq!(bench.verify("s", &asked), proven());
    assert_eq!(bench.check("time", "s", &asked), (0, not_claimed(None)));
    let whole = fs::read(bench.statement("s")).expect("a statement");
    let refused = stamp(&bench, &url, "s");
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(fs::read(bench.statement("s")).expect("a statement"), whole);
    // What is no address, and what is no statement.
    assert_eq!(stamp(&bench, "somewhere", "s").status.code(), Some(64));
    fs::write(bench.statement("none"), "{}").expect("written");
    assert_eq!(stamp(&bench, &url, "none").status.code(), Some(2));
    let said = ended(&bench.run("t", &["--signer", &signer, "--timestamp", "somewhere"], &["touch", "ran"]), 125);
    assert!(said.contains("no address of a timestamp authority"), "{said}");
    assert!(!bench.scratch.join("ran").exists());
}
