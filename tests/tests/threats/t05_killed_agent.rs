//! 5: the agent is killed while it traces.

use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use tests::{Scratch, binary, bystander, held, verifier};

use crate::calls::{session, succeeded};

/// What is seen is written every second; guests are slow.
const WRITTEN_MAX: Duration = Duration::from_secs(60);

fn said(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

#[test]
fn what_a_killed_agent_leaves_is_never_complete() {
    let scratch = Scratch::new();
    let mut running = session(&scratch, bystander::waiting()).start();
    running.wait_for(&scratch.join("here"));
    let segment = scratch.join("out.evidence/open-0");
    let limit = Instant::now() + WRITTEN_MAX;
    while fs::metadata(&segment).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < limit, "nothing of what is seen reaches the disk");
        thread::sleep(Duration::from_millis(10));
    }
    let killed = Command::new("kill").args(["-9", &running.pid().to_string()]).status().expect("it starts");
    assert!(killed.success());
    scratch.write("go", "");
    let ran = running.wait();
    assert!(!ran.statement().exists(), "nothing is signed");
    // Whoever signs what is there says that it has no end.
    let key = scratch.join("signing.key");
    let recovered = Command::new(binary()).arg("recover").arg("--key").arg(&key).arg(ran.evidence()).output();
    let recovered = recovered.expect("it starts");
    assert!(recovered.status.success(), "{}", said(&recovered));
    let record = ran.record();
    record.must_lack("NOT_CLOSED");
    let verified = Command::new(verifier()).arg("--key").arg(ran.public_key()).arg(ran.statement()).output();
    let verified = verified.expect("it starts");
    assert_eq!(verified.status.code(), Some(1), "{}", said(&verified));
    held("a verifier refuses what a killed agent left, unless it is told to take what is incomplete");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let mut running = session(&scratch, bystander::waiting()).start();
    running.wait_for(&scratch.join("here"));
    fs::write(scratch.join("go"), "").expect("it may go on");
    succeeded(running.wait()).must_be_complete_on_the_weakest();
}
