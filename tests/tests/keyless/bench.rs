//! The services, a folder to run in, and what stands in a service's place.

use std::fs;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tests::{Found, ISSUER, Scratch, Sigstore, binary, check, verifier};

pub const ID: &str = "spiffe://example.org/testimony/agent";

pub struct Bench {
    pub sigstore: Sigstore,
    pub scratch: Scratch,
}

impl Bench {
    pub fn new() -> Self {
        tests::need_root();
        let bench = Self { sigstore: Sigstore::start(ID), scratch: Scratch::new() };
        for file in ["trusted_root.json", "without_ct.json", "other_ct.json", "signing_config.json"] {
            fs::copy(bench.sigstore.path(file), bench.scratch.join(file)).expect("copied");
        }
        bench
    }

    pub fn run(&self, name: &str, options: &[&str]) -> Output {
        self.command(name, options).output().expect("testimony runs")
    }

    /// A run that is to have a keyless signature. What is said twice, the options say.
    pub fn command(&self, name: &str, options: &[&str]) -> Command {
        let mut run = self.testimony("run");
        run.args(["--key", "key", "--chain", "chain", "--keyless", "signing_config.json", "-o", name]);
        run.args(unless(options, "--keyless-trusted-root", "trusted_root.json"));
        run.args(options).args(["--", "true"]);
        run
    }

    /// The program among the services, and in a folder of its own.
    pub fn testimony(&self, command: &str) -> Command {
        let mut testimony = self.sigstore.inside(binary());
        testimony.arg(command).current_dir(self.scratch.path());
        testimony.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", self.sigstore.spire.socket().display()));
        testimony
    }

    /// What the verifier says of a check, by the trusted root alone.
    pub fn verify(&self, name: &str, check_name: &str, options: &[&str]) -> (i32, Found) {
        let (code, verdict) = self.verdict(name, options);
        (code, check(&verdict, check_name))
    }

    /// The same of who signed, in its words.
    pub fn says(&self, name: &str, options: &[&str]) -> String {
        let (_, verdict) = self.verdict(name, options);
        let checks = verdict["checks"].as_array().expect("checks");
        let identity = checks.iter().find(|check| check["name"] == "identity").expect("an identity");
        identity["says"].as_str().expect("words").to_owned()
    }

    fn verdict(&self, name: &str, options: &[&str]) -> (i32, Value) {
        let mut verify = Command::new(verifier());
        verify.args(["--json", "--accept-incomplete"]);
        for (option, value) in [("--trusted-root", "trusted_root.json"), ("--identity", ID), ("--issuer", ISSUER)] {
            verify.args(unless(options, option, value));
        }
        verify.args(options).arg(name).current_dir(self.scratch.path());
        let said = verify.output().expect("the verifier runs");
        let verdict = serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)));
        (said.status.code().unwrap_or(-1), verdict)
    }

    /// How many signatures were logged.
    pub fn logged(&self) -> u64 {
        let checkpoint = fs::read_to_string(self.sigstore.path("log/checkpoint")).expect("a checkpoint");
        checkpoint.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size")
    }

    pub fn bundle(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.scratch.join(format!("{name}.sigstore.json"))).expect("a bundle"))
            .expect("JSON")
    }
}

/// An option, unless it is given.
fn unless<'a>(given: &[&str], option: &'a str, value: &'a str) -> Vec<&'a str> {
    if given.contains(&option) { Vec::new() } else { vec![option, value] }
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
