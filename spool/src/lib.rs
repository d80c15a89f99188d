//! The queue of signed statements between signing and the collector: durable, bounded, in order.
//!
//! What [`Spool::put`] has answered survives whatever befalls the process or the machine: each operation is one transaction of SQLite,
//! forced to the disk (write-ahead log, `synchronous = FULL`). Several processes use one spool at once: each run puts its statement, the
//! agent takes them. What does not fit is dropped by a rule, and counted in the same transaction; the next statement says the count,
//! and [`Spool::settle`] takes exactly that from it.
#![forbid(unsafe_code)]

mod dropped;
mod error;
mod folder;
mod item;
mod schema;
mod state;
#[cfg(test)]
mod tests;

use std::{path::Path, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use dropped::Dropped;
pub use error::Error;
pub use item::{Held, ITEM_BYTES_MAX, Item};
pub use state::{Refused, State};

const FILE: &str = "spool.db";

/// What is given up when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The oldest that waits.
    DropOldest,
    /// What comes.
    RefuseNew,
}

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of what waits, and of what was refused, together. The database takes a little more: its pages and indexes.
    pub bytes_max: u64,
    /// Age of what waits.
    pub age_max: Duration,
    /// What is given up where that is not enough.
    pub rule: Rule,
}

/// A spool.
pub struct Spool {
    connection: Connection,
}

impl Spool {
    /// Opens the spool of a folder, which is made if it is not there. With limits these hold from now on, for every process; without,
    /// those that were set last, or those of [`Limits::default`].
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(folder: &Path, limits: Option<Limits>) -> Result<Self, Error> {
        folder::prepare(folder)?;
        let mut connection = Connection::open(folder.join(FILE))?;
        schema::prepare(&mut connection)?;
        let mut spool = Self { connection };
        if let Some(limits) = limits {
            spool.limit(limits)?;
        }
        Ok(spool)
    }

    fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }
}

impl Default for Limits {
    /// 1 GiB, 30 days, and the oldest goes first.
    fn default() -> Self {
        Self { bytes_max: 1 << 30, age_max: Duration::from_secs(30 * 86_400), rule: Rule::DropOldest }
    }
}
