//! Why the queue could not do what was asked for.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::limits::{BYTES_MIN, WAIT_MAX};

/// `SQLITE_IOERR_SHORT_READ`.
const SHORT_READ: i32 = 522;

/// Why nothing was done. What is lost by it is counted where the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or a file in it.
    #[error("the spool {} cannot be used", path.display())]
    Place {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may write there, or it is not what it should be.
    #[error("{} {why}: it is not used", path.display())]
    Exposed {
        /// What.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// A database, but not a spool.
    #[error("{} is a database of something else", .0.display())]
    Foreign(PathBuf),
    /// A later version of this software wrote it.
    #[error(
        "the spool has format {found}, and this version knows {known}: use the version that wrote it, or let it empty the spool"
    )]
    Newer {
        /// What it says of itself.
        found: i64,
        /// What is known here.
        known: i64,
    },
    /// Limits that cannot be held.
    #[error("a spool of {0} bytes is too small: it takes {BYTES_MIN}")]
    Small(u64),
    /// The file is not what was written.
    #[error("the spool is damaged ({what}): move its folder away for whoever looks into it, and a new one is made")]
    Damaged {
        /// Where it was seen.
        what: &'static str,
        /// What SQLite says.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The file was removed or replaced while it was open.
    #[error("the spool {} was moved or replaced while it was in use: open it again", .0.display())]
    Replaced(PathBuf),
    /// The file system has no room. Nothing changed; the same act is possible again as soon as there is room.
    #[error("the disk of the spool is full")]
    DiskFull,
    /// Another process did not let go of it.
    #[error("another process has held the spool for {} s", WAIT_MAX.as_secs())]
    Busy,
    /// No item of this size is taken. It is counted as dropped for lack of room.
    #[error("an envelope of {bytes} bytes is too large: the spool takes {bytes_max}")]
    TooLarge {
        /// Of the envelope.
        bytes: u64,
        /// What is taken.
        bytes_max: u64,
    },
    /// A field, or a time, that has no place in the database.
    #[error("{what} of {found} is more than {most}")]
    TooMuch {
        /// Of which field.
        what: &'static str,
        /// How many bytes, or which time.
        found: u64,
        /// At most.
        most: u64,
    },
    /// There is no room, and what waits stays ([`crate::Rule::RefuseNew`]). The item is counted as dropped, each time it is put.
    #[error("the spool is full")]
    Full,
    /// The item is older than any may become. It is counted as dropped.
    #[error("what was to be put into the spool is too old for it")]
    Old,
    /// No item of that number waits: it was dropped, or another process was faster.
    #[error("no item {0} waits in the spool")]
    NotWaiting(u64),
    /// No item of that number was refused or put off.
    #[error("no item {0} of the spool was refused or put off")]
    NotRefused(u64),
    /// A count of another spool, or one that was never read from this one.
    #[error("what is said to be dropped was not dropped by this spool")]
    NotDropped,
    /// SQLite, for a reason that none of the above is.
    #[error("the spool's database failed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub(crate) fn damaged(what: &'static str) -> Self {
        Self::Damaged { what, source: None }
    }

    /// Refuses what is longer than its field.
    pub(crate) fn beyond(what: &'static str, found: usize, most: usize) -> Result<(), Self> {
        Self::above(what, found as u64, most as u64)
    }

    /// Refuses a time that the database has no integer for.
    pub(crate) fn beyond_time(found: u64) -> Result<(), Self> {
        Self::above("a time", found, i64::MAX.cast_unsigned())
    }

    fn above(what: &'static str, found: u64, most: u64) -> Result<(), Self> {
        if found > most { Err(Self::TooMuch { what, found, most }) } else { Ok(()) }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as Said;
        let what = match &error {
            Said::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DiskFull => return Self::DiskFull,
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => return Self::Busy,
                ErrorCode::DatabaseCorrupt => "its tables",
                ErrorCode::NotADatabase => "its header",
                ErrorCode::SchemaChanged | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation => "its rows",
                ErrorCode::SystemIoFailure if failure.extended_code == SHORT_READ => "a file ends too soon",
                // No statement here is wrong where the tables are those that were made.
                ErrorCode::Unknown => "its schema",
                _ => return Self::Database(error.into()),
            },
            Said::SqlInputError { .. } => "its schema",
            Said::FromSqlConversionFailure(..)
            | Said::IntegralValueOutOfRange(..)
            | Said::InvalidColumnType(..)
            | Said::Utf8Error(..)
            | Said::QueryReturnedNoRows => "a row's fields",
            _ => return Self::Database(error.into()),
        };
        Self::Damaged { what, source: Some(error.into()) }
    }
}
