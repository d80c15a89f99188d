//! A SPIRE, statements made with it, and what the verifier says of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tests::{Found, Scratch, Spire, binary, need_root, verifier};

pub(crate) const ID: &str = "spiffe://example.org/ci/builder";
pub(crate) const ANY: &str = "spiffe://example.org/ci/*";

/// A SPIRE that gives root that identity, and a folder.
pub(crate) struct Bench {
    pub(crate) spire: Spire,
    pub(crate) scratch: Scratch,
}

/// `testimony run` in a folder, with what it keeps there too.
pub(crate) fn run_as(scratch: &Scratch, name: &str) -> Command {
    let mut run = Command::new(binary());
    run.args(["run", "--trust-bundles", "kept", "--chain", "chain", "-o", name]).current_dir(scratch.path());
    run
}

/// What the session of a statement says.
pub(crate) fn session(envelope: &[u8]) -> Value {
    let envelope: Value = serde_json::from_slice(envelope).expect("an envelope");
    let payload = envelope["payload"].as_str().map(|text| STANDARD.decode(text).expect("base64"));
    let statement: Value = serde_json::from_slice(&payload.expect("a payload")).expect("a statement");
    statement["predicate"]["testimony"]["session"].clone()
}

/// Whether these tests run: what they test does not depend on the kernel, and a guest has no SPIRE.
pub(crate) fn here() -> bool {
    if tests::kernel() == "host" {
        return true;
    }
    println!("NOT RUN: SPIRE is on the host, and another kernel changes nothing of who signs");
    false
}

impl Bench {
    pub(crate) fn new(ttl: &str) -> Self {
        need_root();
        let bench = Self { spire: Spire::start(ttl), scratch: Scratch::new() };
        bench.spire.register(ID);
        for format in ["pem", "spiffe"] {
            fs::write(bench.scratch.join(format), bench.spire.bundle(format)).expect("written");
        }
        bench
    }

    pub(crate) fn run(&self, name: &str, options: &[&str], command: &[&str]) -> Output {
        let mut run = run_as(&self.scratch, name);
        run.args(options).arg("--").args(command).output().expect("testimony runs")
    }

    pub(crate) fn signer(&self) -> String {
        format!("spiffe:{}", self.spire.socket().display())
    }

    pub(crate) fn envelope(&self, name: &str) -> Value {
        let text = fs::read(self.statement(name)).expect("a statement");
        serde_json::from_slice(&text).expect("an envelope")
    }

    pub(crate) fn statement(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("{name}.intoto.jsonl"))
    }

    /// What the statement's session says.
    pub(crate) fn session(&self, name: &str) -> Value {
        session(&fs::read(self.statement(name)).expect("a statement"))
    }

    /// Exit code, and outcome and code of the check `identity`.
    pub(crate) fn verify(&self, name: &str, options: &[&str]) -> (i32, Found) {
        self.check("identity", name, options)
    }

    /// Exit code, and outcome and code of this check.
    pub(crate) fn check(&self, check: &str, name: &str, options: &[&str]) -> (i32, Found) {
        let mut verify = Command::new(verifier());
        verify.args(["--json", "--accept-incomplete"]).args(options).arg(self.statement(name));
        let said = verify.current_dir(self.scratch.path()).output().expect("the verifier runs");
        let verdict: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
        (said.status.code().unwrap_or(-1), tests::check(&verdict, check))
    }
}

/// The serial number of the certificate of the first signature, as `verify` would say it.
pub(crate) fn certificate(envelope: &Value) -> String {
    envelope["signatures"][0]["certificate"].as_str().expect("a certificate").to_owned()
}

/// Waits until a traced command has made this file.
pub(crate) fn wait_for(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed().as_secs() < 30, "{} is not there", path.display());
        sleep(Duration::from_millis(20));
    }
}
