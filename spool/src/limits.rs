//! How much of what there may be.

use std::time::Duration;

use crate::Error;

/// Bytes of a page of the database.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// Bytes of an envelope at most, whatever the queue may hold. A quarter of the queue is another limit.
pub const ITEM_BYTES_MAX: u64 = 32 << 20;
/// Bytes of an item's name at most.
pub const NAME_BYTES_MAX: usize = 1024;
/// Bytes of the path to an item's evidence at most: what Linux takes.
pub const EVIDENCE_BYTES_MAX: usize = 4096;
/// Bytes of a receipt at most.
pub const RECEIPT_BYTES_MAX: usize = 64 << 10;
/// Bytes of the code of a refusal at most.
pub const CODE_BYTES_MAX: usize = 64;
/// Bytes of the reason for a refusal that are kept. It is the collector's text: what is longer is cut, not refused.
pub const SAYS_BYTES_MAX: usize = 4096;
/// Bytes of the reason for which an item was put off that are kept.
pub const DEFERRAL_BYTES_MAX: usize = 512;
/// Bytes of the key of a collector's log at most.
pub const LOG_KEY_BYTES_MAX: usize = 1024;
/// Logs of which is remembered what was seen, at most.
pub const LOGS_MAX: u64 = 16;
/// How long another process is waited for.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// The least that a queue can be given: below it, what is kept beside the items would be most of it.
pub const BYTES_MIN: u64 = 1 << 20;
/// Bytes that the write-ahead log is cut to.
pub const LOG_BYTES_MAX: u64 = 4 << 20;

/// Pages that an act may need for nodes of trees and for the map of pages, besides what it writes: each of three tables and their
/// indexes may split its nodes on each of its few levels.
pub(crate) const SLACK_PAGES: u64 = 16;
/// Pages that items leave free: an answer of the collector can always be kept, however full the queue is.
pub(crate) const RESERVE_PAGES: u64 = RECEIPT_BYTES_MAX as u64 / PAGE_BYTES + 2 * SLACK_PAGES;

/// What is done with an item for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It comes in, and the oldest ones go until it fits.
    DropOldest,
    /// It stays out.
    RefuseNew,
}

/// How much the queue may hold. Whoever opens it says so: it is no property of the file.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the database's file at most, [`BYTES_MIN`] or more. An eighth of it at most is receipts, an eighth is refused items.
    pub bytes_max: u64,
    /// How many items may wait.
    pub items_max: u64,
    /// How old an item may become.
    pub age_max: Duration,
    /// What is done with an item for which there is no room.
    pub rule: Rule,
    /// How many receipts are kept. The oldest go first; no item is lost by it, so it is not counted.
    pub receipts_max: u64,
    /// How old a receipt may become.
    pub receipts_age_max: Duration,
}

impl Limits {
    /// Refuses limits that cannot be held.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.bytes_max < BYTES_MIN { Err(Error::Small(self.bytes_max)) } else { Ok(()) }
    }

    /// Bytes of an envelope at most: several find room, so that one cannot drive all others out.
    pub(crate) fn item_bytes_max(&self) -> u64 {
        ITEM_BYTES_MAX.min(self.bytes_max / 4)
    }

    pub(crate) fn beside_bytes_max(&self) -> u64 {
        self.bytes_max / 8
    }

    pub(crate) fn pages_max(&self) -> u64 {
        self.bytes_max / PAGE_BYTES
    }
}
