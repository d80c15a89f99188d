//! The queue of signed statements between the signature and the collector: durable, in order, and no larger than it may be.
//!
//! One folder, with one database of SQLite in it. Several processes have it open at once: each run puts what it signed, one
//! daemon hands it on. What follows holds whenever a process or the machine stops, at any instruction:
//!
//! - what [`Spool::put`] answered with a number is in the queue, or it was acknowledged, refused by the collector, or dropped
//!   and counted as such, in the same transaction;
//! - numbers follow each other without a gap and are never used twice, so that whoever receives can see what is missing;
//! - what was read is what was put. Every row has a digest over all of it, every account a digest and what the tables are held
//!   against. It finds damage; it is no seal against whoever may write the file: that is the owner's, as the envelopes'
//!   signatures are their signers'.
//!
//! # Room
//!
//! The database's pages are what is counted, used ones and those of its own bookkeeping: an act first makes room among them, then
//! writes, so that the file never has more than [`Limits::bytes_max`]. Free pages are used again, and given back to the file system
//! by [`Spool::tidy`] (`auto_vacuum = INCREMENTAL`). Beside the file is its write-ahead log, which grows to the size of the largest
//! act and is cut to [`LOG_BYTES_MAX`] after.
//!
//! # Time
//!
//! Nothing here asks a clock: each act takes the time, in seconds since 1970, and an item has the time at which it was made. A clock
//! that jumps ahead by more than [`Limits::age_max`] drops the whole queue; it is counted like any drop.
#![forbid(unsafe_code)]

mod account;
mod database;
mod deferral;
mod error;
mod item;
mod limits;
mod logs;
mod losses;
mod outcome;
mod place;
mod queue;
mod room;
mod row;
mod state;
#[cfg(test)]
mod tests;

pub use account::Counts;
pub use deferral::{Deferred, Retried};
pub use error::Error;
pub use item::{Held, Item, Kind, Refused};
pub use limits::{
    BYTES_MIN, CODE_BYTES_MAX, DEFERRAL_BYTES_MAX, EVIDENCE_BYTES_MAX, ITEM_BYTES_MAX, LOG_BYTES_MAX,
    LOG_KEY_BYTES_MAX, LOGS_MAX, Limits, NAME_BYTES_MAX, RECEIPT_BYTES_MAX, Rule, SAYS_BYTES_MAX, WAIT_MAX,
};
pub use logs::Seen;
pub use losses::Dropped;
pub use queue::Spool;
pub use state::State;
