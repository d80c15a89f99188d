//! What was accessed: rows (a file id), versions, inodes, names. Compact records in flat lists, each text kept once: a
//! session may touch a hundred thousand files.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::filesystem::Kind;
use super::hash::Digest;
use super::place;
use super::reason::Reason;
use super::version::{Identity, Stamp};

/// No index.
pub(super) const NONE: u32 = u32::MAX;
/// Names kept for one inode; a file with more is looked for under the first ones.
const NAMES_PER_INODE_MAX: u32 = 16;

/// What was seen of the accesses to a row, and what the room does about it.
pub(super) mod flag {
    /// Read or executed by an open that could not write.
    pub(in super::super) const READ: u16 = 1;
    /// Opened for reading and writing.
    pub(in super::super) const READ_WRITE: u16 = 2;
    /// Opened for writing.
    pub(in super::super) const WRITE: u16 = 4;
    /// An access of this row made the inode.
    pub(in super::super) const CREATED: u16 = 8;
    /// Another writer was open at an access.
    pub(in super::super) const BUSY: u16 = 16;
    /// The version was younger than the clock's grain at a reading access.
    pub(in super::super) const FRESH: u16 = 32;
    /// The version's time lay after a reading access.
    pub(in super::super) const FUTURE: u16 = 64;
    /// At an access the inode was not under fs-verity.
    pub(in super::super) const UNSEALED: u16 = 128;
    /// Read otherwise than to be executed.
    pub(in super::super) const NOT_EXECUTED: u16 = 256;
    /// IMA said nothing of an exec, or something else than of another.
    pub(in super::super) const UNMEASURED: u16 = 512;
}

/// A file id of the session.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) file_id: u64,
    /// Before the earliest access, CLOCK_BOOTTIME.
    pub(super) first_ns: u64,
    pub(super) version: u32,
    pub(super) name: u32,
    /// Bits of [`flag`].
    pub(super) flags: u16,
    /// Index of the [`Reason`] why it is never hashed; there is no version then.
    refused: u8,
}

impl Row {
    pub(super) fn refused(&self) -> Option<Reason> {
        if self.version == NONE { Reason::from_index(self.refused) } else { None }
    }
}

/// Content of an inode at a moment.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) stamp: Stamp,
    pub(super) inode: u32,
    /// Index of its digest.
    pub(super) digest: u32,
    /// A hash was ordered.
    pub(super) ordered: bool,
    /// The session opened the inode for writing while it had this version.
    pub(super) opened_to_write: bool,
}

/// A file, by whatever name.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) identity: Identity,
    /// Before the first access that made it, CLOCK_BOOTTIME; `u64::MAX` if none did.
    pub(super) made_ns: u64,
    /// Last opening that emptied it, CLOCK_BOOTTIME; 0 if none did.
    pub(super) emptied_ns: u64,
    /// Tells it from another file that has or had its number.
    pub(super) generation: u32,
    /// Distinguishes files where the inode number does not.
    scope: u32,
    names: u32,
    pub(super) mnt_ns: u64,
    /// Somebody else had it open for writing when the session made it.
    pub(super) shared_at_birth: bool,
    /// The session opened it for writing.
    pub(super) written: bool,
    /// A settling is on its way.
    pub(super) settling: bool,
    /// Settlings so far.
    pub(super) settlings: u8,
    /// The version hashed last.
    pub(super) latest: u32,
    /// Another version was hashed before it.
    pub(super) rehashed: bool,
    /// Some row needs to know its content.
    pub(super) wanted: bool,
    /// It is gone: its number was given to another file.
    pub(super) buried: bool,
}

#[derive(Debug)]
struct Name {
    directory: u32,
    offset: u32,
    next: u32,
    bytes: u16,
}

#[derive(Debug)]
struct Text {
    offset: u32,
    bytes: u32,
}

