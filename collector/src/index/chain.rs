//! Chains as they grow: each statement is held against its neighbours by number, so that what it costs does not grow with the chain.
//! The rules are those of `testimony-collector chains`, which reads whole chains (docs/format.md, section 11).

use attestation::merkle::Hash;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::Error;
use crate::store::Kept;

/// What a new statement shows of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The chain says two things at this number.
    Fork(u64),
    /// Nobody sent these numbers until now.
    Missing { first: u64, last: u64 },
}

/// A neighbour.
struct Link {
    number: u64,
    payload: Hash,
    previous: Option<Hash>,
}

/// Adds a statement to its chain.
pub(super) fn add(connection: &Connection, place: u64, kept: &Kept) -> Result<Vec<Broken>, Error> {
    let Some(number) = kept.number else { return Ok(Vec::new()) };
    let chain = id(connection, kept, number)?;
    let insert = "INSERT OR IGNORE INTO link (chain, number, payload, previous, place) VALUES (?1, ?2, ?3, ?4, ?5)";
    let payload = kept.payload_sha256;
    let new = connection.prepare_cached(insert)?.execute(params![
        chain,
        number.cast_signed(),
        payload,
        kept.previous,
        place.cast_signed()
    ])?;
    // The same statement in two envelopes is one.
    if new == 0 {
        return Ok(Vec::new());
    }
    let grown =
        "UPDATE chain SET statements = statements + 1, first = min(first, ?2), last = max(last, ?2) WHERE id = ?1";
    connection.prepare_cached(grown)?.execute(params![chain, number.cast_signed()])?;
    let mut broken = Vec::new();
    let this = Link { number, payload, previous: kept.previous };
    if says_two_things(connection, chain, &this)? {
        broken.push(Broken::Fork(number));
    }
    let before = neighbour(connection, chain, number, "number < ?2 ORDER BY number DESC, place DESC")?;
    broken.extend(between(connection, (chain, place), before.as_ref(), &this)?);
    if let Some(after) = neighbour(connection, chain, number, "number > ?2 ORDER BY number, place")? {
        // What was missing before the next one was so without this one.
        let forget = "DELETE FROM missing WHERE chain = ?1 AND last = ?2";
        connection.prepare_cached(forget)?.execute(params![chain, (after.number - 1).cast_signed()])?;
        broken.extend(between(connection, (chain, place), Some(&this), &after)?);
    }
    for fork in &broken {
        if let Broken::Fork(number) = fork {
            let insert = "INSERT OR IGNORE INTO fork (chain, number, place) VALUES (?1, ?2, ?3)";
            connection.prepare_cached(insert)?.execute(params![chain, number.cast_signed(), place.cast_signed()])?;
        }
    }
    Ok(broken)
}

fn id(connection: &Connection, kept: &Kept, number: u64) -> Result<i64, Error> {
    let of = params![kept.signer, kept.host, kept.boot];
    let known = "SELECT id FROM chain WHERE signer = ?1 AND host = ?2 AND boot = ?3";
    if let Some(id) = connection.prepare_cached(known)?.query_row(of, |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let insert = "INSERT INTO chain (signer, host, boot, statements, first, last) VALUES (?1, ?2, ?3, 0, ?4, ?4)";
    let row = params![kept.signer, kept.host, kept.boot, number.cast_signed()];
    connection.prepare_cached(insert)?.execute(row)?;
    Ok(connection.last_insert_rowid())
}

/// Whether another statement has its number, or names the same one before it.
fn says_two_things(connection: &Connection, chain: i64, this: &Link) -> Result<bool, Error> {
    let number = "SELECT count(*) FROM link WHERE chain = ?1 AND number = ?2";
    let same: i64 =
        connection.prepare_cached(number)?.query_row(params![chain, this.number.cast_signed()], |row| row.get(0))?;
    let previous = "SELECT count(*) FROM link WHERE chain = ?1 AND previous = ?2";
    let named: i64 = connection.prepare_cached(previous)?.query_row(params![chain, this.previous], |row| row.get(0))?;
    Ok(same > 1 || named > 1)
}

fn neighbour(connection: &Connection, chain: i64, number: u64, which: &str) -> Result<Option<Link>, Error> {
    let select = format!("SELECT number, payload, previous FROM link WHERE chain = ?1 AND {which} LIMIT 1");
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Link { number: row.get::<_, i64>(0)?.cast_unsigned(), payload: row.get(1)?, previous: row.get(2)? })
    };
    Ok(connection.prepare_cached(&select)?.query_row(params![chain, number.cast_signed()], read).optional()?)
}

/// Holds two that follow each other against each other; what is missing between them is noted.
fn between(
    connection: &Connection,
    (chain, place): (i64, u64),
    before: Option<&Link>,
    after: &Link,
) -> Result<Option<Broken>, Error> {
    let first = match before {
        None if after.number > 1 && after.previous.is_some() => 1,
        None => return Ok(None),
        Some(before) if after.previous.is_none() => {
            return Ok((before.number < after.number).then_some(Broken::Fork(after.number)));
        }
        Some(before) if after.previous == Some(before.payload) => return Ok(None),
        // It names one that was not kept: between them, or instead of what was.
        Some(before) if after.number == before.number + 1 => return Ok(Some(Broken::Fork(after.number))),
        Some(before) => before.number + 1,
    };
    let last = after.number - 1;
    let insert = "INSERT OR REPLACE INTO missing (chain, last, first, place, found_s) VALUES (?1, ?2, ?3, ?4, ?5)";
    let now = crate::clock::now().cast_signed();
    let row = params![chain, last.cast_signed(), first.cast_signed(), place.cast_signed(), now];
    connection.prepare_cached(insert)?.execute(row)?;
    Ok(Some(Broken::Missing { first, last }))
}
