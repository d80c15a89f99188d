//! Room: what goes so that something else can come, and what is given back.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use crate::account::{Account, Counts};
use crate::limits::{Limits, PAGE_BYTES, Rule, SLACK_PAGES};
use crate::{Error, Spool, database};

/// Pages that are given back in one act, so that nobody waits long for it.
const GIVE_BACK_PAGES: u64 = 1024;

/// What a row of the tables beside the queue takes besides its own bytes, with its place in indexes, at most.
pub(crate) const ROW_BYTES: u64 = 512;

/// An act that writes: its transaction, and the account as it will be.
pub(crate) struct Work<'a> {
    pub connection: &'a Connection,
    pub account: Account,
    pub limits: &'a Limits,
    pub now_s: u64,
}

/// Pages that so many bytes of a row take at most, with all that may have to be written around them. A page of a long row has its
/// successor's number in four bytes; one page in some eight hundred is a map.
pub(crate) fn pages(bytes: u64) -> u64 {
    let own = bytes.div_ceil(PAGE_BYTES - 4);
    own + own / 800 + SLACK_PAGES
}

impl Spool {
    /// Drops what became too old or, if the limits are lower than they were, too much, and gives free pages back to the file system.
    /// To be called now and then: a put does the first two, and nothing else does the last.
    pub fn tidy(&mut self, now_s: u64) -> Result<(), Error> {
        Error::beyond_time(now_s)?;
        self.write(now_s, |work| {
            work.drop_old()?;
            work.trim()?;
            // With the other rule the queue stays as large as it is until it is emptied.
            if work.limits.rule == Rule::DropOldest {
                work.make_room_for_item(0)?;
            }
            Ok(())
        })?;
        self.maintain(|connection| {
            let free = database::number(connection, "PRAGMA freelist_count")?;
            for _ in 0..free.div_ceil(GIVE_BACK_PAGES) {
                step(connection, &format!("PRAGMA incremental_vacuum({GIVE_BACK_PAGES})"))?;
            }
            step(connection, "PRAGMA wal_checkpoint(PASSIVE)")
        })
    }
}

/// The bytes of a receipt, and of what a refused item has besides its own, as they are counted.
pub(crate) fn beside_bytes(own: usize) -> u64 {
    own as u64 + ROW_BYTES
}

/// The same, without [`ROW_BYTES`], of a row.
const RECEIPT_BYTES: &str = "length(receipt)";
const REFUSED_BYTES: &str = "bytes + octet_length(code) + octet_length(says)";

/// The account says that there is something to remove.
fn found(removed: bool) -> Result<(), Error> {
    if removed { Ok(()) } else { Err(Error::damaged("its account")) }
}

/// Runs a statement to its end, whatever rows it has.
fn step(connection: &Connection, sql: &str) -> Result<(), Error> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

