//! A node: a TPM, what the agent keeps there, runs that seal, and what the verifier says of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Found, Maker, Scratch, Swtpm, TpmHelper, binary, ended, need_root, verifier};

/// A node, and a folder with the statements and the enrolment `machine`.
pub(crate) struct Node {
    pub(crate) maker: Maker,
    pub(crate) tpm: Swtpm,
    pub(crate) scratch: Scratch,
    /// That runs seal in.
    pub(crate) register: &'static str,
}

impl Node {
    /// One whose TPM a maker vouches for.
    pub(crate) fn new() -> Self {
        need_root();
        let maker = Maker::new();
        let (tpm, scratch) = (Swtpm::made_by(&maker), Scratch::new());
        let node = Self { maker, tpm, scratch, register: "12" };
        fs::write(node.path("makers"), node.maker.authorities()).expect("written");
        node
    }

    /// The same, enrolled.
    pub(crate) fn enrolled() -> Self {
        let node = Self::new();
        node.enrol("machine", &["--name", "builder"]);
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Where the TPM is, and what is kept of it.
    pub(crate) fn tpm(&self) -> Vec<String> {
        ["--tpm", &self.tpm.tcti(), "--tpm-state", "tpm"].map(str::to_owned).to_vec()
    }

    /// A command of `testimony`, in the folder.
    pub(crate) fn testimony(&self, words: &[&str]) -> Output {
        Command::new(binary()).args(words).current_dir(self.scratch.path()).output().expect("testimony runs")
    }

    /// All steps of an enrolment, by the TPM's maker.
    pub(crate) fn enrol(&self, name: &str, options: &[&str]) {
        let tpm = self.tpm();
        let tpm: Vec<&str> = tpm.iter().map(String::as_str).collect();
        let of = |what: &str| format!("{name}.{what}");
        let (request, challenge, pending, answer) = (of("request"), of("challenge"), of("pending"), of("answer"));
        well(&self.testimony(&[&["enrol", "request", "-o", &request][..], &tpm].concat()));
        let made = ["enrol", "challenge", "--maker", "makers", "-o", &challenge, "--pending", &pending];
        well(&self.testimony(&[&made[..], options, &[&request]].concat()));
        well(&self.testimony(&[&["enrol", "answer", "-o", &answer][..], &tpm, &[&challenge]].concat()));
        well(&self.testimony(&["enrol", "accept", "-o", name, "--pending", &pending, &answer]));
    }

    /// A run that seals each second in register 12.
    pub(crate) fn command(&self, name: &str, options: &[&str], command: &[&str]) -> Command {
        self.command_sealing(name, "1", options, command)
    }

    /// A run that seals each so many seconds.
    pub(crate) fn command_sealing(&self, name: &str, every_s: &str, options: &[&str], command: &[&str]) -> Command {
        let mut run = Command::new(binary());
        run.args(["run", "--seal-pcr", self.register, "--seal-every", every_s, "--seals", "seals", "--chain", "chain"]);
        run.args(["-o", name]).args(self.tpm()).args(options).arg("--").args(command);
        run.current_dir(self.scratch.path());
        run
    }

    /// The same, signed by a key file, to its end.
    pub(crate) fn run(&self, name: &str, options: &[&str], command: &[&str]) -> Output {
        let key = [&["--key", "key"][..], options].concat();
        self.command(name, &key, command).output().expect("testimony runs")
    }

    /// What the verifier says of a check, by the key and the enrolment.
    pub(crate) fn verify(&self, name: &str, options: &[&str]) -> (i32, Found) {
        let all = [&["--key", "key.pub", "--enrolment", "machine"][..], options].concat();
        self.check("platform", name, &all)
    }

    pub(crate) fn check(&self, check: &str, name: &str, options: &[&str]) -> (i32, Found) {
        let (code, verdict) = self.verdict(name, options);
        (code, tests::check(&verdict, check))
    }

    /// What the verifier says in words of the machine.
    pub(crate) fn says(&self, name: &str, options: &[&str]) -> String {
        let all = [&["--key", "key.pub", "--enrolment", "machine"][..], options].concat();
        let (_, verdict) = self.verdict(name, &all);
        let checks = verdict["checks"].as_array().cloned().unwrap_or_default();
        let found = checks.iter().find(|found| found["name"] == "platform").expect("the check");
        found["says"].as_str().expect("words").to_owned()
    }

    fn verdict(&self, name: &str, options: &[&str]) -> (i32, Value) {
        let file = if Path::new(name).extension().is_some() { name.to_owned() } else { format!("{name}.intoto.jsonl") };
        let mut verify = Command::new(verifier());
        verify.arg("--json").args(options).arg(file);
        let said = verify.current_dir(self.scratch.path()).output().expect("the verifier runs");
        let verdict = serde_json::from_slice(&said.stdout);
        let verdict = verdict.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)));
        (said.status.code().unwrap_or(-1), verdict)
    }

    /// The helper, for whoever is root on the node.
    pub(crate) fn helper(&self) -> TpmHelper {
        TpmHelper::start(&self.tpm.tcti(), &self.path("tpm"))
    }
}

/// Until a run that was started sealed for the first time: its command goes on for some seconds then.
pub(crate) fn wait_for_a_seal(node: &Node) {
    let sealed = || fs::read_dir(node.path("seals")).ok()?.next()?.ok()?.metadata().ok().map(|log| log.len());
    let began = Instant::now();
    while sealed().unwrap_or_default() == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is sealed");
        sleep(Duration::from_millis(10));
    }
}

/// The node's list of seals.
pub(crate) fn log_of(node: &Node) -> PathBuf {
    let mut logs = fs::read_dir(node.path("seals")).expect("a folder");
    logs.next().expect("a log").expect("a log").path()
}

/// What was said, if it went well.
pub(crate) fn well(output: &Output) -> String {
    ended(output, 0)
}
