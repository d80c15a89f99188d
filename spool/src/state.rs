//! How the queue stands.

use rusqlite::Connection;

use crate::account::{Account, Counts};
use crate::limits::PAGE_BYTES;
use crate::{Error, Spool, database};

/// How the queue stands, all as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The spool's random name: numbers mean something only with it.
    pub spool: [u8; 16],
    /// How many items wait.
    pub waiting: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them the collector does not take for now.
    pub deferred: u64,
    /// When the first of those is handed on again.
    pub again_s: Option<u64>,
    /// When the oldest of them was made.
    pub oldest_s: Option<u64>,
    /// The last number that was given; 0 if none was.
    pub newest: u64,
    /// How many items were ever acknowledged.
    pub acknowledged_total: u64,
    /// How many receipts are kept.
    pub receipts: u64,
    /// How many items were ever refused by the collector.
    pub refused_total: u64,
    /// How many of those are kept.
    pub refused: u64,
    /// How many items were ever dropped.
    pub dropped_total: Counts,
    /// How many of those never had a number: they stayed out.
    pub turned_away_total: u64,
    /// Bytes of the database's file.
    pub file_bytes: u64,
}

impl Spool {
    /// How the queue stands.
    pub fn state(&self) -> Result<State, Error> {
        self.read(|connection, account| state(connection, &account))
    }
}

fn state(connection: &Connection, account: &Account) -> Result<State, Error> {
    Ok(State {
        spool: account.spool,
        waiting: account.waiting.count,
        deferred: connection
            .query_row("SELECT count(*) FROM waiting WHERE again_s IS NOT NULL", [], |row| row.get(0))?,
        again_s: connection.query_row("SELECT min(again_s) FROM waiting", [], |row| row.get(0))?,
        bytes: account.waiting.bytes,
        oldest_s: connection.query_row("SELECT min(made_s) FROM waiting", [], |row| row.get(0))?,
        newest: account.newest,
        acknowledged_total: account.acknowledged_total,
        receipts: account.receipts.count,
        refused_total: account.refused_total,
        refused: account.refused.count,
        dropped_total: account.dropped,
        turned_away_total: account.turned_away,
        file_bytes: database::number(connection, "PRAGMA page_count")? * PAGE_BYTES,
    })
}
