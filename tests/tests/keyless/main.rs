//! Keyless signatures by Sigstore's own services: made beside a run's statement, verified offline here and by cosign, and what befalls
//! one where a service is gone or lies.

mod bench;
mod doctor;
mod hostile;
mod transparency;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tests::{ISSUER, binary, ended, proven, refused};

use bench::{Bench, ID};

/// Whether these tests run: nothing of them depends on the kernel, and a guest has no services.
fn here() -> bool {
    if tests::kernel() == "host" {
        return true;
    }
    println!("NOT RUN: Sigstore's services are on the host, and another kernel changes nothing of who signs");
    false
}

#[test]
fn a_bundle_says_offline_who_signed_and_when() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    // A log's first entry has no proof to tamper with.
    for name in ["first", "out"] {
        let said = ended(&bench.run(name, &[]), 0);
        assert!(said.contains(&format!("signed as {ID}, by the word of {ISSUER}")), "{said}");
    }
    for service in ["issuer", "certificates", "transparency", "log", "stamps"] {
        bench.sigstore.stop(service);
    }
    let out = "out.intoto.jsonl";
    assert_eq!(bench.verify(out, "identity", &[]), proven());
    assert_eq!(bench.verify(out, "time", &[]), proven());
    assert_eq!(bench.verify(out, "identity", &["--at", "2020-01-01"]), refused("BUNDLE_REFUSED"));
    assert_eq!(bench.verify(out, "identity", &["--at", "2090-01-01"]), proven());
    assert_eq!(bench.verify(out, "signature", &[]).1, Some(("not claimed".to_owned(), None)));
    assert_eq!(bench.verify(out, "signature", &["--key", "key.pub"]), proven());
    // In a pack too.
    let pack = Command::new(binary()).args(["pack", "out"]).current_dir(bench.scratch.path()).output();
    ended(&pack.expect("testimony runs"), 0);
    for file in [out, "out.sigstore.json"] {
        fs::rename(bench.scratch.join(file), bench.scratch.join(format!("moved-{file}"))).expect("moved");
    }
    assert_eq!(bench.verify("out.pack.tar", "identity", &[]), proven());
}

#[test]
fn another_identity_issuer_statement_or_bundle_is_refused() {
    if !here() {
        return;
    }
    let bench = Bench::new();
    for name in ["first", "out", "other"] {
        ended(&bench.run(name, &[]), 0);
    }
    let out = "out.intoto.jsonl";
    let refused = refused("BUNDLE_REFUSED");
    for options in [
        ["--identity", "spiffe://example.org/another"],
        ["--issuer", "https://example.org"],
        ["--bundle", "other.sigstore.json"],
    ] {
        assert_eq!(bench.verify(out, "identity", &options), refused, "{options:?}");
    }
    // Another instance of the services.
    let stranger = Bench::new();
    fs::copy(stranger.sigstore.path("trusted_root.json"), bench.scratch.join("trusted_root.json")).expect("copied");
    assert_eq!(bench.verify(out, "identity", &[]), refused);
    fs::copy(bench.sigstore.path("trusted_root.json"), bench.scratch.join("trusted_root.json")).expect("copied");
    assert_eq!(bench.verify(out, "identity", &[]), proven());
    // Each part of the other bundle. (What a bundle says twice, Rekor v2 counts once: index and root of the proof are not read.)
    let (own, others) = (bench.bundle("out"), bench.bundle("other"));
    let material = "/verificationMaterial";
    let parts = [
        "/certificate/rawBytes",
        "/tlogEntries/0/inclusionProof/checkpoint/envelope",
        "/tlogEntries/0/logIndex",
        "/tlogEntries/0/inclusionProof/hashes/0",
        "/tlogEntries/0/canonicalizedBody",
        "/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
    ];
    let signature = "/dsseEnvelope/signatures/0/sig".to_owned();
    for part in parts.map(|part| format!("{material}{part}")).into_iter().chain([signature]) {
        let mut mixed = own.clone();
        *mixed.pointer_mut(&part).unwrap_or_else(|| panic!("{part}")) =
            others.pointer(&part).expect("the part").clone();
        fs::write(bench.scratch.join("mixed"), mixed.to_string()).expect("written");
        assert_eq!(bench.verify(out, "identity", &["--bundle", "mixed"]), refused, "{part}");
    }
    let mut without = own.clone();
    without["verificationMaterial"]["timestampVerificationData"] = json!({});
    for bundle in [without.to_string(), "{}".to_owned(), String::new(), "\u{0}".repeat(100)] {
        fs::write(bench.scratch.join("mixed"), bundle).expect("written");
        assert_eq!(bench.verify(out, "identity", &["--bundle", "mixed"]), refused);
    }
    fs::remove_file(bench.scratch.join("out.sigstore.json")).expect("removed");
    assert_eq!(bench.verify(out, "identity", &[]), refused);
}