impl Work<'_> {
    /// What was made before is too old.
    pub fn oldest_s(&self) -> u64 {
        self.before(self.limits.age_max)
    }

    fn before(&self, age_max: Duration) -> u64 {
        self.now_s.saturating_sub(age_max.as_secs())
    }

    /// Drops what became too old.
    pub fn drop_old(&mut self) -> Result<(), Error> {
        let limit = self.oldest_s();
        while let Some((number, bytes)) =
            self.first("waiting WHERE made_s < ? ORDER BY made_s, number", "bytes", limit)?
        {
            self.drop_waiting(number, bytes, |counts| &mut counts.old)?;
        }
        Ok(())
    }

    /// Makes room for an item: by the rule as long as others wait. `false` if there is none.
    pub fn make_room_for_item(&mut self, pages: u64) -> Result<bool, Error> {
        self.trim()?;
        while !self.has_room(pages)? {
            if self.account.waiting.count == 0 {
                return self.make_room_beside(pages);
            }
            if self.limits.rule == Rule::RefuseNew {
                return Ok(false);
            }
            self.drop_oldest()?;
        }
        Ok(true)
    }

    /// Makes a place for one more item among those that may wait. `false` if there is none.
    pub fn make_place(&mut self) -> Result<bool, Error> {
        while self.account.waiting.count >= self.limits.items_max {
            if self.limits.rule == Rule::RefuseNew || self.account.waiting.count == 0 {
                return Ok(false);
            }
            self.drop_oldest()?;
        }
        Ok(true)
    }

    fn drop_oldest(&mut self) -> Result<(), Error> {
        let oldest = self.first("waiting WHERE number > ? ORDER BY number", "bytes", 0)?;
        let (number, bytes) = oldest.ok_or_else(|| Error::damaged("its account"))?;
        self.drop_waiting(number, bytes, |counts| &mut counts.full)
    }

    /// Makes room for an answer of the collector, which no item is dropped for that still waits. Items leave enough of it free.
    pub fn make_room_beside(&mut self, pages: u64) -> Result<bool, Error> {
        while !self.has_room(pages)? {
            if !self.forget_receipt()? && !self.drop_refused()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Holds receipts and refused items to their limits.
    pub fn trim(&mut self) -> Result<(), Error> {
        let bytes_max = self.limits.beside_bytes_max();
        let limit = self.before(self.limits.receipts_age_max);
        let old = |work: &Self| work.first("receipts WHERE at_s < ? ORDER BY at_s, number", RECEIPT_BYTES, limit);
        while self.account.receipts.count > self.limits.receipts_max
            || self.account.receipts.bytes > bytes_max
            || old(self)?.is_some()
        {
            found(self.forget_receipt()?)?;
        }
        while self.account.refused.bytes > bytes_max {
            found(self.drop_refused()?)?;
        }
        Ok(())
    }

    /// Counts an item that never came in.
    pub fn turn_away(&mut self, count: impl FnOnce(&mut Counts) -> &mut u64) {
        self.account.drop_at(self.now_s, count);
        self.account.turned_away += 1;
    }

    /// Whether so many pages are left, of those that there may be.
    fn has_room(&self, pages: u64) -> Result<bool, Error> {
        let all = database::number(self.connection, "PRAGMA page_count")?;
        let free = database::number(self.connection, "PRAGMA freelist_count")?;
        Ok(all.saturating_sub(free) + pages <= self.limits.pages_max())
    }

    /// Number and bytes of a table's first row.
    fn first(&self, of: &str, bytes: &str, limit: u64) -> Result<Option<(u64, u64)>, Error> {
        let sql = format!("SELECT number, {bytes} FROM {of} LIMIT 1");
        Ok(self.connection.query_row(&sql, [limit], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    fn drop_waiting(
        &mut self,
        number: u64,
        bytes: u64,
        count: impl FnOnce(&mut Counts) -> &mut u64,
    ) -> Result<(), Error> {
        self.remove("waiting", number)?;
        self.remove("envelopes", number)?;
        self.account.waiting.take(number, bytes)?;
        self.account.drop_at(self.now_s, count);
        Ok(())
    }

    /// Drops the refused item that was put first. `false` if there is none.
    fn drop_refused(&mut self) -> Result<bool, Error> {
        let Some((number, bytes)) = self.first("refused WHERE number > ? ORDER BY number", REFUSED_BYTES, 0)? else {
            return Ok(false);
        };
        self.remove("refused", number)?;
        self.remove("envelopes", number)?;
        self.account.refused.take(number, bytes + ROW_BYTES)?;
        self.account.drop_at(self.now_s, |counts| &mut counts.refused);
        Ok(true)
    }

    /// Removes the oldest receipt. `false` if there is none.
    fn forget_receipt(&mut self) -> Result<bool, Error> {
        let Some((number, bytes)) = self.first("receipts WHERE at_s >= ? ORDER BY at_s, number", RECEIPT_BYTES, 0)?
        else {
            return Ok(false);
        };
        self.remove("receipts", number)?;
        self.account.receipts.take(number, bytes + ROW_BYTES)?;
        Ok(true)
    }

    /// Removes a row, which is there.
    pub fn remove(&self, table: &str, number: u64) -> Result<(), Error> {
        match self.connection.execute(&format!("DELETE FROM {table} WHERE number = ?"), [number])? {
            1 => Ok(()),
            _ => Err(Error::damaged("a row is missing")),
        }
    }
}
