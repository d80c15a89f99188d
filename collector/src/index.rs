//! The index: what statements say, in tables that can be asked. It follows the store by a thread of its own, durably, and can be made again
//! from the store at any time (`testimony-collector reindex`).

mod chain;
mod read;
mod schema;
mod write;

#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};

pub(crate) use chain::Broken;
pub(crate) use read::{
    Bad, ChainRow, ContactRow, FileRow, Filter, GapRow, HostRow, ImageRow, LIMIT_MAX, Page, Placed, Reader,
    StatementDetail, StatementRow,
};
pub(crate) use write::Added;

use crate::{facts, store};

/// Why something is not indexed, or not found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database.
    #[error("the database of the index")]
    Database(#[from] rusqlite::Error),
    /// There is none yet.
    #[error("there is no index yet: start the collector, or run `testimony-collector reindex`")]
    None,
    /// It is another program's.
    #[error("the database of the index is another program's")]
    Foreign,
    /// It is of a newer version.
    #[error(
        "the index is of version {0}, which this program does not know: use a newer one, or remove index.db and reindex"
    )]
    Newer(i64),
    /// The store.
    #[error("the store")]
    Store(#[from] store::Error),
    /// A statement.
    #[error("statement {place} of the log")]
    Statement {
        /// Its place.
        place: u64,
        /// Why.
        source: facts::Error,
    },
}

impl Error {
    /// Whether a question took longer than one may.
    pub(crate) fn is_too_costly(&self) -> bool {
        matches!(self, Self::Database(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted))
    }
}

/// The index, open for writing: one thread does.
pub(crate) struct Index {
    pub(crate) connection: Connection,
    folder: PathBuf,
}

impl Index {
    /// Opens it in the store's folder; it is made if it is not there, and made again where it is of another store.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let mut this = Self { connection: schema::open(folder)?, folder: folder.to_owned() };
        if !this.is_of_this_store()? {
            this.clear()?;
        }
        Ok(this)
    }

    /// The next place of the log that is not indexed.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn next(&self) -> Result<u64, Error> {
        let last: Option<i64> = self.connection.query_row("SELECT max(place) FROM statement", (), |row| row.get(0))?;
        Ok(last.map_or(0, |last| last.cast_unsigned() + 1))
    }

    /// Whether the last statement in it is the store's at that place: another store may have been put in its place, or an older one.
    fn is_of_this_store(&self) -> Result<bool, Error> {
        let Some(last) = self.next()?.checked_sub(1) else { return Ok(true) };
        let payload = "SELECT payload_sha256 FROM statement WHERE place = ?1";
        let payload: Option<[u8; 32]> =
            self.connection.query_row(payload, [last.cast_signed()], |row| row.get(0)).optional()?;
        let mut kept = None;
        let store = store::Reader::open(&self.folder)?;
        store.some(last, 1, usize::MAX, |place, statement, _| kept = Some((place, statement.payload_sha256)))?;
        Ok(payload.map(|payload| (last, payload)) == kept)
    }

    /// Forgets what can be made again.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn clear(&mut self) -> Result<(), Error> {
        let transaction = self.connection.transaction()?;
        for table in schema::FACTS {
            transaction.execute_batch(&format!("DELETE FROM {table}"))?;
        }
        transaction.execute_batch("DELETE FROM chain")?;
        transaction.commit()?;
        Ok(())
    }
}

fn pages(connection: &Connection) -> Result<u64, Error> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(pragma("page_count")?.cast_unsigned().saturating_mul(pragma("page_size")?.cast_unsigned()))
}