/// Everything accessed in a session.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    pub(super) versions: Vec<Version>,
    pub(super) inodes: Vec<Inode>,
    pub(super) digests: Vec<Digest>,
    /// By row, what IMA measured at its first exec.
    pub(super) ima: HashMap<u32, [u8; 32]>,
    names: Vec<Name>,
    directories: Vec<Text>,
    text: Vec<u8>,
    by_id: HashTable<u32>,
    by_version: HashTable<u32>,
    by_inode: HashTable<u32>,
    by_directory: HashTable<u32>,
    hasher: RandomState,
}

impl Table {
    /// The row of a file id.
    pub(super) fn row(&self, file_id: u64) -> Option<u32> {
        self.by_id.find(self.hash(file_id), |row| self.rows[*row as usize].file_id == file_id).copied()
    }

    /// Enters a row that is never hashed.
    pub(super) fn refuse(&mut self, file_id: u64, first_ns: u64, reason: Reason) {
        self.push_row(Row { file_id, first_ns, version: NONE, name: NONE, flags: 0, refused: reason as u8 });
    }

    /// Enters a row of a version under a name; the id must be new.
    pub(super) fn enter(&mut self, file_id: u64, first_ns: u64, version: u32, name: u32) -> u32 {
        self.push_row(Row { file_id, first_ns, version, name, flags: 0, refused: 0 })
    }

    fn push_row(&mut self, row: Row) -> u32 {
        let index = index(self.rows.len());
        let hash = self.hash(row.file_id);
        self.rows.push(row);
        let (rows, hasher) = (&self.rows, &self.hasher);
        self.by_id.insert_unique(hash, index, |row| hasher.hash_one(rows[*row as usize].file_id));
        index
    }

    /// The inode of an identity, entered if new. One of another generation is gone.
    pub(super) fn inode(&mut self, identity: Identity, generation: u32, mnt_ns: u64, path: &[u8]) -> u32 {
        let scope = if identity.kind.inode_is_identity() { 0 } else { low(self.hash(path)) };
        let key = |inode: &Inode| (inode.identity.dev, inode.identity.ino, inode.scope);
        let hash = self.hash((identity.dev, identity.ino, scope));
        let (inodes, hasher) = (&self.inodes, &self.hasher);
        let entry = self.by_inode.entry(
            hash,
            |at| key(&inodes[*at as usize]) == (identity.dev, identity.ino, scope),
            |at| hasher.hash_one(key(&inodes[*at as usize])),
        );
        match entry {
            Entry::Occupied(found) if inodes[*found.get() as usize].generation == generation => *found.get(),
            Entry::Occupied(mut found) => {
                let new = index(inodes.len());
                let old = std::mem::replace(found.get_mut(), new);
                self.inodes[old as usize].buried = true;
                self.inodes.push(Inode::new(identity, generation, mnt_ns, scope));
                new
            }
            Entry::Vacant(vacant) => {
                let new = index(inodes.len());
                vacant.insert(new);
                self.inodes.push(Inode::new(identity, generation, mnt_ns, scope));
                new
            }
        }
    }

    /// The file with this number is gone: whoever has the number next is another.
    pub(super) fn bury(&mut self, dev: u32, ino: u64) {
        let hash = self.hash((dev, ino, 0_u32));
        let inodes = &self.inodes;
        let is_it = |at: &u32| {
            let inode = &inodes[*at as usize];
            (inode.identity.dev, inode.identity.ino, inode.scope) == (dev, ino, 0)
        };
        if let Ok(found) = self.by_inode.find_entry(hash, is_it) {
            let (at, _) = found.remove();
            self.inodes[at as usize].buried = true;
        }
    }

    /// The version of an inode, entered if new.
    pub(super) fn version(&mut self, inode: u32, stamp: Stamp) -> u32 {
        let hash = self.hash((inode, stamp));
        let (versions, hasher) = (&self.versions, &self.hasher);
        let entry = self.by_version.entry(
            hash,
            |at| versions[*at as usize].inode == inode && versions[*at as usize].stamp == stamp,
            |at| hasher.hash_one((versions[*at as usize].inode, versions[*at as usize].stamp)),
        );
        match entry {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(vacant) => {
                let new = index(versions.len());
                vacant.insert(new);
                self.versions.push(Version { stamp, inode, digest: NONE, ordered: false, opened_to_write: false });
                new
            }
        }
    }

