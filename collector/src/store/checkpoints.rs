//! Checkpoints of the log: signed once for each size that it is answered for, kept with the statements that made it so large, and never
//! signed anew with another time. Their times do not go back.

use attestation::{
    merkle::{Hash, stored::inclusion},
    receipt::{self, Checkpoint},
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Error, Reader, Store, tree};

/// A clock that goes back by so many seconds is set right; by more, it was wrong, or is.
const BACK_MAX_S: u64 = 60;

/// Signs the log of a size and root as of a time, and keeps that, in the caller's transaction.
pub(super) fn sign(
    connection: &Connection,
    tree: &attestation::merkle::Tree,
    now_s: u64,
    signed: impl FnOnce(u64, &Hash, u64) -> Checkpoint,
) -> Result<(), Error> {
    let last = connection.query_row("SELECT max(time_s) FROM checkpoint", (), |row| row.get::<_, Option<i64>>(0))?;
    let last_s = last.unwrap_or_default().cast_unsigned();
    let back_s = last_s.saturating_sub(now_s);
    if back_s > BACK_MAX_S {
        return Err(Error::Clock(back_s));
    }
    let time_s = now_s.max(last_s);
    let checkpoint = signed(tree.size(), &tree.root(), time_s);
    let insert = "INSERT INTO checkpoint (size, time_s, note) VALUES (?1, ?2, ?3)";
    let (size, time_s) = (tree.size().cast_signed(), time_s.cast_signed());
    connection.prepare_cached(insert)?.execute(params![size, time_s, checkpoint.text()])?;
    Ok(())
}

/// The receipt of a place, by the first checkpoint that has it.
fn receipt(connection: &Connection, place: u64) -> Result<String, Error> {
    let select = "SELECT size, note FROM checkpoint WHERE size > ?1 ORDER BY size LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, String>(1)?));
    let first = connection.prepare_cached(select)?.query_row([place.cast_signed()], read).optional()?;
    let (size, note) = first.ok_or(Error::NoCheckpoint)?;
    let proof = inclusion(place, size, |place| tree::node(connection, place))?;
    let entry = "SELECT entry FROM statement WHERE place = ?1";
    let entry: Vec<u8> = connection.prepare_cached(entry)?.query_row([place.cast_signed()], |row| row.get(0))?;
    Ok(receipt::write(&entry, place, &proof, &Checkpoint::of_text(note)))
}

impl Store {
    /// Signs the log as it is, if that was never done.
    ///
    /// # Errors
    /// Of the database, or if the clock is behind.
    pub(crate) fn sign_what_is_there(
        &mut self,
        now_s: u64,
        signed: impl FnOnce(u64, &Hash, u64) -> Checkpoint,
    ) -> Result<(), Error> {
        let transaction = self.connection.transaction()?;
        let size: Option<i64> = transaction.query_row("SELECT max(size) FROM checkpoint", (), |row| row.get(0))?;
        let is_signed = size.unwrap_or_default().cast_unsigned() >= self.tree.size();
        if !is_signed {
            sign(&transaction, &self.tree, now_s, signed)?;
        }
        Ok(transaction.commit()?)
    }

    /// The receipt of a place.
    ///
    /// # Errors
    /// If it is not there, or the tree is damaged.
    pub(crate) fn receipt(&self, place: u64) -> Result<String, Error> {
        receipt(&self.connection, place)
    }
}

impl Reader {
    /// The receipt of a submission, by the digest of its bytes, if it was kept.
    ///
    /// # Errors
    /// Of the database, or if the tree is damaged.
    pub(crate) fn receipt_of(&self, sha256: &Hash) -> Result<Option<String>, Error> {
        let select = "SELECT place FROM statement WHERE sha256 = ?1";
        let place = self.connection.prepare_cached(select)?.query_row([sha256], |row| row.get::<_, i64>(0));
        place.optional()?.map(|place| receipt(&self.connection, place.cast_unsigned())).transpose()
    }

    /// The log's newest checkpoint.
    ///
    /// # Errors
    /// Of the database, or if nothing was ever kept.
    pub(crate) fn checkpoint(&self) -> Result<String, Error> {
        let select = "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1";
        self.connection.query_row(select, (), |row| row.get(0)).optional()?.ok_or(Error::NoCheckpoint)
    }
}
