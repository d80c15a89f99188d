//! What the collector keeps, in one SQLite database: the statements, the tree of its own log, and the machines that it enrolled.
//!
//! Whatever is answered with a receipt is in the database before, forced to the disk (write-ahead log, `synchronous = FULL`). A
//! statement, its leaf and the nodes that are full by it are written in one transaction, so that there is none without the others.

mod checkpoints;
mod kept;
mod machines;
mod room;
mod schema;
mod statements;
#[cfg(test)]
pub(crate) mod tests;
mod tree;

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use attestation::merkle::{MerkleError, Tree};
use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};

pub(crate) use kept::Kept;
pub(crate) use machines::Enrolled;
use machines::MACHINES_OF_ONE_MAX;
pub(crate) use room::Limits;
use statements::ENVELOPES_MAX;
pub(crate) use statements::{Listed, Placed, Proven, Statement};

const FILE: &str = "collector.db";
/// Held by the one that writes.
const LOCK: &str = "collector.lock";

/// Why something is not kept, or not found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The folder.
    #[error("the folder of the store cannot be used")]
    Folder(#[from] io::Error),
    /// Somebody else writes it.
    #[error("another collector uses this store")]
    InUse,
    /// It would take another's place.
    #[error("this machine is enrolled already")]
    KnownMachine,
    /// One node's machines.
    #[error("{MACHINES_OF_ONE_MAX} machines are enrolled under this name, and no more are")]
    TooManyMachines,
    /// The database.
    #[error("the database of the store")]
    Database(#[from] rusqlite::Error),
    /// It is of a newer version.
    #[error("the database is of version {0}, and this program knows up to {known}: use a newer one", known = schema::VERSION)]
    Newer(i64),
    /// It is another program's.
    #[error("the database is not a collector's")]
    Foreign,
    /// It has what it may have.
    #[error("the store is full: it may take {0} bytes")]
    Full(u64),
    /// Others need the disk too.
    #[error("the disk has less than {0} bytes left, which the store leaves to others")]
    DiskLow(u64),
    /// One payload's.
    #[error("{ENVELOPES_MAX} envelopes of this payload are kept, and no more are")]
    TooManyEnvelopes,
    /// What was signed before is later.
    #[error("the clock is {0} s before the time of the log's last checkpoint: nothing is signed until it is right")]
    Clock(u64),
    /// Nothing was ever signed.
    #[error("the log has no checkpoint yet: nothing was kept")]
    NoCheckpoint,
    /// The tree does not hold together.
    #[error("the log's tree is damaged")]
    Tree(#[from] MerkleError),
    /// What stands in it is no log's.
    #[error("the log has {kept} leaves, and its statements are {statements}: it is damaged")]
    Counts {
        /// Leaves.
        kept: u64,
        /// Statements.
        statements: u64,
    },
}

impl Error {
    /// What a node is told of it: the rest is for the operator.
    pub(crate) fn says(&self) -> &'static str {
        match self {
            Self::Database(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                "the collector's disk is full"
            }
            Self::Full(_) => "the collector's store has reached its limit of bytes",
            Self::DiskLow(_) => "the collector's disk has too little room left",
            Self::TooManyEnvelopes => "the collector has so many envelopes of this payload that it takes no more",
            Self::Clock(_) => "the collector's clock is behind its own log",
            _ => "the collector cannot keep it",
        }
    }
}

/// The database, open for writing: one at a time.
pub(crate) struct Store {
    connection: Connection,
    tree: Tree,
    room: room::Room,
    /// The log has one writer: two would sign two trees.
    _alone: File,
}

impl Store {
    /// Opens the store in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(folder: &Path, limits: Limits) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let alone = alone(folder)?;
        let connection = Connection::open(folder.join(FILE))?;
        schema::prepare(&connection)?;
        // What was committed and not on the disk yet when its writer was killed is there by now, before anybody is told that it is.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        let tree = tree::kept(&connection)?;
        let statements = statements::count(&connection)?;
        if tree.size() != statements {
            return Err(Error::Counts { kept: tree.size(), statements });
        }
        let room = room::Room::new(folder, limits)?;
        Ok(Self { connection, tree, room, _alone: alone })
    }

    /// Leaves of the log.
    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }
}

/// Who has it is the only one that writes the folder.
///
/// # Errors
/// If somebody else does.
pub(crate) fn alone(folder: &Path) -> Result<File, Error> {
    let alone = File::options().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK))?;
    flock(&alone, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse)?;
    Ok(alone)
}

/// The database, open for reading beside the one that writes.
pub(crate) struct Reader {
    connection: Connection,
}

impl Reader {
    /// Whether there is a store in a folder.
    pub(crate) fn is_there(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Opens the store of a folder.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(folder.join(FILE), flags)?;
        schema::check(&connection)?;
        Ok(Self { connection })
    }
}
