//! What waits, and what becomes of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use sha2::{Digest as _, Sha256};

use crate::{Error, Limits, Rule, Spool, dropped};

/// Bytes of one content at most.
pub const ITEM_BYTES_MAX: usize = 32 << 20;
/// Receipts that are kept: the newest.
const RECEIPTS_MAX: i64 = 100_000;
/// What an item takes beside its content, about: its rows in the tables and their indexes.
const ROW_BYTES: u64 = 512;

/// What is put into the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is called, to be shown.
    pub name: String,
    /// SHA-256 of the statement's payload.
    pub payload_sha256: [u8; 32],
    /// What is to be delivered.
    pub content: Vec<u8>,
}

/// What waits under a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its place in the order.
    pub number: u64,
    /// When it was put, in seconds since 1970.
    pub made_s: u64,
    /// What it is.
    pub item: Item,
}

impl Spool {
    /// Puts something at the end. It is durable when this returns. What is there already, by its content, keeps its number.
    ///
    /// # Errors
    /// Why it was not put.
    pub fn put(&mut self, item: &Item) -> Result<u64, Error> {
        self.put_at(item, now_s())
    }

    pub(crate) fn put_at(&mut self, item: &Item, now_s: u64) -> Result<u64, Error> {
        let bytes = item.content.len() as u64;
        if item.content.len() > ITEM_BYTES_MAX {
            return Err(Error::TooLarge(bytes));
        }
        let sha256: [u8; 32] = Sha256::digest(&item.content).into();
        let transaction = self.begin()?;
        if let Some(number) = known(&transaction, &sha256)? {
            return Ok(number);
        }
        let limits = limits(&transaction)?;
        let fits = make_room(&transaction, &limits, size(bytes), now_s)?;
        if !fits {
            dropped::count(&transaction, dropped::FULL, 1, now_s)?;
            account(&transaction, 0, "put")?;
            transaction.commit()?;
            return Err(Error::Full);
        }
        let insert = "INSERT INTO item (sha256, name, payload_sha256, made_s, content) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![sha256, item.name, item.payload_sha256, now_s.cast_signed(), item.content];
        transaction.prepare_cached(insert)?.execute(values)?;
        let number = transaction.last_insert_rowid().cast_unsigned();
        account(&transaction, size(bytes).cast_signed(), "put")?;
        transaction.commit()?;
        Ok(number)
    }

    /// What waits after this number, in order: as much as has this many bytes, and at least one if there is one.
    ///
    /// # Errors
    /// If it cannot be read, or is not what was put.
    pub fn waiting(&self, after: u64, bytes_max: u64) -> Result<Vec<Held>, Error> {
        let select =
            "SELECT number, sha256, name, payload_sha256, made_s, content FROM item WHERE number > ?1 ORDER BY number";
        let mut select = self.connection.prepare_cached(select)?;
        let mut rows = select.query([after.cast_signed()])?;
        let (mut waiting, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let (sha256, content): ([u8; 32], Vec<u8>) = (row.get(1)?, row.get(5)?);
            bytes += content.len() as u64;
            if !waiting.is_empty() && bytes > bytes_max {
                break;
            }
            if sha256 != <[u8; 32]>::from(Sha256::digest(&content)) {
                return Err(Error::Damaged);
            }
            let item = Item { name: row.get(2)?, payload_sha256: row.get(3)?, content };
            let (number, made_s): (i64, i64) = (row.get(0)?, row.get(4)?);
            waiting.push(Held { number: number.cast_unsigned(), made_s: made_s.cast_unsigned(), item });
        }
        Ok(waiting)
    }

    /// It was delivered: the receipt takes its place, in one transaction.
    ///
    /// # Errors
    /// If nothing waits under this number, or that is not durable.
    pub fn acknowledge(&mut self, number: u64, receipt: &[u8]) -> Result<(), Error> {
        let transaction = self.begin()?;
        let insert = "INSERT INTO receipt SELECT number, sha256, name, payload_sha256, ?2 FROM item WHERE number = ?1";
        if transaction.prepare_cached(insert)?.execute(params![number.cast_signed(), receipt])? == 0 {
            return Err(Error::Unknown(number));
        }
        remove(&transaction, number, "acknowledged")?;
        let old = "DELETE FROM receipt WHERE number <= ?1";
        transaction.prepare_cached(old)?.execute([number.cast_signed() - RECEIPTS_MAX])?;
        transaction.commit()?;
        Ok(())
    }

    /// It will never be delivered, for this reason. It is kept aside as long as there is room.
    ///
    /// # Errors
    /// If nothing waits under this number, or that is not durable.
    pub fn refuse(&mut self, number: u64, code: &str, says: &str) -> Result<(), Error> {
        let transaction = self.begin()?;
        let insert = "INSERT INTO refused SELECT number, sha256, name, payload_sha256, made_s, ?2, ?3, content FROM item \
                      WHERE number = ?1";
        if transaction.execute(insert, params![number.cast_signed(), code, says])? == 0 {
            return Err(Error::Unknown(number));
        }
        transaction.execute("DELETE FROM item WHERE number = ?1", [number.cast_signed()])?;
        account(&transaction, 0, "refused")?;
        transaction.commit()?;
        Ok(())
    }

