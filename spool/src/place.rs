//! The folder and its files: their owner's alone, and the same ones for as long as they are used.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Error;
use crate::limits::WAIT_MAX;

const DATABASE: &str = "spool.db";
/// What SQLite puts beside the database. It gives them the mode of the database.
const BESIDE: [&str; 2] = ["spool.db-wal", "spool.db-shm"];
/// Bytes without which a file system is full: less than any act writes.
const ROOM_BYTES_MIN: u64 = 64 << 10;

/// The folder, held.
pub(crate) struct Place {
    folder: File,
    /// With no link in it, and no `..`.
    path: PathBuf,
    database: PathBuf,
    /// Device and inode of the database.
    known: (u64, u64),
}

/// That no other process is opening a spool in this folder.
pub(crate) struct Opening {
    /// The lock is that of the description, which ends with it.
    _lock: File,
}

impl Place {
    /// Opens the folder, or makes it, and sees to it that there is a file for the database; both are for their owner alone. `true` if
    /// the file was made.
    pub fn take(folder: &Path) -> Result<(Self, Opening), Error> {
        let failed = |source| failed(folder, source);
        let file = open_folder(folder).map_err(failed)?;
        let exposed = |why| Error::Exposed { path: folder.to_owned(), why };
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        owned(&stat, 0o022).map_err(exposed)?;
        let path = std::fs::canonicalize(folder).map_err(failed)?;
        let opening = Opening { _lock: lock(folder)? };
        let database = path.join(DATABASE);
        let mut place = Self { folder: file, path, database, known: (0, 0) };
        place.make_database()?;
        place.known = place.database_now()?;
        for name in BESIDE {
            place.check_file(name)?;
        }
        place.check_folder()?;
        Ok((place, opening))
    }

    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Whether path and folder, and name and database, still belong together. SQLite opens by name, its log as late as the first act:
    /// without this, whoever moves folders could have acts go to two places.
    pub fn check(&self) -> Result<(), Error> {
        self.check_folder()?;
        if self.database_now()? == self.known { Ok(()) } else { Err(self.replaced()) }
    }

    /// What an error means if SQLite only says that the system failed it: it has no code for a system that has no room for a file's
    /// name or for the memory that its processes share. Of a quota that is used up nothing is seen here.
    pub fn explain(&self, error: Error) -> Error {
        let Error::Database(_) = &error else { return error };
        match rustix::fs::fstatvfs(&self.folder) {
            Ok(now) if now.f_bavail.saturating_mul(now.f_frsize) < ROOM_BYTES_MIN => Error::DiskFull,
            Ok(now) if now.f_files > 0 && now.f_favail == 0 => Error::DiskFull,
            _ => error,
        }
    }

    /// The file is made without being opened: a descriptor of it that is closed would end the locks that another thread of this
    /// process may have on it.
    fn make_database(&self) -> Result<(), Error> {
        let failed = |errno: Errno| failed(&self.database, errno.into());
        match rustix::fs::mknodat(&self.folder, DATABASE, FileType::RegularFile, Mode::from_raw_mode(0o600), 0) {
            // The name is to be there after a power cut too.
            Ok(()) => rustix::fs::fsync(&self.folder).map_err(failed),
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn check_folder(&self) -> Result<(), Error> {
        let failed = |errno: Errno| failed(&self.path, errno.into());
        let held = rustix::fs::fstat(&self.folder).map_err(failed)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(rustix::fs::CWD, &self.path, flags) {
            Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => Ok(()),
            Ok(_) | Err(Errno::NOENT) => Err(self.replaced()),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn database_now(&self) -> Result<(u64, u64), Error> {
        let stat = self.check_file(DATABASE)?.ok_or_else(|| self.replaced())?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Refuses a file that others may read, or that is another name for one elsewhere.
    fn check_file(&self, name: &str) -> Result<Option<Stat>, Error> {
        let path = || self.path.join(name);
        let stat = match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(&path(), errno.into())),
        };
        let exposed = |why| Error::Exposed { path: path(), why };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(exposed("is no file"));
        }
        if stat.st_nlink > 1 {
            return Err(exposed("has another name elsewhere"));
        }
        owned(&stat, 0o077).map_err(exposed)?;
        Ok(Some(stat))
    }

    fn replaced(&self) -> Error {
        Error::Replaced(self.database.clone())
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::StorageFull => Error::DiskFull,
        _ => Error::Place { path: path.to_owned(), source },
    }
}

/// Makes the folder if it is not there. What it lies in must be there: it is no matter of the spool who may write there.
fn open_folder(folder: &Path) -> io::Result<File> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            // A bare name lies in the working directory.
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(folder)
}

/// Refuses what belongs to another user, or what others may do one of `others` with.
fn owned(stat: &Stat, others: u32) -> Result<(), &'static str> {
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err("belongs to another user");
    }
    if stat.st_mode & others != 0 {
        return Err(if others == 0o022 { "can be written by others" } else { "is open to others" });
    }
    Ok(())
}

/// Waits for whoever is opening the spool, but not for ever.
fn lock(folder: &Path) -> Result<File, Error> {
    let failed = |source| failed(folder, source);
    let file = open_folder(folder).map_err(failed)?;
    let limit = Instant::now() + WAIT_MAX;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < limit => thread::sleep(Duration::from_millis(2)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(Error::Busy),
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}
