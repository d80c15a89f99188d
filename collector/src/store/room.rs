//! How much the store may take: of bytes, and of the disk that it lies on. What is counted are the database's pages and its write-ahead
//! log; what is free in it is used again.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{Error, FILE, Statement};

/// What a statement takes besides its own bytes, with its place in indexes and the tree, at most.
const ROW_BYTES: u64 = 4096;

/// What there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of the store at most.
    pub(crate) bytes_max: u64,
    /// Bytes of the file system that are left to others.
    pub(crate) free_min: u64,
}

/// Where it lies.
pub(super) struct Room {
    folder: File,
    log: PathBuf,
    limits: Limits,
}

impl Room {
    pub(super) fn new(folder: &Path, limits: Limits) -> io::Result<Self> {
        Ok(Self { folder: File::open(folder)?, log: folder.join(format!("{FILE}-wal")), limits })
    }

    /// What may be added now.
    pub(super) fn left(&self, connection: &Connection) -> Result<Left, Error> {
        let number = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, u64>(0));
        let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
        let log = self.log.metadata().map_or(0, |log| log.len());
        let taken = pages.saturating_mul(number("PRAGMA page_size")?).saturating_add(log);
        let disk = rustix::fs::fstatvfs(&self.folder).map_err(io::Error::from)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(Left { limits: self.limits, taken, free })
    }
}

/// What may be added in one act.
pub(super) struct Left {
    limits: Limits,
    taken: u64,
    free: u64,
}

impl Left {
    /// Takes room for a statement. Its bytes come into the log first, and into the file from there.
    pub(super) fn take(&mut self, statement: &Statement) -> Result<(), Error> {
        let Statement { envelope, quote, bundle, firmware_log, ima_list, entry, verdict, .. } = statement;
        let parts = [envelope, quote, bundle, firmware_log, ima_list, entry].map(Vec::len).into_iter().sum::<usize>();
        let bytes = (parts + verdict.len()) as u64 + ROW_BYTES;
        let taken = self.taken.saturating_add(bytes);
        if taken > self.limits.bytes_max {
            return Err(Error::Full(self.limits.bytes_max));
        }
        let free = self.free.saturating_sub(bytes.saturating_mul(2));
        if free < self.limits.free_min {
            return Err(Error::DiskLow(self.limits.free_min));
        }
        (self.taken, self.free) = (taken, free);
        Ok(())
    }
}
