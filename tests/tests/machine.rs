//! A machine with a TPM device, firmware that measures and a kernel that measures (IMA): what it booted and ran, by logs that lead to
//! its quoted registers. In guests, whose device, firmware and IMA these are.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use attestation::hex;
use attestation::tpm::ima::ImaList;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Scratch, binary, check, ended, need_root, proven, refused, verifier};

/// With all that is kept where it is kept by default: the guest is a machine of its own.
const RUN: [&str; 3] = ["run", "--seal-pcr", "12"];

struct Machine {
    scratch: Scratch,
}

impl Machine {
    /// The guest, enrolled by its TPM's word.
    fn new() -> Self {
        need_root();
        let machine = Self { scratch: Scratch::new() };
        let steps: [&[&str]; 4] = [
            &["enrol", "request", "-o", "request"],
            &["enrol", "challenge", "--name", "guest", "-o", "challenge", "--pending", "pending", "request"],
            &["enrol", "answer", "-o", "answer", "challenge"],
            &["enrol", "accept", "-o", "machine", "--pending", "pending", "answer"],
        ];
        for step in steps {
            ended(&machine.testimony(step), 0);
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn testimony(&self, words: &[&str]) -> Output {
        Command::new(binary()).args(words).current_dir(self.scratch.path()).output().expect("testimony runs")
    }

    fn run(&self, name: &str, command: &[&str]) {
        let words = [&RUN[..], &["--key", "key", "-o", name, "--"], command].concat();
        ended(&self.testimony(&words), 0);
    }

    fn verify(&self, name: &str, options: &[&str]) -> (i32, Value) {
        let mut verify = Command::new(verifier());
        verify.args(["--json", "--accept-incomplete", "--key", "key.pub", "--enrolment", "machine"]).args(options);
        let said = verify.arg(format!("{name}.intoto.jsonl")).current_dir(self.scratch.path()).output();
        let said = said.expect("the verifier runs");
        let verdict = serde_json::from_slice(&said.stdout);
        let verdict = verdict.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)));
        (said.status.code().unwrap_or(-1), verdict)
    }

    fn boot(&self, name: &str, policy: &Value) -> (i32, tests::Found) {
        fs::write(self.path("policy"), policy.to_string()).expect("written");
        let (code, verdict) = self.verify(name, &["--boot-policy", "policy"]);
        (code, check(&verdict, "boot"))
    }

    /// SHA-256 of all that the kernel had measured when a run ended.
    fn measured(&self, name: &str) -> Vec<String> {
        let list = fs::read(self.path(&format!("{name}.ima-list"))).expect("the kernel's list");
        let list = ImaList::read(&list).expect("a list");
        list.entries().iter().skip(1).map(|entry| hex::encode(entry.digest)).collect()
    }
}

fn says(verdict: &Value, name: &str) -> String {
    let checks = verdict["checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["name"] == name).expect("the check");
    found["says"].as_str().expect("words").to_owned()
}

#[test]
fn what_the_machine_booted_and_ran_is_held_against_a_policy() {
    let machine = Machine::new();
    machine.run("one", &["true"]);
    let (code, verdict) = machine.verify("one", &[]);
    assert_eq!((code, check(&verdict, "platform")), proven(), "{verdict}");
    // Without a policy nothing of the boot is claimed.
    assert_eq!(check(&verdict, "boot"), Some(("not claimed".to_owned(), None)));
    let words = says(&verdict, "boot");
    println!("{words}");
    assert!(words.contains("firmware's log of") && words.contains("the kernel's list of"), "{words}");
    let aggregate = words.strip_prefix("boot aggregate ").and_then(|words| words.get(..64)).expect("the aggregate");
    let accepted = json!({"version": 1, "bootAggregates": [aggregate]});
    assert_eq!(machine.boot("one", &accepted), proven());
    let digests = |digests: &[String]| json!({"version": 1, "bootAggregates": [aggregate], "digests": digests});
    let measured = machine.measured("one");
    assert!(measured.len() > 5, "{measured:?}");
    assert_eq!(machine.boot("one", &digests(&measured)), proven());
    // One that is not accepted, and another boot.
    assert_eq!(machine.boot("one", &digests(&measured[1..])), refused("BOOT_REFUSED"));
    let other = json!({"version": 1, "bootAggregates": ["00".repeat(32)]});
    assert_eq!(machine.boot("one", &other), refused("BOOT_REFUSED"));
    // A program that is run later is in the next quote, by its digest.
    let mut program = fs::read("/bin/true").expect("a program");
    program.extend(b"another one");
    fs::write(machine.path("program"), &program).expect("written");
    fs::set_permissions(machine.path("program"), fs::Permissions::from_mode(0o755)).expect("made executable");
    machine.run("two", &["./program"]);
    let (_, verdict) = machine.verify("two", &["--boot-policy", "policy"]);
    assert_eq!(check(&verdict, "platform").expect("the check").0, "proven");
    let measured = machine.measured("two");
    assert_eq!(machine.boot("two", &digests(&measured)), proven());
    let own = hex::encode(&Sha256::digest(&program));
    let others: Vec<String> = measured.iter().filter(|digest| **digest != own).cloned().collect();
    assert_eq!(others.len() + 1, measured.len());
    assert_eq!(machine.boot("two", &digests(&others)), refused("BOOT_REFUSED"));
    let (_, verdict) = machine.verify("two", &["--boot-policy", "policy"]);
    let words = says(&verdict, "boot");
    assert!(words.contains("/program with digest") && words.contains(&own), "{words}");
}

#[test]
fn logs_that_do_not_lead_to_the_registers_are_refused() {
    let machine = Machine::new();
    machine.run("out", &["true"]);
    let (_, verdict) = machine.verify("out", &[]);
    let words = says(&verdict, "boot");
    let aggregate = words.strip_prefix("boot aggregate ").and_then(|words| words.get(..64)).expect("the aggregate");
    let accepted = json!({"version": 1, "bootAggregates": [aggregate]});
    assert_eq!(machine.boot("out", &accepted), proven());
    for file in ["out.firmware-log", "out.ima-list"] {
        let whole = fs::read(machine.path(file)).expect("a log");
        // The last digest, or what it is over; and a log that ends before.
        let mut changed = whole.clone();
        let at = if file == "out.ima-list" { 30 } else { 90 };
        changed[at] ^= 1;
        for other in [&changed, &whole[..whole.len() / 2], b"nonsense"] {
            fs::write(machine.path(file), other).expect("written");
            assert_eq!(machine.boot("out", &accepted), refused("BOOT_REFUSED"), "{file}");
        }
        fs::write(machine.path(file), &whole).expect("written");
    }
    fs::remove_file(machine.path("out.ima-list")).expect("removed");
    assert_eq!(machine.boot("out", &accepted), proven());
    let digests = json!({"version": 1, "bootAggregates": [aggregate], "digests": []});
    assert_eq!(machine.boot("out", &digests), refused("BOOT_REFUSED"));
}
