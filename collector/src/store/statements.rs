//! Statements, by their places in the log.

use attestation::merkle::{Hash, leaf_hash};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Error, Reader, Store, tree};

/// A statement that was verified, with what belongs to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    /// SHA-256 of all of what was sent.
    pub(crate) sha256: Hash,
    pub(crate) payload_sha256: Hash,
    pub(crate) envelope: Vec<u8>,
    pub(crate) quote: Vec<u8>,
    pub(crate) bundle: Vec<u8>,
    pub(crate) firmware_log: Vec<u8>,
    pub(crate) ima_list: Vec<u8>,
    /// The leaf of the log.
    pub(crate) entry: Vec<u8>,
    pub(crate) received_s: u64,
    /// Who sent it.
    pub(crate) peer: String,
    pub(crate) signer: String,
    pub(crate) host: String,
    pub(crate) boot: String,
    pub(crate) number: Option<u64>,
    pub(crate) previous: Option<Hash>,
    pub(crate) complete: bool,
    /// In JSON.
    pub(crate) verdict: String,
}

/// What is told of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) place: u64,
    pub(crate) payload_sha256: Hash,
    pub(crate) received_s: u64,
    pub(crate) peer: String,
    pub(crate) signer: String,
    pub(crate) host: String,
    pub(crate) boot: String,
    pub(crate) number: Option<u64>,
    pub(crate) previous: Option<Hash>,
    pub(crate) complete: bool,
}

const LISTED: &str = "place, payload_sha256, received_s, peer, signer, host, boot, number, previous, complete";

impl Listed {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            place: row.get::<_, i64>(0)?.cast_unsigned(),
            payload_sha256: row.get(1)?,
            received_s: row.get::<_, i64>(2)?.cast_unsigned(),
            peer: row.get(3)?,
            signer: row.get(4)?,
            host: row.get(5)?,
            boot: row.get(6)?,
            number: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
            previous: row.get(8)?,
            complete: row.get(9)?,
        })
    }
}

pub(super) fn count(connection: &Connection) -> Result<u64, Error> {
    let count: i64 = connection.query_row("SELECT count(*) FROM statement", (), |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

impl Store {
    /// Keeps statements, all in one transaction: the place of each, and whether it was there already. If that fails, none is kept.
    ///
    /// # Errors
    /// Why none is.
    pub(crate) fn keep(&mut self, statements: &[Statement]) -> Result<Vec<(u64, bool)>, Error> {
        let mut tree = self.tree.clone();
        let transaction = self.connection.transaction()?;
        let mut places = Vec::with_capacity(statements.len());
        for statement in statements {
            places.push(keep(&transaction, &mut tree, statement)?);
        }
        transaction.commit()?;
        self.tree = tree;
        Ok(places)
    }
}

fn keep(
    connection: &Connection,
    tree: &mut attestation::merkle::Tree,
    statement: &Statement,
) -> Result<(u64, bool), Error> {
    let known = connection
        .prepare_cached("SELECT place FROM statement WHERE sha256 = ?1")?
        .query_row([statement.sha256], |row| row.get::<_, i64>(0));
    if let Some(place) = known.optional()? {
        return Ok((place.cast_unsigned(), true));
    }
    let place = tree::append(connection, tree, leaf_hash(&statement.entry))?;
    let insert = "INSERT INTO statement (place, sha256, payload_sha256, envelope, quote, bundle, firmware_log, ima_list, entry, \
                  received_s, peer, signer, host, boot, number, previous, complete, verdict) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    connection.prepare_cached(insert)?.execute(params![
        place.cast_signed(),
        statement.sha256,
        statement.payload_sha256,
        statement.envelope,
        statement.quote,
        statement.bundle,
        statement.firmware_log,
        statement.ima_list,
        statement.entry,
        statement.received_s.cast_signed(),
        statement.peer,
        statement.signer,
        statement.host,
        statement.boot,
        statement.number.map(u64::cast_signed),
        statement.previous,
        statement.complete,
        statement.verdict,
    ])?;
    Ok((place, false))
}

impl Reader {
    /// Statements from this place on, in order.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn statements(&self, from: u64, mut each: impl FnMut(Listed)) -> Result<(), Error> {
        let select = format!("SELECT {LISTED} FROM statement WHERE place >= ?1 ORDER BY place");
        let mut select = self.connection.prepare(&select)?;
        for listed in select.query_map([from.cast_signed()], Listed::read)? {
            each(listed?);
        }
        Ok(())
    }

    /// Statements of one chain after another (signer, host, boot), each in the order of its numbers.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn chains(&self, mut each: impl FnMut(Listed)) -> Result<(), Error> {
        let order = "WHERE number IS NOT NULL ORDER BY signer, host, boot, number, place";
        let mut select = self.connection.prepare(&format!("SELECT {LISTED} FROM statement {order}"))?;
        for listed in select.query_map((), Listed::read)? {
            each(listed?);
        }
        Ok(())
    }

    /// The envelope of a payload, as it was first sent.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn envelope(&self, payload_sha256: &Hash) -> Result<Option<Vec<u8>>, Error> {
        let select = "SELECT envelope FROM statement WHERE payload_sha256 = ?1 ORDER BY place LIMIT 1";
        Ok(self.connection.query_row(select, [payload_sha256], |row| row.get(0)).optional()?)
    }
}
