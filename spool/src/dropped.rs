//! What was dropped: counted when it is, told by the next statement, and not told twice.

use rusqlite::{Connection, params};

use crate::{Error, Spool};

/// There was no room.
pub(crate) const FULL: &str = "full";
/// It waited for too long.
pub(crate) const OLD: &str = "old";
/// The collector had refused it, and there was no room for it aside, or it was there for too long.
pub(crate) const REFUSED: &str = "refused";

/// What was dropped and no statement says yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// For want of room.
    pub full: u64,
    /// For its age.
    pub old: u64,
    /// Of what the collector had refused.
    pub refused: u64,
    /// When the first and the last of them were dropped, in seconds since 1970.
    pub span_s: Option<(u64, u64)>,
}

impl Dropped {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_none(&self) -> bool {
        (self.full, self.old, self.refused) == (0, 0, 0)
    }

    fn of(&self, reason: &str) -> u64 {
        match reason {
            FULL => self.full,
            OLD => self.old,
            _ => self.refused,
        }
    }
}

pub(crate) fn count(connection: &Connection, reason: &str, dropped: i64, now_s: u64) -> Result<(), Error> {
    let now_s = now_s.cast_signed();
    let add = "INSERT INTO dropped VALUES (?1, ?2, ?3, ?3, ?2) ON CONFLICT (reason) DO UPDATE SET \
               first_s = CASE WHEN unsaid = 0 THEN ?3 ELSE first_s END, unsaid = unsaid + ?2, last_s = ?3, total = total + ?2";
    connection.prepare_cached(add)?.execute(params![reason, dropped, now_s])?;
    Ok(())
}

impl Spool {
    /// What was dropped and no statement says yet.
    ///
    /// # Errors
    /// Of the database.
    pub fn dropped(&self) -> Result<Dropped, Error> {
        let mut select =
            self.connection.prepare("SELECT reason, unsaid, first_s, last_s FROM dropped WHERE unsaid > 0")?;
        let mut rows = select.query(())?;
        let mut dropped = Dropped::default();
        while let Some(row) = rows.next()? {
            let (reason, unsaid): (String, i64) = (row.get(0)?, row.get(1)?);
            let (first, last): (i64, i64) = (row.get(2)?, row.get(3)?);
            let (first, last) = (first.cast_unsigned(), last.cast_unsigned());
            dropped.span_s =
                Some(dropped.span_s.map_or((first, last), |(from, to): (u64, u64)| (from.min(first), to.max(last))));
            match reason.as_str() {
                FULL => dropped.full = unsaid.cast_unsigned(),
                OLD => dropped.old = unsaid.cast_unsigned(),
                _ => dropped.refused = unsaid.cast_unsigned(),
            }
        }
        Ok(dropped)
    }

    /// A statement with this payload says so now. What was dropped since is left to the next one; said twice, it counts once.
    ///
    /// # Errors
    /// Of the database.
    pub fn settle(&mut self, dropped: &Dropped, payload_sha256: &[u8; 32]) -> Result<(), Error> {
        let transaction = self.begin()?;
        if transaction.execute("INSERT OR IGNORE INTO settled VALUES (?1)", [payload_sha256])? == 0 {
            return Ok(());
        }
        for reason in [FULL, OLD, REFUSED] {
            let update = "UPDATE dropped SET unsaid = max(unsaid - ?2, 0) WHERE reason = ?1";
            transaction.execute(update, params![reason, dropped.of(reason).cast_signed()])?;
        }
        transaction.commit()?;
        Ok(())
    }
}
