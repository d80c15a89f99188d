//! Sessions that users ask for.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Output, Stdio};

use tests::ended;

use crate::node::{NOBODY, Node, SOMEBODY, files};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_run_without_rights_is_traced_by_the_agent() {
    let node = Node::start("");
    let ran = node.run(NOBODY, "out", "id -u > made; cat made /etc/hostname; exit 7").output().expect("it runs");
    ended(&ran, 7);
    assert!(String::from_utf8_lossy(&ran.stdout).starts_with("65534\n"));
    let statement = node.complete("work/out.intoto.jsonl");
    let made = node.work().join("made").to_str().expect("text").to_owned();
    assert_eq!(statement["subject"][0]["name"], *made);
    assert!(files(&statement).iter().any(|file| file.ends_with("/etc/hostname")));
    for name in ["out.intoto.jsonl", "out.evidence"] {
        let there = fs::metadata(node.work().join(name)).expect("it is there");
        assert_eq!((there.uid(), there.mode() & 0o077), (NOBODY, 0), "{name}");
    }
    // It waits in the spool too, and its number is the chain's first.
    let state = node.testimony(&["spool", "state", "--json", "--config", "agent.toml"]);
    let state: serde_json::Value = serde_json::from_slice(&state.stdout).expect("JSON");
    assert_eq!(state["waiting"]["statements"].as_u64().or(state["waiting"].as_u64()), Some(1), "{state}");
    assert_eq!(statement["predicate"]["testimony"]["session"]["number"], 1);
}

#[test]
fn sessions_at_once_know_only_their_own() {
    let node = Node::start("");
    let script = |index: usize| {
        format!("for i in $(seq 40); do echo $i > own-{index}-$i; cat own-{index}-$i /etc/passwd; done > /dev/null")
    };
    let all: Vec<_> = (0..6).map(|index| node.run(NOBODY, &format!("out{index}"), &script(index)).spawn()).collect();
    for child in all {
        assert!(child.expect("it starts").wait().expect("it ends").success());
    }
    for index in 0..6 {
        let statement = node.complete(&format!("work/out{index}.intoto.jsonl"));
        let all: BTreeSet<String> = files(&statement).into_iter().collect();
        let of = |own: usize| all.iter().filter(|file| file.contains(&format!("/own-{own}-"))).count();
        let counts: Vec<usize> = (0..6).map(of).collect();
        let wanted: Vec<usize> = (0..6).map(|other| if other == index { 40 } else { 0 }).collect();
        assert_eq!(counts, wanted, "of session {index}");
        // What the others do takes nothing from what is known of its own.
        assert_eq!(statement["predicate"]["testimony"]["digestClasses"]["raced"], 0, "of session {index}");
    }
}

#[test]
fn a_user_sees_and_closes_no_session_of_anothers() {
    let node = Node::start("");
    let mut theirs = node.run(NOBODY, "out", "read line").stdin(Stdio::piped()).spawn().expect("it starts");
    let id = node.session("run", "open")["id"].as_str().expect("an id").to_owned();
    assert!(node.list(SOMEBODY).is_empty());
    for action in ["close", "tail"] {
        let refused = node.sessions(SOMEBODY, &[action, &id]);
        assert!(said(&refused).contains("of yours") && !refused.status.success(), "{refused:?}");
    }
    assert_eq!(node.list(NOBODY).len(), 1);
    drop(theirs.stdin.take());
    assert!(theirs.wait().is_ok());
    node.complete("work/out.intoto.jsonl");
}

#[test]
fn who_is_not_of_the_group_is_told_so() {
    let node = Node::start("");
    let mut outsider = node.run(SOMEBODY, "out", "true");
    std::os::unix::process::CommandExt::gid(&mut outsider, SOMEBODY);
    let refused = outsider.output().expect("it runs");
    assert!(ended(&refused, 125).contains("you may not ask the node's agent"));
}

