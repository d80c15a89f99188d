//! The map RECENT, mapped into memory: repeats that the kernel side counted and has not added to the fold table.
#![expect(unsafe_code, reason = "memory that is shared with the kernel's programs")]

use std::{
    collections::HashMap,
    hint,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use agent_ebpf::{FoldKey, Recent};
use aya::maps::Map;

use super::{Error, abi::Plain, shared::Entries};

const LINES: usize = 1 << Recent::LINES_LOG2;
/// Looks at a busy line before the processor is given to whoever is at it, which may need it.
const LOOKS: u32 = 100;
/// For so long. To yield it would not do: a task of lower priority would not get it.
const PAUSE: Duration = Duration::from_micros(50);

/// Every line.
pub(super) struct Lines(Entries<Recent>);

impl Lines {
    pub(super) fn map(map: &Map) -> Result<Self, Error> {
        Entries::map(map, "RECENT", LINES).map(Self)
    }

    /// Takes the repeats of a session and epoch, by what was repeated. No program counts any of them any more, but one of
    /// another session may take a line for itself meanwhile.
    pub(super) fn take(&mut self, session: u64) -> HashMap<Plain<FoldKey>, u64> {
        let mut taken = HashMap::new();
        for index in 0..LINES {
            let line = self.0.entry(index);
            // SAFETY: a line of the mapping. `busy` is an atomic to everybody; the rest is read and written by whoever has it.
            unsafe {
                let busy = AtomicU32::from_ptr(&raw mut (*line).busy);
                claim(busy);
                let (key, count) = ((*line).key, (*line).count & !Recent::USED);
                if key.session == session {
                    (*line).key.session = 0;
                    (*line).count = 0;
                    if count > 0 {
                        taken.insert(Plain(key), count.into());
                    }
                }
                busy.store(0, Ordering::Release);
            }
        }
        taken
    }
}

/// Waits for the line. A program is at it for some hundred instructions, but may be preempted there.
fn claim(busy: &AtomicU32) {
    let mut looks = 0;
    while busy.swap(1, Ordering::Acquire) != 0 {
        looks += 1;
        if looks % LOOKS == 0 {
            thread::sleep(PAUSE);
        }
        hint::spin_loop();
    }
}
