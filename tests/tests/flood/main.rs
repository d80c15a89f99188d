//! Accounting under flood: what is attempted is delivered, coalesced or lost, exactly, however many acts there are at once
//! and wherever they run; and what the flood itself counted is what was attempted.
//!
//! `TESTIMONY_FLOOD_SECONDS` is how long each flood lasts. Needs root and gcc.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tests::{Ran, Record, Run, Scratch, compile, python};

/// How long a flood lasts when nobody says it.
const SECONDS: &str = "2";
/// The least that a ring can have.
const SMALL_RING: &str = "--ring-bytes=4096";

/// One flood after the other: each wants all processors.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    tests::need_root();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds() -> String {
    std::env::var("TESTIMONY_FLOOD_SECONDS").unwrap_or_else(|_| SECONDS.to_owned())
}

/// The command line of a flood of one way, in a folder of its own.
fn flood(scratch: &Scratch, way: &str) -> Vec<String> {
    let program = compile(scratch, "flood", include_str!("flood.c"), &[]);
    vec![program.display().to_string(), way.to_owned(), seconds()]
}

/// A session's numbers, and the flood's own.
fn balanced(name: &str, ran: &Ran) -> Record {
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let record = ran.record();
    record.must_balance();
    let said = String::from_utf8_lossy(&ran.stdout);
    let truth: Vec<u64> = said.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let [opens, renames, unlinks, forks] = truth.as_slice() else { panic!("the flood said {said:?}") };
    for (observation, count) in [("rename", renames), ("unlink", unlinks), ("fork", forks)] {
        assert_eq!(record.numbers(observation)[0], *count, "{observation}: attempted, and done");
    }
    // Every process of the flood, and the first.
    assert_eq!(record.numbers("exit")[0], forks + 1);
    let [attempted, delivered, coalesced, lost] = record.numbers("open");
    assert!(attempted >= *opens, "{attempted} opens attempted, {opens} done");
    assert!(coalesced > 0, "nothing was coalesced");
    let line =
        format!("{name}: opens attempted {attempted} = {delivered} delivered + {coalesced} coalesced + {lost} lost\n");
    // The harness keeps to itself what a test that passes prints; this is to be seen.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes());
    record
}

fn lost(record: &Record) -> u64 {
    record.claims.hooks.iter().map(|hook| hook.lost).sum()
}

/// Complete if nothing was lost, and else not.
fn honest(record: &Record) {
    if lost(record) == 0 {
        record.must_be_complete_on_the_weakest();
        assert!(record.claims.lossless);
    } else {
        record.must_lack("LOST_EVENTS");
        assert!(!record.claims.lossless);
    }
}

#[test]
fn a_flood_in_the_default_ring() {
    let _alone = alone();
    let scratch = Scratch::new();
    honest(&balanced("default ring", &Run::new(&scratch, flood(&scratch, "mixed")).go()));
}

#[test]
fn a_flood_in_a_ring_far_too_small() {
    let _alone = alone();
    let scratch = Scratch::new();
    let record = balanced("small ring", &Run::new(&scratch, flood(&scratch, "mixed")).option(SMALL_RING).go());
    assert!(lost(&record) > 0, "the ring was not too small");
    honest(&record);
}

#[test]
fn a_flood_like_a_build_loses_nothing_in_the_default_ring() {
    let _alone = alone();
    let scratch = Scratch::new();
    let record = balanced("build", &Run::new(&scratch, flood(&scratch, "build")).go());
    assert_eq!(lost(&record), 0);
    honest(&record);
}

#[test]
fn tasks_that_hop_from_processor_to_processor() {
    let _alone = alone();
    let scratch = Scratch::new();
    honest(&balanced("hop", &Run::new(&scratch, flood(&scratch, "hop")).go()));
}

#[test]
fn tasks_that_take_the_processor_from_each_other() {
    let _alone = alone();
    let scratch = Scratch::new();
    honest(&balanced("crowd", &Run::new(&scratch, flood(&scratch, "crowd")).go()));
}

/// What the quiet session does, so many times, as long as the flood beside it lasts.
const QUIET_TURNS: u64 = 100;

fn quiet() -> Vec<String> {
    python(&format!(
        r#"
import os, time
for turn in range({QUIET_TURNS}):
    os.close(os.open("own", os.O_RDONLY))
    os.rename("own", "other")
    os.rename("other", "own")
    if os.fork() == 0: os._exit(0)
    os.wait()
    time.sleep({} / {QUIET_TURNS})
"#,
        seconds()
    ))
}

#[test]
fn two_sessions_of_which_one_is_flooded() {
    let _alone = alone();
    for small in [false, true] {
        let (flooded, calm) = (Scratch::new(), Scratch::new());
        let own = calm.write("own", "x");
        let run = Run::new(&flooded, flood(&flooded, "mixed"));
        let run = if small { run.option(SMALL_RING) } else { run };
        let flooded = run.start();
        let calm = Run::new(&calm, quiet()).go();
        let flooded = balanced("flooded", &flooded.wait());
        honest(&flooded);
        assert!(!small || lost(&flooded) > 0);
        assert_eq!(calm.code(), 0, "{}", calm.stderr);
        let record = calm.record();
        record.must_balance();
        record.must_be_complete_on_the_weakest();
        assert_eq!(record.accesses(&own), QUIET_TURNS);
        assert_eq!(record.numbers("rename"), [2 * QUIET_TURNS, 2 * QUIET_TURNS, 0, 0]);
        assert_eq!((record.numbers("fork")[0], record.numbers("exit")[0]), (QUIET_TURNS, QUIET_TURNS + 1));
    }
}

/// A flood of no session.
struct Outside(Child);

impl Outside {
    fn start(scratch: &Scratch) -> Self {
        let words = flood(scratch, "mixed");
        let mut flood = Command::new(&words[0]);
        flood.args(&words[1..]).current_dir(scratch.path()).stdout(Stdio::null()).process_group(0);
        Self(flood.spawn().expect("it starts"))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// The programs are loaded and attached one after the other while every processor is in the midst of what they watch, and
/// detached likewise.
#[test]
fn a_session_that_begins_and_ends_in_the_midst_of_a_flood_outside() {
    let _alone = alone();
    let (outside, scratch) = (Scratch::new(), Scratch::new());
    let flood = Outside::start(&outside);
    scratch.write("own", "x");
    let ran = Run::new(
        &scratch,
        python("import os\nfor _ in range(100): os.rename('own', 'other'), os.rename('other', 'own')"),
    )
    .go();
    drop(flood);
    let record = ran.complete();
    record.must_balance();
    assert_eq!(record.numbers("rename"), [200, 200, 0, 0]);
}

/// The session is closed, and its accounts are read, while its own processes go on.
#[test]
fn a_session_that_is_closed_in_the_midst_of_its_own_flood() {
    let _alone = alone();
    let scratch = Scratch::new();
    let ran = Run::new(&scratch, flood(&scratch, "leave")).option("--grace=0").go();
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let record = ran.record();
    record.must_balance();
    let [attempted, _, coalesced, _] = record.numbers("open");
    assert!(attempted > 1000 && coalesced > 0, "it was no flood: {attempted} opens, {coalesced} coalesced");
    record.must_lack("SURVIVOR");
}
