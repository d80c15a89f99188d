//! SIGINT, SIGTERM and SIGHUP: handed on to the command, never the tracer's own end.

use std::{io, process::Child};

use rustix::process::{Signal, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{SignalsInfo, exfiltrator::WithOrigin},
    low_level::siginfo::{Cause, Origin},
};
use std::cell::{Cell, RefCell};

use super::launch;

/// Caught signals.
pub(super) struct Signals {
    caught: RefCell<SignalsInfo<WithOrigin>>,
    any: Cell<bool>,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self { caught: RefCell::new(SignalsInfo::new([SIGINT, SIGTERM, SIGHUP])?), any: Cell::new(false) })
    }

    /// Sends on what came since. A signal of the terminal has reached the command's group by itself.
    pub(super) fn forward(&self, child: &Child) {
        for origin in self.caught.borrow_mut().pending() {
            self.any.set(true);
            if !from_terminal(&origin) {
                let signal = match origin.signal {
                    SIGINT => Signal::INT,
                    SIGHUP => Signal::HUP,
                    _ => Signal::TERM,
                };
                // The command may be gone by now.
                let _ = kill_process(launch::pid(child), signal);
            }
        }
    }

    /// Whether any came.
    pub(super) fn any(&self) -> bool {
        self.any.get()
    }
}

fn from_terminal(origin: &Origin) -> bool {
    origin.process.is_none() || matches!(origin.cause, Cause::Kernel)
}
