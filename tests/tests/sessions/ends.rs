//! How sessions end that nobody closes.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use tests::ended;

use crate::node::{NOBODY, Node, files};

#[test]
fn a_session_whose_run_was_killed_is_signed_when_its_command_has_ended() {
    let node = Node::start("");
    let mut run = node
        .run(NOBODY, "out", "touch begun; sleep 1; cat /etc/hostname")
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    node.wait("it began", || node.work().join("begun").exists());
    run.kill().expect("it lives");
    assert!(run.wait().is_ok());
    let signed = node.session("run", "signed");
    let statement = node.complete(signed["statement"].as_str().expect("a path"));
    assert!(files(&statement).iter().any(|file| file.ends_with("/etc/hostname")));
}

#[test]
fn an_agent_that_is_told_to_stop_swears_to_what_it_saw_and_leaves_the_commands_alone() {
    let mut node = Node::start("");
    let script = "cat /etc/hostname > /dev/null; touch begun; sleep 2; echo done > after";
    let run = node.run(NOBODY, "out", script).stderr(Stdio::piped()).spawn().expect("it starts");
    node.wait("it began", || node.work().join("begun").exists());
    // What was told is in the ring by then, and drained.
    sleep(Duration::from_millis(200));
    node.signal(Signal::TERM);
    let statement = std::fs::read_dir(node.scratch.join("sessions")).expect("a folder").flatten();
    let mut statements =
        statement.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let statement = statements.next().expect("a statement").to_str().expect("text").to_owned();
    let (code, verdict) = node.verify(&statement);
    assert_eq!(code, 1, "incomplete: {verdict}");
    let gaps = verdict["gaps"].to_string() + &node.statement(&statement).to_string();
    assert!(gaps.contains("SURVIVOR"), "{verdict}");
    let ran = run.wait_with_output().expect("it ends");
    assert!(ended(&ran, 121).contains("testimony sessions"), "{ran:?}");
    assert!(node.work().join("after").exists(), "the command went on");
}

#[test]
fn what_an_agent_that_died_left_is_signed_and_delivered_by_the_next() {
    let mut node = Node::start("");
    let script = "cat /etc/hostname > /dev/null; touch begun; sleep 2; echo done > after";
    let run = node.run(NOBODY, "out", script).stderr(Stdio::piped()).spawn().expect("it starts");
    node.wait("it began", || node.work().join("begun").exists());
    // What was told is on the disk after half a second.
    sleep(Duration::from_secs(1));
    node.signal(Signal::KILL);
    ended(&run.wait_with_output().expect("it ends"), 121);
    assert!(node.work().join("after").exists(), "the command went on");
    let left = || {
        let mut left =
            std::fs::read_dir(node.scratch.join("sessions")).expect("a folder").flatten().map(|entry| entry.path());
        left.find(|path| path.extension().is_some_and(|end| end == "evidence")).expect("evidence")
    };
    let (left, empty) = (left(), node.scratch.join("sessions/zzz.evidence"));
    // As one that died before its session began.
    std::fs::create_dir(&empty).expect("made");
    node.start_again();
    let statement = left.with_extension("intoto.jsonl");
    node.wait("it is signed, and what is nothing is gone", || statement.exists() && !empty.exists());
    let statement = statement.to_str().expect("text").to_owned();
    assert_eq!(node.verify(&statement).0, 1, "incomplete");
    assert!(files(&node.statement(&statement)).iter().any(|file| file.ends_with("/etc/hostname")));
    let waiting = |node: &Node| {
        let said = node.testimony(&["spool", "state", "--config", "agent.toml", "--json"]);
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
        said["waiting"].as_u64().expect("a number")
    };
    assert_eq!(waiting(&node), 1);
    // Once, however often it is started; and what comes now is as ever.
    node.signal(Signal::TERM);
    node.start_again();
    ended(&node.run(NOBODY, "next", "true").output().expect("it runs"), 0);
    node.complete("work/next.intoto.jsonl");
    assert_eq!(waiting(&node), 2);
}
