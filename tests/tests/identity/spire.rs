//! Statements by SPIFFE identities, of a real SPIRE: signed, verified offline, across rotation and without the Workload API.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tests::{Spire, binary, ended, proven, refused};

use crate::bench::{ANY, Bench, ID, certificate, here, run_as, wait_for};

#[test]
fn a_statement_is_by_the_identity_that_spire_gave() {
    if !here() {
        return;
    }
    let bench = Bench::new("2m");
    ended(&bench.run("s", &["--signer", &bench.signer()], &["sh", "-c", "echo x > product"]), 0);
    assert_eq!(bench.session("s")["signer"], ID);
    let by = |bundle: &str, id: &str| {
        bench.verify("s", &["--trust-bundle", &format!("example.org={bundle}"), "--spiffe-id", id])
    };
    for bundle in ["pem", "spiffe", "kept/example.org"] {
        assert_eq!(by(bundle, ANY), proven(), "{bundle}");
    }
    assert_eq!(by("pem", ID), proven());
    assert_eq!(by("pem", "spiffe://example.org/other/*"), refused("IDENTITY_REFUSED"));
    let foreign = bench.verify("s", &["--trust-bundle", "example.com=pem", "--spiffe-id", ANY]);
    assert_eq!(foreign, refused("IDENTITY_REFUSED"));
    let short = ["--trust-bundle", "example.org=pem", "--spiffe-id", ANY, "--svid-lifetime-max", "60"];
    assert_eq!(bench.verify("s", &short), refused("IDENTITY_REFUSED"));
    // Wrong usage: whose, which, and neither.
    for wrong in [
        &["--trust-bundle", "pem", "--spiffe-id", ANY][..],
        &["--trust-bundle", "example.org=pem"],
        &["--trust-bundle", "example.org=none", "--spiffe-id", ANY],
        &["--spiffe-id", ANY],
    ] {
        assert_eq!(bench.verify("s", wrong), (64, None), "{wrong:?}");
    }
    changed_certificates(&bench);
    doctor(&bench);
    let other = Spire::start("2m");
    fs::write(bench.scratch.join("others"), other.bundle("pem")).expect("written");
    assert_eq!(by("others", ANY), refused("IDENTITY_REFUSED"));
}

/// A certificate with one byte changed, of another, and none.
fn changed_certificates(bench: &Bench) {
    let whole = bench.envelope("s");
    let pem = STANDARD.decode(certificate(&whole)).expect("base64");
    let mut cases =
        vec![Value::Null, Value::String(STANDARD.encode(fs::read(bench.scratch.join("pem")).expect("a bundle")))];
    for at in [60, 200, pem.len() - 60] {
        let mut changed = pem.clone();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        cases.push(Value::String(STANDARD.encode(changed)));
    }
    for certificate in cases {
        let mut envelope = whole.clone();
        envelope["signatures"][0]["certificate"] = certificate;
        fs::write(bench.statement("changed"), envelope.to_string()).expect("written");
        let verdict = bench.verify("changed", &["--trust-bundle", "example.org=pem", "--spiffe-id", ANY]);
        assert_eq!(verdict, refused("IDENTITY_REFUSED"));
    }
}

/// `doctor` says who would sign.
fn doctor(bench: &Bench) {
    let mut doctor = Command::new(binary());
    doctor
        .args(["doctor", "--json"])
        .env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", bench.spire.socket().display()));
    let said = doctor.current_dir(bench.scratch.path()).output().expect("doctor runs");
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let svid =
        said["checks"].as_array().and_then(|checks| checks.iter().find(|check| check["name"] == "SVID")).cloned();
    let svid = svid.expect("a check of the SVID");
    assert_eq!(svid["status"], "ok");
    assert!(svid["says"].as_str().is_some_and(|says| says.contains(ID)), "{svid}");
}

