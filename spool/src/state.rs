//! What is in a spool, to be shown.

use rusqlite::Row;

use crate::{Error, Limits, Spool, item};

/// How much there is, and how much there was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What waits.
    pub waiting: u64,
    /// When the oldest of that was put, in seconds since 1970.
    pub oldest_s: Option<u64>,
    /// What is kept aside.
    pub refused_kept: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Since the beginning: what was to be put. It is what waits, was acknowledged, refused, and dropped before either.
    pub put: u64,
    /// Delivered.
    pub acknowledged: u64,
    /// Refused by the collector.
    pub refused: u64,
    /// Dropped of what waited, and of what was refused.
    pub dropped: [u64; 2],
    /// What holds.
    pub limits: Limits,
}

/// What the collector will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the order.
    pub number: u64,
    /// What it is called.
    pub name: String,
    /// SHA-256 of its payload.
    pub payload_sha256: [u8; 32],
    /// Why, by the collector's code.
    pub code: String,
    /// Why, in its words.
    pub says: String,
}

impl Spool {
    /// What there is.
    ///
    /// # Errors
    /// Of the database.
    pub fn state(&self) -> Result<State, Error> {
        let limits = item::limits(&self.connection)?;
        let select = "SELECT (SELECT count(*) FROM item), (SELECT min(made_s) FROM item), (SELECT count(*) FROM refused), \
                      bytes, put, acknowledged, refused, \
                      (SELECT coalesce(sum(total), 0) FROM dropped WHERE reason != 'refused'), \
                      (SELECT coalesce(sum(total), 0) FROM dropped WHERE reason = 'refused') FROM account";
        Ok(self.connection.query_row(select, (), |row| {
            let number = |place: usize| row.get::<_, i64>(place).map(i64::cast_unsigned);
            Ok(State {
                waiting: number(0)?,
                oldest_s: row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned),
                refused_kept: number(2)?,
                bytes: number(3)?,
                put: number(4)?,
                acknowledged: number(5)?,
                refused: number(6)?,
                dropped: [number(7)?, number(8)?],
                limits,
            })
        })?)
    }

    /// What is kept aside.
    ///
    /// # Errors
    /// Of the database.
    pub fn refused(&self) -> Result<Vec<Refused>, Error> {
        let read = |row: &Row<'_>| {
            Ok(Refused {
                number: row.get::<_, i64>(0)?.cast_unsigned(),
                name: row.get(1)?,
                payload_sha256: row.get(2)?,
                code: row.get(3)?,
                says: row.get(4)?,
            })
        };
        let select = "SELECT number, name, payload_sha256, code, says FROM refused ORDER BY number";
        let mut select = self.connection.prepare(select)?;
        Ok(select.query_map((), read)?.collect::<Result<_, _>>()?)
    }
}