    /// The version of an inode, if it was entered.
    pub(super) fn find_version(&self, inode: u32, stamp: &Stamp) -> Option<u32> {
        let same = |at: &u32| {
            let version = &self.versions[*at as usize];
            version.inode == inode && version.stamp == *stamp
        };
        self.by_version.find(self.hash((inode, *stamp)), same).copied()
    }

    /// The digest of a version, if one was taken.
    pub(super) fn digest(&self, version: u32) -> Option<&Digest> {
        self.digests.get(self.versions.get(version as usize)?.digest as usize)
    }

    /// Keeps a digest of a version, in the place of the one it had.
    pub(super) fn keep(&mut self, version: u32, digest: Digest) {
        let at = version;
        let version = &mut self.versions[version as usize];
        let inode = &mut self.inodes[version.inode as usize];
        inode.rehashed |= inode.latest != NONE && inode.latest != at;
        inode.latest = at;
        match self.digests.get_mut(version.digest as usize) {
            Some(old) => *old = digest,
            None => {
                version.digest = index(self.digests.len());
                self.digests.push(digest);
            }
        }
    }

    /// Gives an inode a name: the index, [`NONE`] where it has too many. `path` is one that [`place::split`] takes.
    pub(super) fn name(&mut self, inode: u32, path: &[u8]) -> u32 {
        let Some((directory, name)) = place::split(path) else { return NONE };
        let directory = self.directory(directory);
        let mut count = 0;
        let mut at = self.inodes[inode as usize].names;
        let mut last = NONE;
        while let Some(known) = self.names.get(at as usize) {
            if known.directory == directory && self.text(known.offset, u32::from(known.bytes)) == name {
                return at;
            }
            count += 1;
            (last, at) = (at, known.next);
        }
        let room = u32::try_from(self.text.len() + name.len()).is_ok();
        let (Ok(bytes), true) = (u16::try_from(name.len()), room && count < NAMES_PER_INODE_MAX) else { return NONE };
        let new = index(self.names.len());
        self.names.push(Name { directory, offset: index(self.text.len()), next: NONE, bytes });
        self.text.extend_from_slice(name);
        match self.names.get_mut(last as usize) {
            Some(last) => last.next = new,
            None => self.inodes[inode as usize].names = new,
        }
        new
    }

    fn directory(&mut self, path: &[u8]) -> u32 {
        let hash = self.hash(path);
        let (texts, all, hasher) = (&self.directories, &self.text, &self.hasher);
        let of = |at: &u32| slice(all, texts[*at as usize].offset, texts[*at as usize].bytes);
        match self.by_directory.entry(hash, |at| of(at) == path, |at| hasher.hash_one(of(at))) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(vacant) => {
                let new = index(texts.len());
                vacant.insert(new);
                self.directories.push(Text { offset: index(all.len()), bytes: index(path.len()) });
                self.text.extend_from_slice(path);
                new
            }
        }
    }

    /// The names of an inode.
    pub(super) fn names_of(&self, inode: u32) -> impl Iterator<Item = u32> {
        let mut at = self.inodes[inode as usize].names;
        std::iter::from_fn(move || {
            let this = at;
            at = self.names.get(this as usize)?.next;
            Some(this)
        })
    }

    /// Directory (its index and path) and last name of a name.
    pub(super) fn parts(&self, name: u32) -> Option<(u32, &[u8], &[u8])> {
        let name = self.names.get(name as usize)?;
        let directory = &self.directories[name.directory as usize];
        let path = self.text(directory.offset, directory.bytes);
        Some((name.directory, path, self.text(name.offset, u32::from(name.bytes))))
    }

    /// The whole path of a name.
    pub(super) fn path(&self, name: u32) -> Option<Vec<u8>> {
        self.parts(name).map(|(_, directory, name)| [directory, b"/", name].concat())
    }

    fn text(&self, offset: u32, bytes: u32) -> &[u8] {
        slice(&self.text, offset, bytes)
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }
}

