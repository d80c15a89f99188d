//! Sealing that is hindered: by the command itself, by a busy kernel, by clocks, by a TPM that is slow, by what came before it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs};

use attestation::platform::{SEAL_BYTES, SEALS_MAX, Seal};
use tests::{binary, ended, proven, tpm_helper};

use crate::bench::here;
use crate::node::{Node, log_of, wait_for_a_seal, well};
use crate::rewritten;

/// Stands before the real helper; a question for the kernel's own register is answered as where that changes all the time, which no
/// load does for sure.
const CHANGING: &str = r#"#!/usr/bin/env python3
import json, subprocess, sys
helper = subprocess.Popen([HELPER] + sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
for line in sys.stdin:
    request = json.loads(line)
    ask = request["ask"]
    if ask["kind"] == "quote" and 10 in ask["pcrs"]:
        fault = {"code": "changing", "message": "the registers change"}
        answer = json.dumps({"version": request["version"], "id": request["id"], "outcome": {"fault": fault}}) + "\n"
    else:
        helper.stdin.write(line)
        helper.stdin.flush()
        answer = helper.stdout.readline()
    sys.stdout.write(answer)
    sys.stdout.flush()
"#;

#[test]
fn a_command_that_takes_the_name_of_the_quote_does_not_get_it() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    let script = "ln -s victim out.quote.intoto.jsonl; rm -f out.quote.intoto.jsonl.part; echo mine >victim";
    let said = well(&node.run("out", &[], &["sh", "-c", script]));
    // What is removed while it is claimed costs itself, and says so.
    assert!(said.contains("there is no quote") && said.contains("COMPLETE"), "{said}");
    well(&node.run("two", &[], &["sh", "-c", "echo forged >two.quote.intoto.jsonl"]));
    assert_eq!(node.verify("two", &[]), proven());
    assert_eq!(fs::read_to_string(node.path("victim")).expect("the command's own"), "mine\n");
    let left = fs::read_dir(node.path(".")).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let parts: Vec<_> = left.filter(|name| name.to_string_lossy().ends_with(".part")).collect();
    assert!(parts.is_empty(), "{parts:?}");
}

#[test]
fn a_register_that_never_holds_still_costs_itself_and_not_the_quote() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    let folder = node.path("programs");
    fs::create_dir(&folder).expect("a folder");
    fs::copy(binary(), folder.join("testimony")).expect("copied");
    let helper = folder.join("testimony-tpm");
    fs::write(&helper, CHANGING.replace("HELPER", &format!("{:?}", tpm_helper()))).expect("written");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("a program");
    let path = env::var_os("PATH").expect("a search path");
    let mut run = node.command("out", &["--key", "key"], &["true"]);
    let options: Vec<_> = run.get_args().map(ToOwned::to_owned).collect();
    run = Command::new(folder.join("testimony"));
    run.args(options).env("PATH", path).current_dir(node.path("."));
    well(&run.output().expect("testimony runs"));
    assert_eq!(node.verify("out", &[]), proven());
    let quoted = rewritten::quoting(&node, "out").registers;
    let has: Vec<u8> = (0..24).filter(|pcr| quoted.value(*pcr).is_some()).collect();
    assert_eq!(has, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15]);
}

#[test]
fn seals_of_a_clock_that_is_ahead_are_refused_before_the_command() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    well(&node.run("one", &[], &["true"]));
    let mut log = fs::read(log_of(&node)).expect("a log");
    let last = Seal::from_bytes(log.last_chunk::<SEAL_BYTES>().expect("a seal"));
    // As a run in a time namespace would have it.
    let ahead = Seal { boottime_ns: last.boottime_ns + 86_400_000_000_000, ..last };
    let number = (log.len() / SEAL_BYTES) as u64 + 1;
    log.extend(ahead.to_bytes());
    fs::write(log_of(&node), log).expect("written");
    let extended =
        node.helper().ask(tpm_protocol::Ask::Extend { pcr: 12, sha256: ahead.digest(number).to_vec().into() });
    assert!(matches!(extended, Ok(tpm_protocol::Answer::Extended)), "{extended:?}");
    let said = ended(&node.run("never", &[], &["touch", "ran"]), 125);
    assert!(said.contains("made later than it is now") && !node.path("ran").exists(), "{said}");
}

#[test]
fn nothing_is_sealed_by_the_clock_of_a_time_namespace() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    let run = node.command("never", &["--key", "key"], &["touch", "ran"]);
    let mut ahead = Command::new("unshare");
    ahead.args(["--time", "--fork", "--boottime", "86400", "--"]).arg(run.get_program()).args(run.get_args());
    let said = ended(&ahead.current_dir(node.path(".")).output().expect("unshare runs"), 125);
    assert!(said.contains("this is a time namespace") && !node.path("ran").exists(), "{said}");
}

#[test]
fn a_list_without_room_is_refused_before_the_command() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    well(&node.run("one", &[], &["true"]));
    fs::write(log_of(&node), vec![0; SEALS_MAX * SEAL_BYTES]).expect("written");
    let said = ended(&node.run("never", &[], &["touch", "ran"]), 125);
    assert!(said.contains("1048576 seals were made since the boot") && !node.path("ran").exists(), "{said}");
}

#[test]
fn a_run_that_was_sealed_too_rarely_says_so() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    let run = node.command("out", &["--key", "key"], &["sleep", "17"]).stderr(std::process::Stdio::piped()).spawn();
    let run = run.expect("it starts");
    wait_for_a_seal(&node);
    node.tpm.freeze();
    sleep(Duration::from_secs(14));
    node.tpm.thaw();
    let said = well(&run.wait_with_output().expect("it ends"));
    assert!(said.contains("between two seals there were up to 1") && said.contains("COMPLETE"), "{said}");
    let shown = node.testimony(&["show", "--gaps", "out"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("NOT_SEALED"));
    // What was sealed is quoted all the same.
    assert_eq!(node.verify("out", &[]), proven());
}

#[test]
fn another_tpm_than_the_one_that_was_noted_is_not_enrolled() {
    if !here() {
        return;
    }
    let node = Node::new();
    let tpm = node.tpm();
    let tpm: Vec<&str> = tpm.iter().map(String::as_str).collect();
    let out = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let said = out(&node.testimony(&[&["enrol", "request", "-o", "request"][..], &tpm].concat()));
    let names: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("the TPM's endorsement key is ")).collect();
    assert!(!names.is_empty() && names.iter().all(|name| name.len() == 68 && name.starts_with("000b")), "{said}");
    let challenge = |name: &str, output: &str| {
        let words = ["enrol", "challenge", "--maker", "makers", "--endorsement-key", name, "--name", "builder"];
        node.testimony(&[&words[..], &["-o", output, "--pending", "pending", "request"]].concat())
    };
    let other = format!("000b{}", "00".repeat(32));
    assert!(ended(&challenge(&other, "challenge"), 1).contains("it is of another TPM"));
    assert!(!node.path("pending").exists() && !node.path("challenge").exists());
    // What is kept goes with a challenge that could not be written.
    ended(&challenge(names[0], "request"), 1);
    assert!(!node.path("pending").exists());
    assert!(out(&challenge(names[0], "challenge")).contains("hold them against the machine's own"));
    assert!(node.path("pending").exists() && node.path("challenge").exists());
}