#[test]
fn an_svid_that_rotates_while_a_command_runs_loses_nothing() {
    if !here() {
        return;
    }
    let bench = Bench::new("30s");
    let signer = bench.signer();
    ended(&bench.run("before", &["--signer", &signer], &["true"]), 0);
    // SPIRE's agent renews at half of the lifetime.
    ended(&bench.run("across", &["--signer", &signer], &["sleep", "20"]), 0);
    ended(&bench.run("after", &["--signer", &signer], &["true"]), 0);
    assert_ne!(certificate(&bench.envelope("before")), certificate(&bench.envelope("across")));
    for name in ["before", "across", "after"] {
        // One chain: its signer is the identity, and not a key that lives for seconds.
        assert_eq!(bench.session(name)["signer"], ID);
    }
    let numbers = ["before", "across", "after"].map(|name| bench.session(name)["number"].clone());
    assert_eq!(numbers, [1, 2, 3].map(Value::from));
    for name in ["across", "after"] {
        assert_eq!(bench.verify(name, &["--trust-bundle", "example.org=pem", "--spiffe-id", ANY]), proven(), "{name}");
    }
    // The first has expired by now, or is about to.
    sleep(Duration::from_secs(12));
    let expired = bench.verify("before", &["--trust-bundle", "example.org=pem", "--spiffe-id", ANY]);
    assert_eq!(expired, (1, Some(("not claimed".to_owned(), Some("SVID_EXPIRED".to_owned())))));
}

#[test]
fn without_spire_nobody_signs_but_who_was_named_for_it() {
    if !here() {
        return;
    }
    let mut bench = Bench::new("2m");
    let signer = bench.signer();
    let key = |name: &str| format!("key:{}", bench.scratch.join(name).display());
    let (beside, second) = (key("beside"), key("second"));
    // Both sign, and each is enough.
    ended(&bench.run("both", &["--signer", &signer, "--signer", &beside], &["true"]), 0);
    assert_eq!(bench.verify("both", &["--key", "beside.pub"]).0, 0);
    assert_eq!(bench.verify("both", &["--trust-bundle", "example.org=pem", "--spiffe-id", ANY]), proven());
    let mut stripped = bench.envelope("both");
    stripped["signatures"].as_array_mut().expect("signatures").remove(0);
    fs::write(bench.statement("stripped"), stripped.to_string()).expect("written");
    assert_eq!(bench.verify("stripped", &["--key", "beside.pub"]).0, 1);
    // The Workload API goes away while the command runs: the SVID that it gave is valid still.
    let mut run = run_as(&bench.scratch, "left");
    run.args(["--signer", &signer, "--", "sh", "-c", "touch began; sleep 2"]);
    let mut run = run.spawn().expect("testimony runs");
    wait_for(&bench.scratch.join("began"));
    bench.spire.stop_agent();
    assert!(run.wait().expect("it ends").success());
    assert_eq!(bench.verify("left", &["--trust-bundle", "example.org=pem", "--spiffe-id", ANY]), proven());
    // It is gone: nothing is run that nobody could sign.
    let said = ended(&bench.run("gone", &["--signer", &signer, "--svid-wait", "1"], &["touch", "ran"]), 125);
    assert!(said.contains("gave no SVID within 1 s"), "{said}");
    assert!(!bench.scratch.join("ran").exists());
    let said = ended(&bench.run("unnamed", &["--signer", "spiffe"], &["touch", "ran"]), 125);
    assert!(said.contains("SPIFFE_ENDPOINT_SOCKET is not set"), "{said}");
    let options = ["--signer", &signer, "--second-signer", &second, "--svid-wait", "1"];
    let said = ended(&bench.run("second", &options, &["true"]), 0);
    assert!(said.contains("the second signer does"), "{said}");
    assert_eq!(bench.session("second")["insteadOf"], "spiffe");
    assert_eq!(bench.verify("second", &["--key", "second.pub"]).0, 0);
    // It comes back, and what it gives signs again.
    bench.spire.start_agent(None);
    ended(&bench.run("back", &["--signer", &signer], &["true"]), 0);
    assert_eq!(bench.verify("back", &["--trust-bundle", "example.org=pem", "--spiffe-id", ANY]), proven());
}
