//! Items that the collector does not take for now: they wait on, in their places, and are handed on again at a time of their own, so
//! that none of them holds up those behind it. And items that it had refused for good, which somebody puts back.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};

use crate::item::Held;
use crate::limits::{CODE_BYTES_MAX, DEFERRAL_BYTES_MAX};
use crate::queue::{Entry, FIELDS};
use crate::room::{Work, pages};
use crate::row::{Check, Hash};
use crate::{Error, Spool};

/// An item that was put off, with what was said of it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferred {
    /// Which one it is in this queue.
    pub number: u64,
    /// What people call it.
    pub name: String,
    /// Of the payload.
    pub sha256: [u8; 32],
    /// When it was made.
    pub made_s: u64,
    /// How often it was put off.
    pub tries: u64,
    /// When it is handed on again.
    pub again_s: u64,
    /// The collector's code.
    pub code: String,
    /// The collector's reason: [`DEFERRAL_BYTES_MAX`] bytes of it.
    pub says: String,
}

/// What was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It was refused, and waits again.
    Refused,
    /// It was put off, and is handed on at once.
    Deferred,
}

/// The columns of a deferral, which are beside those of an item that waits.
const COLUMNS: &str = "again_s, tries, code, says, deferral_checksum";

impl Spool {
    /// Puts an item off: it waits on, and is handed on again after as long as `wait` says of how often it was put off by now. The answer
    /// is when that is. It is known after a restart.
    pub fn defer(
        &mut self,
        number: u64,
        (code, says): (&str, &str),
        now_s: u64,
        wait: impl FnOnce(u64) -> Duration,
    ) -> Result<u64, Error> {
        Error::beyond("a code", code.len(), CODE_BYTES_MAX)?;
        Error::beyond_time(now_s.max(number))?;
        let says = &says[..says.floor_char_boundary(DEFERRAL_BYTES_MAX)];
        self.write(now_s, |work| work.defer(number, (code, says), wait))
    }

    /// What was put off and waits, in order.
    pub fn deferred(&self) -> Result<Vec<Deferred>, Error> {
        self.read(|connection, account| {
            let sql = format!("SELECT {FIELDS}, {COLUMNS} FROM waiting WHERE again_s IS NOT NULL ORDER BY number");
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(deferred(row, &account.spool)?);
            }
            Ok(found)
        })
    }

    /// Numbers of those whose time has come, so many at most.
    pub fn due(&self, now_s: u64, at_most: u32) -> Result<Vec<u64>, Error> {
        Error::beyond_time(now_s)?;
        self.read(|connection, _| {
            let sql = "SELECT number FROM waiting WHERE again_s <= ? ORDER BY again_s, number LIMIT ?";
            let mut statement = connection.prepare(sql)?;
            let numbers = statement.query_map(params![now_s, at_most], |row| row.get(0))?;
            Ok(numbers.collect::<Result<_, _>>()?)
        })
    }

    /// An item that waits.
    pub fn held(&self, number: u64) -> Result<Option<Held>, Error> {
        Error::beyond_time(number)?;
        self.read(|connection, account| {
            let Some(entry) = Entry::find(connection, &account.spool, number)? else { return Ok(None) };
            let envelope = entry.envelope(connection)?;
            Ok(Some(entry.held(envelope)))
        })
    }

    /// Puts an item back that was refused, under its number, and has one that was put off handed on at once.
    pub fn retry(&mut self, number: u64, now_s: u64) -> Result<Retried, Error> {
        Error::beyond_time(now_s.max(number))?;
        self.write(now_s, |work| work.retry(number))
    }
}

impl Work<'_> {
    fn defer(
        &mut self,
        number: u64,
        (code, says): (&str, &str),
        wait: impl FnOnce(u64) -> Duration,
    ) -> Result<u64, Error> {
        let tries: Option<Option<u64>> = {
            let sql = "SELECT tries FROM waiting WHERE number = ?";
            self.connection.query_row(sql, [number], |row| row.get(0)).optional()?
        };
        let tries = tries.ok_or(Error::NotWaiting(number))?.unwrap_or_default().saturating_add(1);
        let again_s = self.now_s.saturating_add(wait(tries).as_secs()).min(i64::MAX.cast_unsigned());
        self.put_off(number, tries, again_s, code, says)?;
        Ok(again_s)
    }

    fn put_off(&mut self, number: u64, tries: u64, again_s: u64, code: &str, says: &str) -> Result<(), Error> {
        self.make_room_beside(pages((code.len() + says.len()) as u64))?;
        let check = check(&self.account.spool, number, [tries, again_s], code, says);
        let sql = "UPDATE waiting SET again_s = ?2, tries = ?3, code = ?4, says = ?5, deferral_checksum = ?6 WHERE number = ?1";
        self.connection.execute(sql, params![number, again_s, tries, code, says, check])?;
        Ok(())
    }

    fn retry(&mut self, number: u64) -> Result<Retried, Error> {
        let sql = format!("SELECT {FIELDS}, {COLUMNS} FROM waiting WHERE number = ? AND again_s IS NOT NULL");
        let put_off = {
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query([number])?;
            rows.next()?.map(|row| deferred(row, &self.account.spool)).transpose()?
        };
        if let Some(Deferred { code, says, .. }) = put_off {
            // As if it had never been put off: whoever asks for it knows better than the count.
            self.put_off(number, 0, self.now_s, &code, &says)?;
            return Ok(Retried::Deferred);
        }
        let sql =
            format!("SELECT {FIELDS}, octet_length(code) + octet_length(says) AS words FROM refused WHERE number = ?");
        let (entry, words) = {
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query([number])?;
            let row = rows.next()?.ok_or(Error::NotRefused(number))?;
            (Entry::read(row, &self.account.spool)?, row.get::<_, u64>("words")?)
        };
        if entry.made_s < self.oldest_s() {
            return Err(Error::Old);
        }
        self.make_room_beside(pages(entry.bytes))?;
        let sql = format!("INSERT INTO waiting ({FIELDS}) SELECT {FIELDS} FROM refused WHERE number = ?");
        self.connection.execute(&sql, [number])?;
        self.remove("refused", number)?;
        self.account.refused.take(number, entry.bytes + crate::room::ROW_BYTES + words)?;
        self.account.refused_total -= 1;
        self.account.waiting.add(number, entry.bytes);
        // Whoever hands on what waits may be past its number.
        self.put_off(number, 0, self.now_s, "", "")?;
        Ok(Retried::Refused)
    }
}

fn deferred(row: &Row<'_>, spool: &[u8; 16]) -> Result<Deferred, Error> {
    let Entry { number, sha256, name, made_s, .. } = Entry::read(row, spool)?;
    let (again_s, tries) = (row.get("again_s")?, row.get("tries")?);
    let (code, says) = (row.get::<_, String>("code")?, row.get::<_, String>("says")?);
    if row.get::<_, Hash>("deferral_checksum")? != check(spool, number, [tries, again_s], &code, &says) {
        return Err(Error::damaged("what was put off"));
    }
    Ok(Deferred { number, name, sha256, made_s, tries, again_s, code, says })
}

fn check(spool: &[u8; 16], number: u64, times: [u64; 2], code: &str, says: &str) -> Hash {
    let check = times.into_iter().fold(Check::of(spool, "deferral").number(number), Check::number);
    check.bytes(code.as_bytes()).bytes(says.as_bytes()).end()
}
