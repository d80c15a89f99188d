//! A file's version (ctime and size), and what statx says of an open object.

use std::os::fd::AsFd;

use proto::evidence::File;
use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, statx};

use super::filesystem::Kind;

/// The version of a file: every change of its content moves its ctime, under the conditions of the room's doc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    pub(super) ctime_sec: i64,
    pub(super) size: u64,
    pub(super) ctime_nsec: u32,
}

impl Stamp {
    pub(super) fn of(file: &File) -> Self {
        Self { ctime_sec: file.ctime_sec, ctime_nsec: file.ctime_nsec, size: file.size }
    }
}

/// Which file: as much as the kernel's event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) ino: u64,
    /// `s_dev`.
    pub(super) dev: u32,
    pub(super) mount_id: u32,
    pub(super) kind: Kind,
}

impl Identity {
    /// Device and number.
    pub(super) fn key(&self) -> (u32, u64) {
        (self.dev, self.ino)
    }
}

/// What statx said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) stamp: Stamp,
    pub(super) mtime_sec: i64,
    pub(super) mtime_nsec: u32,
    dev: u32,
    ino: u64,
    mount_id: u64,
    regular: bool,
    /// It is under fs-verity.
    pub(super) verity: bool,
}

/// The attributes asked for. A network or user-space file system is never asked: what the kernel has in memory is taken.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);
const UNASKED: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT).union(AtFlags::STATX_DONT_SYNC);

impl Seen {
    /// Of an open descriptor, `O_PATH` included.
    pub(super) fn of(object: impl AsFd) -> rustix::io::Result<Self> {
        statx(object, c"", UNASKED | AtFlags::EMPTY_PATH, WANTED).map(|stat| Self::from(&stat))
    }

    /// Of a name in an open directory; a symbolic link is not followed.
    pub(super) fn at(directory: impl AsFd, name: &[u8]) -> rustix::io::Result<Self> {
        statx(directory, name, UNASKED, WANTED).map(|stat| Self::from(&stat))
    }

    /// Device and number.
    pub(super) fn key(&self) -> (u32, u64) {
        (self.dev, self.ino)
    }

    /// Whether this is the file of the event. Where `st_dev` is not the superblock's, the mount must be the same one.
    pub(super) fn is(&self, identity: &Identity) -> bool {
        let device = if identity.kind.inode_is_identity() {
            self.dev == identity.dev
        } else {
            self.mount_id == u64::from(identity.mount_id)
        };
        // An overlay's inode number in the kernel need not be the one it shows.
        let inode = identity.kind == Kind::Overlay || self.ino == identity.ino;
        self.regular && device && inode
    }
}

impl From<&Statx> for Seen {
    fn from(stat: &Statx) -> Self {
        Self {
            stamp: Stamp { ctime_sec: stat.stx_ctime.tv_sec, ctime_nsec: stat.stx_ctime.tv_nsec, size: stat.stx_size },
            mtime_sec: stat.stx_mtime.tv_sec,
            mtime_nsec: stat.stx_mtime.tv_nsec,
            dev: stat.stx_dev_major << 20 | stat.stx_dev_minor,
            ino: stat.stx_ino,
            mount_id: stat.stx_mnt_id,
            regular: FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::RegularFile,
            verity: stat.stx_attributes.contains(StatxAttributes::VERITY),
        }
    }
}
