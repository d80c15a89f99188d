//! What was seen of a collector's log: the largest tree that a receipt led to. A log that was smaller or another since was put back, or
//! is shown differently to others; whoever hands items on looks here before it takes a receipt.

use rusqlite::{Connection, OptionalExtension, params};

use crate::limits::{LOG_KEY_BYTES_MAX, LOGS_MAX};
use crate::room::{Work, pages};
use crate::row::{Check, Hash};
use crate::{Error, Spool};

/// A log's tree at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its leaves.
    pub size: u64,
    /// Its root.
    pub root: [u8; 32],
    /// When it was signed, by the log's clock.
    pub time_s: u64,
}

impl Spool {
    /// The largest tree that was seen of the log of this key.
    pub fn seen(&self, log: &str) -> Result<Option<Seen>, Error> {
        self.read(|connection, account| seen(connection, &account.spool, log))
    }

    /// As [`Spool::acknowledge`], by a receipt that leads to this tree of this log, which is kept if it is the largest: both, or neither.
    pub fn acknowledge_in(
        &mut self,
        number: u64,
        receipt: &[u8],
        at_s: u64,
        (log, tree): (&str, &Seen),
    ) -> Result<(), Error> {
        Error::beyond("a log's key", log.len(), LOG_KEY_BYTES_MAX)?;
        Error::beyond_time(tree.time_s.max(tree.size))?;
        self.answered(number, receipt, at_s, |work| work.see(log, tree))
    }
}

impl Work<'_> {
    fn see(&mut self, log: &str, tree: &Seen) -> Result<(), Error> {
        let known = seen(self.connection, &self.account.spool, log)?;
        if known.is_some_and(|known| (known.size, known.time_s) >= (tree.size, tree.time_s)) {
            return Ok(());
        }
        self.make_room_beside(pages(log.len() as u64))?;
        // A node that was given so many keys has done without the first of them for long.
        let sql = "DELETE FROM logs WHERE key != ?1 AND key NOT IN (SELECT key FROM logs WHERE key != ?1 ORDER BY time_s DESC LIMIT ?2)";
        self.connection.execute(sql, params![log, LOGS_MAX - 1])?;
        let sql = "INSERT OR REPLACE INTO logs (key, size, root, time_s, checksum) VALUES (?, ?, ?, ?, ?)";
        let check = check(&self.account.spool, log, tree);
        self.connection.execute(sql, params![log, tree.size, tree.root, tree.time_s, check])?;
        Ok(())
    }
}

fn seen(connection: &Connection, spool: &[u8; 16], log: &str) -> Result<Option<Seen>, Error> {
    let sql = "SELECT size, root, time_s, checksum FROM logs WHERE key = ?";
    let read = |row: &rusqlite::Row<'_>| {
        Ok((Seen { size: row.get(0)?, root: row.get(1)?, time_s: row.get(2)? }, row.get::<_, Hash>(3)?))
    };
    let Some((seen, found)) = connection.query_row(sql, [log], read).optional()? else { return Ok(None) };
    if found == check(spool, log, &seen) { Ok(Some(seen)) } else { Err(Error::damaged("what was seen of a log")) }
}

fn check(spool: &[u8; 16], log: &str, tree: &Seen) -> Hash {
    Check::of(spool, "log").bytes(log.as_bytes()).number(tree.size).bytes(&tree.root).number(tree.time_s).end()
}