impl Inode {
    fn new(identity: Identity, generation: u32, mnt_ns: u64, scope: u32) -> Self {
        Self {
            identity,
            made_ns: u64::MAX,
            emptied_ns: 0,
            generation,
            scope,
            names: NONE,
            mnt_ns,
            shared_at_birth: false,
            written: false,
            settling: false,
            settlings: 0,
            latest: NONE,
            rehashed: false,
            wanted: false,
            buried: false,
        }
    }

    /// Whether the session made it.
    pub(super) fn made(&self) -> bool {
        self.made_ns != u64::MAX
    }

    pub(super) fn kind(&self) -> Kind {
        self.identity.kind
    }
}

fn slice(text: &[u8], offset: u32, bytes: u32) -> &[u8] {
    let from = offset as usize;
    &text[from..from + bytes as usize]
}

/// An index as it is kept; the limits of the room keep every list far below.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}

#[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
fn low(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(kind: Kind) -> Identity {
        Identity { ino: 5, dev: 1, mount_id: 1, kind }
    }

    #[test]
    fn hard_links_are_one_inode_with_two_names() {
        let mut table = Table::default();
        let a = table.inode(identity(Kind::Tested), 0, 1, b"/a");
        let b = table.inode(identity(Kind::Tested), 0, 1, b"/d/b");
        assert_eq!(a, b);
        let names = [table.name(a, b"/a"), table.name(a, b"/d/b"), table.name(a, b"/a")];
        assert_eq!(names[0], names[2]);
        assert_eq!(table.names_of(a).collect::<Vec<_>>(), names[..2]);
        assert_eq!(table.path(names[1]).unwrap(), b"/d/b");
        assert_eq!(table.path(names[0]).unwrap(), b"/a");
    }

    #[test]
    fn where_an_inode_number_names_no_file_two_paths_are_two_files() {
        for kind in [Kind::Btrfs, Kind::Overlay, Kind::Untested] {
            let mut table = Table::default();
            assert_ne!(table.inode(identity(kind), 0, 1, b"/a"), table.inode(identity(kind), 0, 1, b"/b"));
            assert_eq!(table.inode(identity(kind), 0, 1, b"/a"), table.inode(identity(kind), 0, 1, b"/a"));
        }
    }

    #[test]
    fn a_seventeenth_name_is_not_kept() {
        let mut table = Table::default();
        let inode = table.inode(identity(Kind::Tested), 0, 1, b"/0");
        for n in 0..16 {
            assert_ne!(table.name(inode, format!("/{n}").as_bytes()), NONE);
        }
        assert_eq!(table.name(inode, b"/16"), NONE);
        assert_ne!(table.name(inode, b"/15"), NONE);
    }

    #[test]
    fn another_size_or_time_is_another_version() {
        let mut table = Table::default();
        let inode = table.inode(identity(Kind::Tested), 0, 1, b"/a");
        let stamp = Stamp { ctime_sec: 1, ctime_nsec: 2, size: 3 };
        let version = table.version(inode, stamp);
        assert_eq!(table.version(inode, stamp), version);
        assert_ne!(table.version(inode, Stamp { size: 4, ..stamp }), version);
        assert_ne!(table.version(inode, Stamp { ctime_nsec: 3, ..stamp }), version);
        assert_eq!(table.find_version(inode, &Stamp { ctime_sec: 2, ..stamp }), None);
    }

    #[test]
    fn records_stay_small() {
        assert!(size_of::<Row>() <= 32);
        assert!(size_of::<Version>() <= 40);
        assert!(size_of::<Inode>() <= 72);
        assert!(size_of::<Digest>() <= 64);
        assert!(size_of::<Name>() <= 16);
    }
}
