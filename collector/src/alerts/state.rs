//! What was told, durably: the same of the same host once in a period, with how often it happened since; and how far statements were looked
//! at. All of it is written in the transaction of the caller.

use attestation::time;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::Alert;
use crate::index::Error;

/// Hosts and codes that are remembered; what is beyond is counted by its code alone.
const RECENT_MAX: i64 = 10_000;
/// Alerts that are kept for who asks.
const KEPT_MAX: i64 = 10_000;
/// Names of marks.
const NEXT: &str = "next";
const RUNNING: &str = "running";

/// By which alerts are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Periods {
    pub(crate) period_s: u64,
    pub(crate) waiting_max: u64,
}

impl Periods {
    /// Something happened, as often as its count says. Whether it is told now.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn happened(&self, connection: &Connection, mut alert: Alert, now_s: u64) -> Result<bool, Error> {
        let known = "SELECT count(*) FROM recent WHERE about = ?1 AND code = ?2";
        let is_known = |alert: &Alert| {
            let about = params![alert.about(), alert.code];
            connection.prepare_cached(known)?.query_row(about, |row| row.get::<_, i64>(0))
        };
        if is_known(&alert)? == 0 {
            let recent = "SELECT count(*) FROM recent";
            let recent: i64 = connection.prepare_cached(recent)?.query_row((), |row| row.get(0))?;
            if recent >= RECENT_MAX {
                (alert.host, alert.peer) = (None, None);
            }
            if recent < RECENT_MAX || is_known(&alert)? == 0 {
                alert.since = time::utc(now_s);
                self.tell(connection, &alert, now_s)?;
                return Ok(true);
            }
        }
        let more = "UPDATE recent SET untold = untold + ?3, alert = ?4 WHERE about = ?1 AND code = ?2";
        let row = params![alert.about(), alert.code, number(alert.count), json(&alert)];
        connection.prepare_cached(more)?.execute(row)?;
        Ok(false)
    }

    /// Tells what happened again in periods that are over now. The alerts' codes.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn over(&self, connection: &Connection, now_s: u64) -> Result<Vec<String>, Error> {
        let forget = "DELETE FROM recent WHERE ends_s <= ?1 AND untold = 0";
        connection.prepare_cached(forget)?.execute([number(now_s)])?;
        let again = "SELECT untold, since_s, alert FROM recent WHERE ends_s <= ?1";
        let mut again = connection.prepare_cached(again)?;
        let read =
            |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?));
        let mut told = Vec::new();
        for (untold, since_s, alert) in again.query_map([number(now_s)], read)?.collect::<Result<Vec<_>, _>>()? {
            let mut alert: Alert = serde_json::from_str(&alert).unwrap_or_default();
            (alert.count, alert.since) = (untold.cast_unsigned(), time::utc(since_s.cast_unsigned()));
            self.tell(connection, &alert, now_s)?;
            told.push(alert.code);
        }
        Ok(told)
    }

    fn tell(&self, connection: &Connection, alert: &Alert, now_s: u64) -> Result<(), Error> {
        let recent = "INSERT OR REPLACE INTO recent (about, code, ends_s, untold, since_s, alert) VALUES (?1, ?2, ?3, 0, ?4, ?5)";
        let ends_s = number(now_s.saturating_add(self.period_s));
        let row = params![alert.about(), alert.code, ends_s, number(now_s), json(alert)];
        connection.prepare_cached(recent)?.execute(row)?;
        let insert = "INSERT INTO alert (at_s, about, code, alert) VALUES (?1, ?2, ?3, '')";
        connection.prepare_cached(insert)?.execute(params![number(now_s), alert.about(), alert.code])?;
        let id = connection.last_insert_rowid();
        let alert = Alert { id: id.cast_unsigned(), time: time::utc(now_s), ..alert.clone() };
        connection.prepare_cached("UPDATE alert SET alert = ?2 WHERE id = ?1")?.execute(params![id, json(&alert)])?;
        self.trim(connection, id)
    }

    /// Who cannot be reached misses the oldest ones, and is told how many those were.
    fn trim(&self, connection: &Connection, newest: i64) -> Result<(), Error> {
        let oldest = newest.saturating_sub(number(self.waiting_max));
        let drop = "UPDATE sink SET dropped = dropped + ?1 - delivered, delivered = ?1 WHERE delivered < ?1";
        connection.prepare_cached(drop)?.execute([oldest])?;
        let kept = oldest.min(newest.saturating_sub(KEPT_MAX));
        connection.prepare_cached("DELETE FROM alert WHERE id <= ?1")?.execute([kept])?;
        Ok(())
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn json(alert: &Alert) -> String {
    serde_json::to_string(alert).unwrap_or_default()
}

fn mark(connection: &Connection, name: &str) -> Result<Option<u64>, Error> {
    let value = "SELECT value FROM mark WHERE name = ?1";
    let value: Option<i64> = connection.prepare_cached(value)?.query_row([name], |row| row.get(0)).optional()?;
    Ok(value.map(i64::cast_unsigned))
}

fn set_mark(connection: &Connection, name: &str, value: u64) -> Result<(), Error> {
    let set = "INSERT OR REPLACE INTO mark (name, value) VALUES (?1, ?2)";
    connection.prepare_cached(set)?.execute(params![name, number(value)])?;
    Ok(())
}

/// The next statement that alerts were not made of yet; none in an index that is new.
pub(crate) fn next_place(connection: &Connection) -> Result<Option<u64>, Error> {
    mark(connection, NEXT)
}

/// Statements before this one were looked at.
pub(crate) fn set_next_place(connection: &Connection, place: u64) -> Result<(), Error> {
    set_mark(connection, NEXT, place)
}

/// Whether a collector ended here without saying so: what was refused in its last moment may be untold.
pub(crate) fn ended_badly(connection: &Connection) -> Result<bool, Error> {
    Ok(mark(connection, RUNNING)? == Some(1))
}

/// It runs.
pub(crate) fn mark_running(connection: &Connection) -> Result<(), Error> {
    set_mark(connection, RUNNING, 1)
}

/// It ended, and all that happened was noted.
pub(crate) fn mark_stopped(connection: &Connection) -> Result<(), Error> {
    set_mark(connection, RUNNING, 0)
}
