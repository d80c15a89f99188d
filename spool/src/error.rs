//! Why a spool does not do what it was asked.

use std::io;

use rusqlite::ErrorCode;

use crate::item::ITEM_BYTES_MAX;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder.
    #[error("the folder cannot be used")]
    Folder(#[source] io::Error),
    /// Others could change what is in it.
    #[error("the folder is another user's, or others may write it: give it to whoever runs the agent, with mode 0700")]
    Others,
    /// The database.
    #[error("the database cannot be used")]
    Database(#[source] rusqlite::Error),
    /// There is no room on the disk. What was kept is kept.
    #[error("the disk is full")]
    DiskFull,
    /// Another process has it, for longer than is waited for.
    #[error("another process keeps the database to itself")]
    Busy,
    /// It is another program's.
    #[error("the database is not a spool's")]
    Foreign,
    /// It is of a newer version.
    #[error("the database is of version {0}, which this program does not know: use a newer one")]
    Newer(i64),
    /// What is in it is not what was put there.
    #[error("the database is damaged")]
    Damaged,
    /// One thing is too large.
    #[error("{0} bytes are over the limit of {ITEM_BYTES_MAX} for one statement")]
    TooLarge(u64),
    /// It is full, and what comes is what is given up.
    #[error("the spool is full: the statement was not put into it, which the next one will say")]
    Full,
    /// Nothing waits under this number.
    #[error("nothing waits under number {0}")]
    Unknown(u64),
}

impl Error {
    /// Whether it may do it later, as it is.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::DiskFull | Self::Busy | Self::Full)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged,
            _ => Self::Database(error),
        }
    }
}
