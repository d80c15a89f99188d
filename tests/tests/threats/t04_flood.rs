//! 4: so many acts that the one that matters finds no room.

use tests::{Record, Scratch};

use crate::calls::{run, script, session, succeeded};

const ACTS: u64 = 3000;

/// Names that come and go: none of them is folded.
fn flood() -> String {
    format!("for at in range({ACTS}):\n    os.mknod(f'f{{at}}')\n    os.unlink(f'f{{at}}')\n")
}

fn lost(record: &Record) -> u64 {
    record.claims.hooks.iter().map(|hook| hook.lost).sum()
}

#[test]
fn what_found_no_room_is_counted_and_ends_completeness() {
    let scratch = Scratch::new();
    // The agent is stopped meanwhile: awake, it may be quick enough even for the smallest ring.
    let body = format!(
        "import signal\nos.kill(os.getppid(), signal.SIGSTOP)\n{}os.kill(os.getppid(), signal.SIGCONT)",
        flood()
    );
    let record = succeeded(session(&scratch, script(&body)).option("--ring-bytes=4096").go());
    assert!(lost(&record) > 0 && !record.claims.lossless);
    record.must_balance();
    record.must_lack("LOST_EVENTS");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(&scratch, &flood());
    record.must_be_complete_on_the_weakest();
    // Where the kernel skips a program at a tracepoint, the statement says so.
    let missed = record.trace.gaps().iter().filter(|gap| gap.code == "MISSED_RUNS").map(|gap| gap.count).sum::<u64>();
    let unlinked = record.numbers("unlink")[0];
    assert!(
        lost(&record) == 0 && (ACTS.saturating_sub(missed)..=ACTS).contains(&unlinked),
        "{unlinked}, {missed} missed"
    );
}
