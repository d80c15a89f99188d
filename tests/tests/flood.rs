//! Accounting under flood: what is attempted is delivered, coalesced or lost, exactly, however many acts there are at once
//! and wherever they run; and what the flood itself counted is what was attempted.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use tests::flood::{self, alone, balanced, honest, lost, seconds};
use tests::{Run, Scratch, python};

/// The least that a ring can have.
const SMALL_RING: &str = "--ring-bytes=4096";

#[test]
fn a_flood_in_the_default_ring() {
    let _alone = alone();
    let scratch = Scratch::new();
    honest(&balanced("default ring", &Run::new(&scratch, flood::command(&scratch, "mixed")).go()));
}

#[test]
fn a_flood_in_a_ring_far_too_small() {
    let _alone = alone();
    let scratch = Scratch::new();
    let run = Run::new(&scratch, flood::command(&scratch, "starved")).option(SMALL_RING);
    let record = balanced("small ring", &run.go());
    assert!(lost(&record) > 0, "the ring was not too small");
    honest(&record);
}

#[test]
fn a_flood_like_a_build_loses_nothing_in_the_default_ring() {
    let _alone = alone();
    let scratch = Scratch::new();
    let record = balanced("build", &Run::new(&scratch, flood::command(&scratch, "build")).go());
    assert_eq!(lost(&record), 0);
    honest(&record);
}

#[test]
fn tasks_that_hop_from_processor_to_processor() {
    let _alone = alone();
    let scratch = Scratch::new();
    honest(&balanced("hop", &Run::new(&scratch, flood::command(&scratch, "hop")).go()));
}

#[test]
fn tasks_that_take_the_processor_from_each_other() {
    let _alone = alone();
    let scratch = Scratch::new();
    honest(&balanced("crowd", &Run::new(&scratch, flood::command(&scratch, "crowd")).go()));
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
        let run = Run::new(&flooded, flood::command(&flooded, if small { "starved" } else { "mixed" }));
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
        let words = flood::command(scratch, "mixed");
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
    let ran = Run::new(&scratch, flood::command(&scratch, "leave")).option("--grace=0").go();
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let record = ran.record();
    record.must_balance();
    let [attempted, _, coalesced, _] = record.numbers("open");
    assert!(attempted > 1000 && coalesced > 0, "it was no flood: {attempted} opens, {coalesced} coalesced");
    record.must_lack("SURVIVOR");
}
