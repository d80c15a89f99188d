//! The services, a folder to run in, and what stands in a service's place.

use std::fs;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tests::{Found, ISSUER, Scratch, Sigstore, binary, check, tool, verifier};

pub const ID: &str = "spiffe://example.org/testimony/agent";

pub struct Bench {
    pub sigstore: Sigstore,
    pub scratch: Scratch,
}

impl Bench {
    pub fn new() -> Self {
        tests::need_root();
        let bench = Self { sigstore: Sigstore::start(ID), scratch: Scratch::new() };
        for file in ["trusted_root.json", "signing_config.json"] {
            fs::copy(bench.sigstore.path(file), bench.scratch.join(file)).expect("copied");
        }
        bench
    }

    pub fn run(&self, name: &str, options: &[&str]) -> Output {
        let mut run = self.sigstore.inside(binary());
        run.args(["run", "--key", "key", "--chain", "chain", "--keyless", "signing_config.json"]);
        run.args(["--keyless-trusted-root", "trusted_root.json", "-o", name]).args(options).args(["--", "true"]);
        run.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", self.sigstore.spire.socket().display()));
        run.current_dir(self.scratch.path()).output().expect("testimony runs")
    }

    /// What the verifier says of a check, by the trusted root alone.
    pub fn verify(&self, name: &str, check_name: &str, options: &[&str]) -> (i32, Found) {
        let mut verify = Command::new(verifier());
        verify.args(["--json", "--accept-incomplete", "--trusted-root", "trusted_root.json", "--insecure-ignore-sct"]);
        if !options.contains(&"--identity") {
            verify.args(["--identity", ID]);
        }
        if !options.contains(&"--issuer") {
            verify.args(["--issuer", ISSUER]);
        }
        verify.args(options).arg(name).current_dir(self.scratch.path());
        let said = verify.output().expect("the verifier runs");
        let verdict: Value = serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)));
        (said.status.code().unwrap_or(-1), check(&verdict, check_name))
    }

    pub fn bundle(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.scratch.join(format!("{name}.sigstore.json"))).expect("a bundle"))
            .expect("JSON")
    }
}

/// Something else in the place of a service.
pub struct Impostor(Child);

impl Impostor {
    pub fn start(bench: &Bench, words: &[&str], port: &str) -> Self {
        let mut python = bench.sigstore.inside("python3");
        python.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let impostor = Self(python.spawn().expect("python starts"));
        let mut listens = bench.sigstore.inside("bash");
        listens.args(["-c", &format!("until exec 3<>/dev/tcp/127.0.0.1/{port}; do sleep 0.05; done 2>/dev/null")]);
        assert!(listens.status().expect("bash runs").success());
        impostor
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