    /// The receipt for a statement, by its payload.
    ///
    /// # Errors
    /// Of the database.
    pub fn receipt_of(&self, payload_sha256: &[u8; 32]) -> Result<Option<Vec<u8>>, Error> {
        let select = "SELECT receipt FROM receipt WHERE payload_sha256 = ?1 ORDER BY number DESC LIMIT 1";
        Ok(self.connection.query_row(select, [payload_sha256], |row| row.get(0)).optional()?)
    }

    /// Drops what is too old.
    ///
    /// # Errors
    /// Of the database.
    pub fn expire(&mut self) -> Result<(), Error> {
        let now_s = now_s();
        let transaction = self.begin()?;
        let limits = limits(&transaction)?;
        expire(&transaction, limits.age_max, now_s)?;
        transaction.commit()?;
        Ok(())
    }

    pub(crate) fn limit(&mut self, limits: Limits) -> Result<(), Error> {
        let update = "UPDATE account SET bytes_max = ?1, age_max_s = ?2, refuse_new = ?3";
        let (bytes_max, age_max_s) = (signed(limits.bytes_max), signed(limits.age_max.as_secs()));
        self.connection.execute(update, params![bytes_max, age_max_s, limits.rule == Rule::RefuseNew])?;
        Ok(())
    }
}

/// What a content of so many bytes is counted as.
fn size(bytes: u64) -> u64 {
    bytes + ROW_BYTES
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The number of what has this content already: that waits, was delivered, or was refused.
fn known(connection: &Connection, sha256: &[u8; 32]) -> Result<Option<u64>, Error> {
    let select = "SELECT number FROM item WHERE sha256 = ?1 UNION ALL SELECT number FROM receipt WHERE sha256 = ?1 \
                  UNION ALL SELECT number FROM refused WHERE sha256 = ?1 LIMIT 1";
    let number: Option<i64> = connection.prepare_cached(select)?.query_row([sha256], |row| row.get(0)).optional()?;
    Ok(number.map(i64::cast_unsigned))
}

pub(crate) fn limits(connection: &Connection) -> Result<Limits, Error> {
    let select = "SELECT bytes_max, age_max_s, refuse_new FROM account";
    Ok(connection.prepare_cached(select)?.query_row((), |row| {
        let (bytes_max, age_max_s, refuse_new): (i64, i64, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Limits {
            bytes_max: bytes_max.cast_unsigned(),
            age_max: Duration::from_secs(age_max_s.cast_unsigned()),
            rule: if refuse_new { Rule::RefuseNew } else { Rule::DropOldest },
        })
    })?)
}

/// Adds to the sums.
fn account(connection: &Connection, bytes: i64, what: &str) -> Result<(), Error> {
    let update = format!("UPDATE account SET bytes = bytes + ?1, {what} = {what} + 1");
    connection.prepare_cached(&update)?.execute([bytes])?;
    Ok(())
}

fn remove(connection: &Connection, number: u64, what: &str) -> Result<(), Error> {
    let delete = "DELETE FROM item WHERE number = ?1 RETURNING length(content)";
    let mut delete = connection.prepare_cached(delete)?;
    let bytes: i64 = delete.query_row([number.cast_signed()], |row| row.get(0))?;
    account(connection, -signed(size(bytes.cast_unsigned())), what)
}

/// Makes room for so many bytes; false if that cannot be. What was refused goes before what waits.
fn make_room(transaction: &Transaction<'_>, limits: &Limits, bytes: u64, now_s: u64) -> Result<bool, Error> {
    expire(transaction, limits.age_max, now_s)?;
    if bytes > limits.bytes_max {
        return Ok(false);
    }
    while bytes_of(transaction)? + bytes > limits.bytes_max {
        if drop_first(transaction, "refused", None)? {
            dropped::count(transaction, dropped::REFUSED, 1, now_s)?;
        } else if limits.rule == Rule::DropOldest && drop_first(transaction, "item", None)? {
            dropped::count(transaction, dropped::FULL, 1, now_s)?;
        } else {
            return Ok(false);
        }
    }
    Ok(true)
}

fn expire(transaction: &Transaction<'_>, age_max: Duration, now_s: u64) -> Result<(), Error> {
    let before = signed(now_s).saturating_sub(signed(age_max.as_secs()));
    while drop_first(transaction, "refused", Some(before))? {
        dropped::count(transaction, dropped::REFUSED, 1, now_s)?;
    }
    while drop_first(transaction, "item", Some(before))? {
        dropped::count(transaction, dropped::OLD, 1, now_s)?;
    }
    Ok(())
}

/// Drops the first of a table, if it is older than that; false if there is none.
fn drop_first(connection: &Connection, table: &str, before_s: Option<i64>) -> Result<bool, Error> {
    let delete = format!(
        "DELETE FROM {table} WHERE number = (SELECT min(number) FROM {table}) AND made_s < ?1 RETURNING length(content)"
    );
    let mut delete = connection.prepare_cached(&delete)?;
    let bytes: Option<i64> = delete.query_row([before_s.unwrap_or(i64::MAX)], |row| row.get(0)).optional()?;
    let Some(bytes) = bytes else { return Ok(false) };
    let update = "UPDATE account SET bytes = bytes - ?1";
    connection.prepare_cached(update)?.execute([signed(size(bytes.cast_unsigned()))])?;
    Ok(true)
}

fn bytes_of(connection: &Connection) -> Result<u64, Error> {
    let bytes: i64 = connection.prepare_cached("SELECT bytes FROM account")?.query_row((), |row| row.get(0))?;
    Ok(bytes.cast_unsigned())
}
