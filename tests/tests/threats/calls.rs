//! Scripts that make system calls by their numbers, and what is told of them.

use attestation::trace::Act;
use tests::{Ran, Record, Run, Scratch, WEAKEST, kernel};

/// Kernels whose strongest hooks tell acts as the kernel asks about them: what came of one is not known there, and some are asked about
/// twice. What those tell is tested by `run`.
const ASKED: [&str; 1] = ["7.3"];

/// The command line of a script.
pub(crate) fn script(body: &str) -> Vec<String> {
    tests::calls(body)
}

/// A session in which acts are told when they are over.
pub(crate) fn session(scratch: &Scratch, command: Vec<String>) -> Run {
    let run = Run::new(scratch, command);
    if ASKED.contains(&kernel().as_str()) { run.option(WEAKEST) } else { run }
}

/// Runs a script, which must succeed.
pub(crate) fn run(scratch: &Scratch, body: &str) -> Record {
    succeeded(session(scratch, script(body)).go())
}

/// The record of a run that succeeded.
pub(crate) fn succeeded(ran: Ran) -> Record {
    assert_eq!(ran.code(), 0, "{}{}", String::from_utf8_lossy(&ran.stdout), ran.stderr);
    ran.record()
}

/// What was told of a call, in order.
pub(crate) fn told<'a>(record: &'a Record, call: &str) -> Vec<Act<'a>> {
    record.trace.acts().filter(|act| act.call == call).collect()
}

/// The one act that was told of a call.
#[track_caller]
pub(crate) fn one<'a>(record: &'a Record, call: &str) -> Act<'a> {
    let acts = told(record, call);
    assert_eq!(acts.len(), 1, "{call}: {acts:?}");
    record.sees("act", call);
    acts[0]
}

/// The first text of an act.
pub(crate) fn text<'a>(act: &Act<'a>) -> &'a [u8] {
    act.texts[0].unwrap_or_default()
}
