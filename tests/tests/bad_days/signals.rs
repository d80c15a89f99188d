//! Signals to `testimony` reach the command, and what was seen until its end is signed.

use rustix::process::{Pid, Signal, kill_process};
use tests::{Run, Scratch, Started, python};

fn send(run: &Started, signal: Signal) {
    let pid = i32::try_from(run.pid()).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).expect("it lives");
}

/// Opens a file, waits to be told, and says how it was told.
const WAITS: &str = r#"
import os, signal, sys, time
def told(number, frame):
    open("told", "w").close()
    sys.exit(7)
if len(sys.argv) > 1:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, told)
else:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
open("input").close()
open("started", "w").close()
for _ in range(3000): time.sleep(0.1)
"#;

fn signalled(signal: Signal, handled: bool) {
    let scratch = Scratch::new();
    let input = scratch.write("input", "x");
    let mut command = python(WAITS);
    command.extend(handled.then(|| "handled".to_owned()));
    let mut run = Run::new(&scratch, command).start();
    run.wait_for(&scratch.join("started"));
    send(&run, signal);
    let ran = run.wait();
    let (code, status) = if handled { (7, 7 << 8) } else { (128 + signal.as_raw(), signal.as_raw()) };
    assert_eq!(ran.code(), code, "{}", ran.stderr);
    let record = ran.record();
    record.must_balance();
    assert!(record.claims.lossless);
    assert_eq!(record.file(&input).accesses, 1);
    assert_eq!(record.files(&scratch.join("told")).len(), usize::from(handled));
    let closed = record.trace.closed().expect("it was closed");
    assert_eq!((closed.reason.as_str(), closed.root_status), ("signal", status));
}

#[test]
fn sigterm_reaches_the_command() {
    signalled(Signal::TERM, false);
}

#[test]
fn sigint_reaches_the_command() {
    signalled(Signal::INT, false);
}

#[test]
fn a_command_that_handles_a_signal_ends_as_it_likes() {
    signalled(Signal::TERM, true);
    signalled(Signal::INT, true);
    signalled(Signal::HUP, true);
}
