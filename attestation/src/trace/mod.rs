//! Facts folded from a log's frames: processes, files, names, peers, and what could not be seen.
//!
//! [`Builder`] takes the frames one by one, in the log's order, and keeps what a statement needs: compact rows and
//! interned strings, under one limit of memory. What contradicts itself is answered with a [`TraceError`] and left out,
//! and the trace is then never complete. The same builder serves the agent while it traces and the verifier afterwards,
//! so that both come to the same facts.
//!
//! What it does not prove: that the kernel side told the truth. It proves what follows from the frames.

mod account;
mod acts;
mod builder;
mod canaries;
mod coverage;
mod facts;
mod files;
mod intern;
mod network;
mod processes;
#[cfg(test)]
mod tests;

pub use acts::Act;
pub use builder::{Builder, STATE_BYTES_MAX, TraceError};
pub use canaries::{Canaries, INTERVAL_MAX_NS, UNTRIED_OBSERVATIONS};
pub use coverage::{CoverageLevel, Finding, HookRow, NAME_OBSERVATIONS, REQUIRED_OBSERVATIONS};
pub use facts::{Exec, FileVersion, NameChange, Trace};
pub use files::access;
pub use network::{Contact, Peer};
pub use processes::{End, Origin, Process};

/// Bits of `Event.flags` that mean that something could not be taken whole; the others only describe.
pub const FLAGS_TRUNCATED: u32 = 0xffff;
/// Bit of `Event.flags`: the path's last name was no longer in its directory.
pub const FLAG_DELETED: u32 = 1 << 16;