#[test]
fn a_service_that_is_gone_costs_the_bundle_and_not_the_statement() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    for service in ["certificates", "transparency", "log", "stamps"] {
        bench.sigstore.stop(service);
        let said = ended(&bench.run(service, &[]), 0);
        assert!(said.contains("there is no keyless signature") && said.contains("COMPLETE"), "{said}");
        assert!(!bench.scratch.join(format!("{service}.sigstore.json")).exists());
        bench.sigstore.again(service);
    }
    ended(&bench.run("back", &[]), 0);
    assert_eq!(bench.verify("back.intoto.jsonl", "identity", &[]), proven());
    // Services of somebody else: what they give does not hold against the root that was given.
    let stranger = Bench::new();
    fs::copy(stranger.sigstore.path("trusted_root.json"), bench.scratch.join("stranger.json")).expect("copied");
    fs::rename(bench.scratch.join("stranger.json"), bench.scratch.join("trusted_root.json")).expect("moved");
    let said = ended(&bench.run("strange", &[]), 0);
    assert!(said.contains("what Sigstore's services gave does not hold"), "{said}");
    assert!(!bench.scratch.join("strange.sigstore.json").exists());
    // What is not there before the command is refused before it.
    let said = ended(&bench.run("never", &["--keyless-token", "nowhere"]), 125);
    assert!(said.contains("nowhere") && !bench.scratch.join("never.evidence").exists(), "{said}");
    fs::write(bench.scratch.join("signing_config.json"), "{}").expect("written");
    assert!(ended(&bench.run("never", &[]), 125).contains("no signing config"));
}

#[test]
fn what_was_not_valid_when_it_was_signed_vouches_for_nothing() {
    if !here() {
        return;
    }
    let bench = Bench::new();
    ended(&bench.run("out", &[]), 0);
    let out = "out.intoto.jsonl";
    let root: Value =
        serde_json::from_slice(&fs::read(bench.scratch.join("trusted_root.json")).expect("a root")).expect("JSON");
    let with = |part: &str, start: &str, end: Option<&str>| {
        let mut root = root.clone();
        let valid = root.pointer_mut(part).unwrap_or_else(|| panic!("{part}"));
        *valid = end.map_or_else(|| json!({"start": start}), |end| json!({"start": start, "end": end}));
        fs::write(bench.scratch.join("trusted_root.json"), root.to_string()).expect("written");
        bench.verify(out, "identity", &[])
    };
    for part in [
        "/certificateAuthorities/0/validFor",
        "/timestampAuthorities/0/validFor",
        "/tlogs/0/publicKey/validFor",
        "/ctlogs/0/publicKey/validFor",
    ] {
        // Replaced long after it was signed: as an auditor finds it years later.
        assert_eq!(with(part, "2020-01-01T00:00:00Z", Some("2099-01-01T00:00:00Z")), proven(), "{part}");
        // Replaced before, or not there yet.
        assert_eq!(
            with(part, "2020-01-01T00:00:00Z", Some("2021-01-01T00:00:00Z")),
            refused("BUNDLE_REFUSED"),
            "{part}"
        );
        assert_eq!(with(part, "2098-01-01T00:00:00Z", None), refused("BUNDLE_REFUSED"), "{part}");
    }
}
