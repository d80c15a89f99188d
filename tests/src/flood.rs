//! A flood: as many acts as the kernel allows, on all processors, by a program that counts them; and what a session made of it.
//!
//! `TESTIMONY_FLOOD_SECONDS` is how long each lasts.

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::place::{Scratch, need_root};
use crate::program::compile;
use crate::record::Record;
use crate::run::Ran;

/// How long a flood lasts when nobody says it.
const SECONDS: &str = "2";

/// Only one at a time: each wants all processors.
static ALONE: Mutex<()> = Mutex::new(());

/// Waits until no other flood of these tests is under way.
pub fn alone() -> MutexGuard<'static, ()> {
    need_root();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long each lasts, in seconds.
#[must_use]
pub fn seconds() -> String {
    std::env::var("TESTIMONY_FLOOD_SECONDS").unwrap_or_else(|_| SECONDS.to_owned())
}

/// The command line of a flood of one way; `flood.c` has the ways.
#[must_use]
pub fn command(scratch: &Scratch, way: &str) -> Vec<String> {
    let program = compile(scratch, "flood", include_str!("flood.c"), &[]);
    vec![program.display().to_string(), way.to_owned(), seconds()]
}

/// The record of a flooded session, whose numbers add up and are those that the flood counted itself.
#[must_use]
pub fn balanced(name: &str, ran: &Ran) -> Record {
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
    let _ = std::io::stdout().write_all(line.as_bytes());
    record
}

/// Events that found no room.
#[must_use]
pub fn lost(record: &Record) -> u64 {
    record.claims.hooks.iter().map(|hook| hook.lost).sum()
}

/// Fails unless the record is complete where nothing was lost, and says so where something was.
pub fn honest(record: &Record) {
    if lost(record) == 0 {
        record.must_be_complete_on_the_weakest();
        assert!(record.claims.lossless);
    } else {
        record.must_lack("LOST_EVENTS");
        assert!(!record.claims.lossless);
    }
}
