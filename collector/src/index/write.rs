//! Writing: a statement's facts, and what is new by them.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Broken, Error, Index, chain};
use crate::{
    facts::{Facts, FileFact},
    store::Kept,
};

/// A statement that was added, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) place: u64,
    pub(crate) kept: Kept,
    pub(crate) facts: Facts,
    pub(crate) broken: Vec<Broken>,
}

impl Index {
    /// Adds a statement, in the caller's transaction.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn add(connection: &Connection, place: u64, kept: Kept, facts: Facts) -> Result<Added, Error> {
        statement(connection, place, &kept, &facts)?;
        let at = place.cast_signed();
        let mut insert =
            connection.prepare_cached("INSERT OR IGNORE INTO subject (sha256, place, name) VALUES (?1, ?2, ?3)")?;
        for (name, sha256) in &facts.subjects {
            insert.execute(params![sha256, at, name])?;
        }
        for file in &facts.files {
            add_file(connection, at, file)?;
        }
        let contact = "INSERT OR IGNORE INTO contact (peer, place, address, port, protocol, direction, operation, count, sent, received) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let mut insert = connection.prepare_cached(contact)?;
        for contact in &facts.contacts {
            let key = &contact.key;
            let [count, sent, received] = [contact.count, contact.sent, contact.received].map(number);
            insert.execute(params![
                key.peer,
                at,
                key.address,
                key.port,
                key.protocol,
                key.direction,
                key.operation,
                count,
                sent,
                received
            ])?;
        }
        let gap = "INSERT OR IGNORE INTO gap (code, place, detail, count, ends) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = connection.prepare_cached(gap)?;
        for gap in &facts.gaps {
            insert.execute(params![gap.code, at, gap.detail, number(gap.count), gap.ends_completeness])?;
        }
        let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO identity (id, place) VALUES (?1, ?2)")?;
        for id in [&kept.signer, &kept.peer] {
            insert.execute(params![id, at])?;
        }
        let heard = "INSERT INTO host (host, heard_s, statements, incomplete) VALUES (?1, ?2, 1, ?3) ON CONFLICT (host) DO UPDATE \
                     SET heard_s = excluded.heard_s, statements = statements + 1, incomplete = incomplete + excluded.incomplete";
        connection.prepare_cached(heard)?.execute(params![kept.host, kept.received_s.cast_signed(), !kept.complete])?;
        let broken = chain::add(connection, place, &kept)?;
        Ok(Added { place, kept, facts, broken })
    }
}

/// As the database has numbers: what does not fit is the most that does.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn statement(connection: &Connection, place: u64, kept: &Kept, facts: &Facts) -> Result<(), Error> {
    let insert = "INSERT INTO statement (place, payload_sha256, received_s, peer, signer, host, boot, number, complete, lossless, \
                  session, kind, started_s, ended_s, image, image_sha256, lost, coalesced, kernel, stable, ephemeral, raced, absent, cut) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)";
    let [session, kind] = &facts.session;
    let [kernel, stable, ephemeral, raced, absent] = facts.classes.map(number);
    connection.prepare_cached(insert)?.execute(params![
        place.cast_signed(),
        kept.payload_sha256,
        kept.received_s.cast_signed(),
        kept.peer,
        kept.signer,
        kept.host,
        kept.boot,
        kept.number.map(u64::cast_signed),
        kept.complete,
        facts.lossless,
        session,
        kind,
        facts.started_s.map(number),
        facts.ended_s.map(number),
        facts.image.as_ref().map(|image| &image.reference),
        facts.image.as_ref().and_then(|image| image.sha256),
        number(facts.lost),
        number(facts.coalesced),
        kernel,
        stable,
        ephemeral,
        raced,
        absent,
        facts.cut,
    ])?;
    Ok(())
}

fn add_file(connection: &Connection, place: i64, file: &FileFact) -> Result<(), Error> {
    let known =
        connection.prepare_cached("SELECT id FROM path WHERE path = ?1")?.query_row([&file.path], |row| row.get(0));
    let path: i64 = match known.optional()? {
        Some(id) => id,
        None => {
            connection.prepare_cached("INSERT INTO path (path) VALUES (?1)")?.execute([&file.path])?;
            connection.last_insert_rowid()
        }
    };
    let insert = "INSERT OR IGNORE INTO file (sha256, place, path, access, class) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(insert)?.execute(params![file.sha256, place, path, file.access, file.class])?;
    Ok(())
}
