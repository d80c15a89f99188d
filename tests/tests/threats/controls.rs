//! Negative controls: with the hook left out by which a test says that it sees, the test fails. That the statement says of the
//! hook that it was left out is no reason to.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use tests::left_out;

/// What was shown when docs/threats.md was made: row, test, path, verdict, and for what is seen by which observation.
const SHOWN: &str = include_str!("../../threats/shown.txt");
/// Without these no session can follow its processes, so they cannot be left out.
const NEEDED: [&str; 5] = ["fork", "exec", "exit", "membership", "session"];
/// Tests that see the same by two observations at once, each enough by itself.
const TWICE: [(&str, &str); 1] = [("t37_failed_acts::a_refused_connection_is_told", "connect-attempt")];
/// Tests at once.
const AT_ONCE: usize = 4;

/// Tests with the observation that each rests on.
fn controls() -> BTreeSet<(&'static str, &'static str)> {
    let words = SHOWN.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let seen = words.filter_map(|words| match words.as_slice() {
        [_, test, "weak", "seen", observation, ..] => Some((*test, *observation)),
        _ => None,
    });
    seen.filter(|control| !NEEDED.contains(&control.1) && !TWICE.contains(control)).collect()
}

/// Whether a test holds with an observation left out.
fn holds_without(test: &str, observation: &str) -> bool {
    let this = std::env::current_exe().expect("the test binary");
    let mut run = Command::new(this);
    run.args(["--exact", test]).env("TESTIMONY_LEAVE_OUT", observation).env_remove("TESTIMONY_SHOWN");
    let ran = run.output().expect("it starts");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(said.contains("1 passed") || said.contains("1 failed"), "{test} is not there: {said}");
    assert!(!said.contains("tracing could not start"), "{test} was not tried without {observation}: {said}");
    ran.status.success()
}

#[test]
fn without_its_hook_each_fails() {
    assert!(left_out().is_none(), "a control has no controls");
    let controls = controls();
    assert!(controls.len() > 20, "{controls:?}");
    let (left, held) = (Mutex::new(controls.into_iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("nobody panics with it").next();
                    let Some((test, observation)) = next else { break };
                    if holds_without(test, observation) {
                        held.lock().expect("nobody panics with it").push((test, observation));
                    }
                }
            });
        }
    });
    let held = held.into_inner().expect("nobody panics with it");
    assert!(held.is_empty(), "these hold without what they rest on: {held:?}");
}

#[test]
fn with_another_hook_left_out_a_test_holds() {
    assert!(holds_without("t25_executable_memory::memory_made_executable_is_told", "send"));
}
