//! Statements, by their places in the log.

use attestation::{
    merkle::{Hash, Tree, leaf_hash},
    receipt::Checkpoint,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Error, Reader, Store, checkpoints, room::Left, tree};

/// Envelopes of one payload at most: one has more if it is signed anew, which makes no other statement of it.
pub(super) const ENVELOPES_MAX: i64 = 16;
/// Statements that are read at once: a reader that is slow keeps nothing from being written.
const PAGE: usize = 500;

/// What of what stands beside an envelope was verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) quote: bool,
    pub(crate) bundle: bool,
}

impl Proven {
    fn bits(self) -> i64 {
        i64::from(self.quote) | i64::from(self.bundle) << 1
    }
}

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
    pub(crate) proven: Proven,
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

/// The place of a statement, and whether it was there already; or why it alone is not kept.
pub(crate) type Placed = Result<(u64, bool), Error>;

impl Store {
    /// Keeps statements, all in one transaction, with the log's checkpoint: the place of each and whether it was there already, or why it
    /// alone is not kept. If that fails, none is.
    ///
    /// # Errors
    /// Why none is.
    pub(crate) fn keep(
        &mut self,
        statements: &[Statement],
        now_s: u64,
        signed: impl FnOnce(u64, &Hash, u64) -> Checkpoint,
    ) -> Result<Vec<Placed>, Error> {
        let mut tree = self.tree.clone();
        let mut left = self.room.left(&self.connection)?;
        let transaction = self.connection.transaction()?;
        let mut places = Vec::with_capacity(statements.len());
        for statement in statements {
            places.push(match keep(&transaction, &mut tree, &mut left, statement) {
                // Nothing was written of it.
                Err(error @ (Error::Full(_) | Error::DiskLow(_) | Error::TooManyEnvelopes)) => Err(error),
                kept => Ok(kept?),
            });
        }
        if tree.size() > self.tree.size() {
            checkpoints::sign(&transaction, &tree, now_s, signed)?;
        }
        transaction.commit()?;
        self.tree = tree;
        Ok(places)
    }
}

/// Where it is, if it is there: by its bytes, or by what of them was verified.
fn find(connection: &Connection, statement: &Statement) -> Result<Option<u64>, Error> {
    let by_bytes = "SELECT place FROM statement WHERE sha256 = ?1";
    let by_entry = "SELECT place FROM statement WHERE entry = ?1 ORDER BY place LIMIT 1";
    let place = |row: &Row<'_>| row.get::<_, i64>(0).map(i64::cast_unsigned);
    if let Some(found) = connection.prepare_cached(by_bytes)?.query_row([statement.sha256], place).optional()? {
        return Ok(Some(found));
    }
    Ok(connection.prepare_cached(by_entry)?.query_row([&statement.entry], place).optional()?)
}

/// What stands beside it comes to stand there, if it was verified and what does stand there was not: else whoever was first, with less,
/// would have kept it away.
fn complete(connection: &Connection, left: &mut Left, place: u64, statement: &Statement) -> Result<(), Error> {
    let bits = "SELECT proven FROM statement WHERE place = ?1";
    let bits: i64 = connection.prepare_cached(bits)?.query_row([place.cast_signed()], |row| row.get(0))?;
    let more = statement.proven.bits() & !bits;
    if more == 0 {
        return Ok(());
    }
    left.take(statement)?;
    let Statement { quote, firmware_log, ima_list, bundle, .. } = statement;
    let update = "UPDATE statement SET proven = proven | ?2, \
                  quote = iif(?2 & 1, ?3, quote), firmware_log = iif(?2 & 1, ?4, firmware_log), \
                  ima_list = iif(?2 & 1, ?5, ima_list), bundle = iif(?2 & 2, ?6, bundle) WHERE place = ?1";
    let values = params![place.cast_signed(), more, quote, firmware_log, ima_list, bundle];
    connection.prepare_cached(update)?.execute(values)?;
    Ok(())
}

fn keep(
    connection: &Connection,
    tree: &mut Tree,
    left: &mut Left,
    statement: &Statement,
) -> Result<(u64, bool), Error> {
    if let Some(place) = find(connection, statement)? {
        complete(connection, left, place, statement)?;
        return Ok((place, true));
    }
    let envelopes = "SELECT count(*) FROM statement WHERE payload_sha256 = ?1";
    let envelopes: i64 =
        connection.prepare_cached(envelopes)?.query_row([statement.payload_sha256], |row| row.get(0))?;
    if envelopes >= ENVELOPES_MAX {
        return Err(Error::TooManyEnvelopes);
    }
    left.take(statement)?;
    let place = tree::append(connection, tree, leaf_hash(&statement.entry))?;
    let insert = "INSERT INTO statement (place, sha256, payload_sha256, envelope, quote, bundle, firmware_log, ima_list, entry, \
                  received_s, peer, signer, host, boot, number, previous, complete, verdict, proven) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
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
        statement.proven.bits(),
    ])?;
    Ok((place, false))
}

impl Reader {
    /// Statements from this place on, in order, until `each` has enough. They are read a page at a time, so that whoever looks at them
    /// slowly keeps no part of the database as it was.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn statements(&self, from: u64, mut each: impl FnMut(Listed) -> bool) -> Result<(), Error> {
        let select = format!("SELECT {LISTED} FROM statement WHERE place >= ?1 ORDER BY place LIMIT {PAGE}");
        let mut select = self.connection.prepare(&select)?;
        let mut from = from;
        loop {
            let page: Vec<Listed> = select.query_map([from.cast_signed()], Listed::read)?.collect::<Result<_, _>>()?;
            let Some(last) = page.last() else { return Ok(()) };
            from = last.place + 1;
            if !page.into_iter().all(&mut each) {
                return Ok(());
            }
        }
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