#[test]
fn what_programs_of_others_did_is_for_root() {
    let node = Node::start("");
    let other = node.work().join("other");
    fs::copy("/usr/bin/true", &other).expect("copied");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o4755)).expect("chmod");
    let ran = node.run(NOBODY, "out", "./other").output().expect("it runs");
    assert!(ended(&ran, 121).contains("told to root alone"), "{ran:?}");
    assert!(!node.work().join("out.intoto.jsonl").exists());
    let kept = node.session("run", "signed");
    let statement = node.complete(kept["statement"].as_str().expect("a path"));
    assert!(files(&statement).iter().any(|file| file.ends_with("/other")));
}

#[test]
fn what_only_who_traces_himself_can_choose_is_refused() {
    let node = Node::start("");
    let mut run = node.run(NOBODY, "out", "true");
    let words: Vec<String> = run.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> =
        [&["run", "--weakest-hooks"][..], &words.iter().map(String::as_str).collect::<Vec<_>>()[1..]].concat();
    let refused = node.command(NOBODY, &words).output().expect("it runs");
    assert!(ended(&refused, 125).contains("--weakest-hooks is for a run that traces by itself"));
    // Nothing was left, and the name is free.
    ended(&run.output().expect("it runs"), 0);
    ended(&run.output().expect("it runs"), 125);
}

#[test]
fn sessions_are_as_many_as_the_configuration_allows() {
    let node = Node::start("at_once_max = 1\n");
    let mut first = node.run(NOBODY, "one", "read line").stdin(Stdio::piped()).spawn().expect("it starts");
    node.session("run", "open");
    let refused = node.run(NOBODY, "two", "true").output().expect("it runs");
    assert!(ended(&refused, 125).contains("as many sessions are open"), "{refused:?}");
    drop(first.stdin.take());
    assert!(first.wait().is_ok());
    ended(&node.run(NOBODY, "two", "true").output().expect("it runs"), 0);
    node.complete("work/two.intoto.jsonl");
}

#[test]
fn one_user_does_not_take_the_place_of_all() {
    let node = Node::start("per_user_max = 1\n");
    let mut first = node.run(NOBODY, "one", "read line").stdin(Stdio::piped()).spawn().expect("it starts");
    node.session("run", "open");
    let refused = node.run(NOBODY, "two", "true").output().expect("it runs");
    assert!(ended(&refused, 125).contains("sessions of yours are open"), "{refused:?}");
    ended(&node.run(SOMEBODY, "two", "true").output().expect("it runs"), 0);
    drop(first.stdin.take());
    assert!(first.wait().is_ok());
}

#[test]
fn what_another_run_loads_beside_a_session_ends_nothing() {
    let node = Node::start("");
    let run = node.run(NOBODY, "out", "touch begun; until [ -e end ]; do sleep 0.05; done").spawn().expect("it starts");
    node.wait("it began", || node.work().join("begun").exists());
    // It traces by itself: its programs come and go meanwhile, and what they call has to be known of them.
    ended(&node.testimony(&["run", "--key", "key", "--chain", "other", "-o", "beside", "--", "true"]), 0);
    fs::write(node.work().join("end"), "").expect("written");
    ended(&run.wait_with_output().expect("it ends"), 0);
    node.complete("work/out.intoto.jsonl");
}

#[test]
fn what_a_session_tells_can_be_heard() {
    let node = Node::start("");
    // Each is a new file: of what was told before, only that it was opened again is.
    let script = "i=0; while [ $i -lt 600 ] && ! [ -e enough ]; do i=$((i+1)); echo > heard-$i; sleep 0.1; done";
    let mut run = node.run(NOBODY, "out", script).spawn().expect("it starts");
    let id = node.session("run", "open")["id"].as_str().expect("an id").to_owned();
    let socket = node.socket();
    let words = ["sessions", "--socket", socket.to_str().expect("text"), "tail", &id[..8]];
    let mut tail = node.command(NOBODY, &words).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("text").contains("/heard-")), "it is heard");
    fs::write(node.work().join("enough"), "").expect("written");
    assert!(run.wait().is_ok());
    assert!(lines.any(|line| line.expect("text").contains("session closed")), "it is over");
    assert!(tail.wait().expect("it ends").success());
}
