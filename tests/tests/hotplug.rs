//! Accounting while a processor is taken away and given back. It would disturb whoever shares a machine, and so runs in a
//! guest.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tests::flood::{self, alone, balanced, honest};
use tests::{Run, Scratch};

/// Says whether the second processor is there, and takes it away or gives it back.
const SECOND: &str = "/sys/devices/system/cpu/cpu1/online";
/// How long it is away, and how long there.
const WHILE: Duration = Duration::from_millis(150);
/// The least of changes that make a test.
const CHANGES_MIN: u32 = 4;

/// Takes the second processor away and gives it back until told to end; says how often.
fn change(end: &AtomicBool) -> u32 {
    let mut changes = 0;
    while !end.load(Ordering::Relaxed) {
        for online in ["0", "1"] {
            fs::write(SECOND, online).unwrap_or_else(|error| panic!("{SECOND}: {error}"));
            thread::sleep(WHILE);
        }
        changes += 2;
    }
    changes
}

fn flooded(way: &str) {
    let _alone = alone();
    let scratch = Scratch::new();
    let run = Run::new(&scratch, flood::command(&scratch, way));
    let end = AtomicBool::new(false);
    let (ran, changes) = thread::scope(|scope| {
        let changing = scope.spawn(|| change(&end));
        let ran = run.go();
        end.store(true, Ordering::Relaxed);
        (ran, changing.join().expect("the processor changes"))
    });
    assert!(changes >= CHANGES_MIN, "only {changes} changes");
    honest(&balanced(way, &ran));
}

#[test]
fn a_processor_that_comes_and_goes_under_pinned_tasks() {
    flooded("mixed");
}

#[test]
fn a_processor_that_comes_and_goes_under_hopping_tasks() {
    flooded("hop");
}
