//! What a log of certificates promised: looked for by the agent before it relies on a certificate, by the verifier, and by cosign.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::{ISSUER, ended, proven, refused, tool};

use crate::bench::{Bench, ID, Impostor};
use crate::here;

const OUT: &str = "out.intoto.jsonl";
const OTHER: [&str; 2] = ["--trusted-root", "other_ct.json"];
const WITHOUT: [&str; 2] = ["--trusted-root", "without_ct.json"];
const IGNORE: &str = "--insecure-ignore-sct";
const NO_PROMISE: &str = "no certificate transparency log of the trusted root has promised to publish the certificate";
/// It hands on what the log of certificates says, with the time of its promise changed by a millisecond.
const FORGER: &str = "
import json, http.server as h, urllib.request as u
class H(h.BaseHTTPRequestHandler):
    def do_POST(self):
        sent = self.rfile.read(int(self.headers['Content-Length']))
        said = json.load(u.urlopen(u.Request('http://127.0.0.1:4009' + self.path, sent)))
        said['timestamp'] += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())
h.HTTPServer(('127.0.0.1', 4010), H).serve_forever()
";

#[test]
fn a_promise_to_publish_the_certificate_is_held_to_the_logs_of_the_trusted_root() {
    if !here() {
        return;
    }
    let bench = Bench::new();
    for name in ["first", "out"] {
        let said = ended(&bench.run(name, &[]), 0);
        assert!(said.contains("with a transparency log's promise to publish the certificate"), "{said}");
    }
    let log = fs::read_to_string(bench.sigstore.path("transparency/checkpoint")).expect("a checkpoint");
    assert_eq!(log.lines().nth(1), Some("2"), "{log}");
    let identity = |options: &[&str]| bench.verify(OUT, "identity", options);
    assert_eq!(identity(&[]), proven());
    assert!(bench.says(OUT, &[]).contains("with a transparency log's promise to publish the certificate"));
    assert_eq!(identity(&OTHER), refused("BUNDLE_REFUSED"));
    assert!(bench.says(OUT, &OTHER).contains(NO_PROMISE), "{}", bench.says(OUT, &OTHER));
    assert_eq!(identity(&WITHOUT), refused("BUNDLE_REFUSED"));
    assert!(bench.says(OUT, &WITHOUT).contains("names no certificate transparency log"));
    // Who does without is told so.
    for root in [["--trusted-root", "trusted_root.json"], OTHER, WITHOUT] {
        let options = [&root[..], &[IGNORE]].concat();
        assert_eq!(identity(&options), proven(), "{root:?}");
        assert!(bench.says(OUT, &options).contains("was not looked at"));
    }
    // Cosign says the same, and looks.
    for (root, good) in [("trusted_root.json", true), ("other_ct.json", false), ("without_ct.json", false)] {
        let (taken, said) = cosign(&bench, root, ID);
        assert_eq!(taken, good, "{root}: {said}");
    }
    assert!(!cosign(&bench, "trusted_root.json", "spiffe://example.org/another").0);
    // The agent does not sign with a certificate that none of its logs knows.
    let logged = bench.logged();
    let said = ended(&bench.run("other", &["--keyless-trusted-root", "other_ct.json"]), 0);
    assert!(said.contains(NO_PROMISE) && said.contains("the signature was not logged"), "{said}");
    assert!(!bench.scratch.join("other.sigstore.json").exists());
    assert_eq!(bench.logged(), logged);
}

#[test]
fn a_promise_that_was_changed_or_never_made_is_none() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    let forger = Impostor::start(&bench, &["-c", FORGER], "4010");
    for (name, log) in [("changed", Some("http://127.0.0.1:4010")), ("absent", None)] {
        bench.sigstore.log_certificates_at(log);
        let said = ended(&bench.run(&format!("not-{name}"), &[]), 0);
        assert!(said.contains(NO_PROMISE) && said.contains("COMPLETE"), "{name}: {said}");
        assert!(!bench.scratch.join(format!("not-{name}.sigstore.json")).exists());
        // An agent that knows no such log takes it, and says so; who verifies by one that does, does not.
        let said = ended(&bench.run(name, &["--keyless-trusted-root", "without_ct.json"]), 0);
        assert!(said.contains("whether the certificate was published was not looked at"), "{name}: {said}");
        let statement = format!("{name}.intoto.jsonl");
        assert_eq!(bench.verify(&statement, "identity", &[]), refused("BUNDLE_REFUSED"), "{name}");
        assert!(bench.says(&statement, &[]).contains(NO_PROMISE), "{}", bench.says(&statement, &[]));
        let without = [&WITHOUT[..], &[IGNORE]].concat();
        assert_eq!(bench.verify(&statement, "identity", &without), proven(), "{name}");
    }
    drop(forger);
}

/// Whether cosign takes the bundle of `out`, and what it says.
fn cosign(bench: &Bench, root: &str, identity: &str) -> (bool, String) {
    let subject = subject(bench);
    let mut cosign = Command::new(tool("cosign/usr/bin/cosign"));
    cosign.args(["verify-blob-attestation", "--bundle", "out.sigstore.json", "--trusted-root", root]);
    cosign.args(["--use-signed-timestamps", "--certificate-identity", identity]);
    cosign.args(["--certificate-oidc-issuer", ISSUER, "--digest", &subject, "--digestAlg", "sha256"]);
    cosign.args(["--type", "https://in-toto.io/attestation/runtime-trace/v0.1"]);
    let said = cosign.current_dir(bench.scratch.path()).output().expect("cosign runs");
    (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned())
}

fn subject(bench: &Bench) -> String {
    let envelope = fs::read(bench.scratch.join(OUT)).expect("a statement");
    let payload = attestation::dsse::read(envelope.as_slice()).expect("an envelope").into_unverified();
    let statement: Value = serde_json::from_slice(&payload).expect("a statement");
    statement["subject"][0]["digest"]["sha256"].as_str().expect("a digest").to_owned()
}
