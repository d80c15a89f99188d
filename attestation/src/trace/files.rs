//! File versions: one row for each (id, path), who accessed it, and what is known of its content.

use super::builder::TraceError;
use super::intern::Text;
use crate::codes;
use crate::merkle::Hash;
use proto::evidence::measure::{Algorithm, Means};
use proto::evidence::{self as log, Class};
use std::collections::HashMap;

/// Bits of an access, as the log has them.
pub mod access {
    /// Opened for reading.
    pub const READ: u8 = 1;
    /// Opened for writing.
    pub const WRITE: u8 = 2;
    /// Opened for execution, or executed.
    pub const EXEC: u8 = 4;
    /// This access made the file.
    pub const CREATED: u8 = 8;
    /// This access truncated the file.
    pub const TRUNCATED: u8 = 16;
    /// The descriptor only names the file (`O_PATH`).
    pub const PATH_ONLY: u8 = 32;
    /// Any access to content.
    pub const CONTENT: u8 = READ | WRITE | EXEC;
}

const NONE: u32 = u32::MAX;

/// One version under one path.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) ctime_sec: i64,
    pub(super) accesses: u64,
    pub(super) mnt_ns: u64,
    pub(super) ctime_nsec: u32,
    pub(super) path: Text,
    pub(super) dev: u32,
    pub(super) fs_magic: u32,
    pub(super) mode: u32,
    /// Index in `digests`.
    digest: u32,
    /// The same id under another path.
    sibling: u32,
    pub(super) class: Class,
    reason: u16,
    pub(super) access: u8,
    pub(super) product: bool,
    pub(super) deleted: bool,
}

/// All files of a session.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) rows: Vec<Row>,
    /// id to its first row.
    ids: HashMap<u64, u32>,
    digests: Vec<Hash>,
    reasons: Vec<String>,
    /// Where versions are at the end that were not left at the path of their access.
    left_at: HashMap<u32, Text>,
    /// What the kernel measured, by id. There are few.
    measures: HashMap<u64, log::Measure>,
    /// (file, process) to access bits.
    edges: HashMap<(u32, u32), u8>,
    /// The same, sorted, once sealed.
    pub(super) sorted: Vec<(u32, u32, u8)>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            ids: HashMap::new(),
            digests: Vec::new(),
            reasons: vec![codes::NOT_HASHED.to_owned()],
            left_at: HashMap::new(),
            measures: HashMap::new(),
            edges: HashMap::new(),
            sorted: Vec::new(),
        }
    }
}

impl Files {
    /// Bytes that a row takes, its digest and its place in the index included.
    pub(super) const ROW_BYTES: usize = size_of::<Row>() + size_of::<Hash>() + 24;
    /// Bytes that a measure takes.
    pub(super) const MEASURE_BYTES: usize = size_of::<log::Measure>() + 96;
    /// Bytes that a pair of file and process takes.
    pub(super) const EDGE_BYTES: usize = 32;

    pub(super) fn knows(&self, id: u64) -> bool {
        self.ids.contains_key(&id)
    }

    pub(super) fn find(&self, id: u64) -> Option<u32> {
        self.ids.get(&id).copied()
    }

    /// Enters a full record and returns its row: the one it has, or a new one.
    pub(super) fn define(&mut self, file: &log::File, path: Text, flags: u32) -> Result<u32, TraceError> {
        let new = u32::try_from(self.rows.len()).ok().filter(|index| *index != NONE);
        let new = new.ok_or(TraceError::TooLarge { max: NONE as usize })?;
        let Some(first) = self.find(file.id) else {
            self.ids.insert(file.id, new);
            self.rows.push(new_row(file, path, flags));
            return Ok(new);
        };
        let mut at = first;
        while let Some(row) = self.rows.get_mut(at as usize) {
            if !same_version(row, file) {
                return Err(TraceError::FileRedefined(file.id));
            }
            if row.path == path {
                return Ok(at);
            }
            if row.sibling == NONE {
                row.sibling = new;
                break;
            }
            at = row.sibling;
        }
        let mut row = new_row(file, path, flags);
        if let Some(known) = self.rows.get(first as usize) {
            (row.digest, row.class, row.reason, row.product) = (known.digest, known.class, known.reason, known.product);
        }
        self.rows.push(row);
        Ok(new)
    }

    /// Enters an access; true if this process had none to this file before.
    pub(super) fn access(&mut self, file: u32, process: u32, bits: u8) -> bool {
        if let Some(row) = self.rows.get_mut(file as usize) {
            row.access |= bits;
            row.accesses = row.accesses.saturating_add(1);
        }
        let mut new = false;
        *self.edges.entry((file, process)).or_insert_with(|| {
            new = true;
            0
        }) |= bits;
        new
    }

    /// Adds accesses that the kernel folded.
    pub(super) fn repeat(&mut self, file: u32, count: u64) {
        if let Some(row) = self.rows.get_mut(file as usize) {
            row.accesses = row.accesses.saturating_add(count);
        }
    }

    /// What is known of a version's content; the last one holds.
    pub(super) fn digest(&mut self, digest: &log::ContentDigest, left_at: Option<Text>) -> Result<(), TraceError> {
        let id = digest.file_id;
        let class = Class::try_from(digest.class).unwrap_or_default();
        let sha256: Option<Hash> = digest.sha256.as_slice().try_into().ok();
        let allowed = match class {
            Class::Unspecified => return Err(TraceError::Value("class")),
            Class::Kernel | Class::Stable => sha256.is_some() && digest.reason.is_empty(),
            Class::Raced => sha256.is_some() && codes::is_code(&digest.reason),
            Class::Ephemeral | Class::Absent => digest.sha256.is_empty() && codes::is_code(&digest.reason),
        };
        if !allowed || !digest.measure.as_ref().is_none_or(|measure| class == Class::Kernel && is_whole(measure)) {
            return Err(TraceError::DigestOfClass(id));
        }
        let first = self.find(id).ok_or(TraceError::UnknownFile(id))?;
        let reason = self.reason(&digest.reason)?;
        let at = self.store(first, sha256);
        match left_at {
            Some(path) => self.left_at.insert(first, path),
            None => self.left_at.remove(&first),
        };
        match &digest.measure {
            Some(measure) => self.measures.insert(id, measure.clone()),
            None => self.measures.remove(&id),
        };
        let mut next = first;
        while let Some(row) = self.rows.get_mut(next as usize) {
            (row.digest, row.class, row.reason, row.product) = (at, class, reason, digest.product);
            next = row.sibling;
        }
        Ok(())
    }

    /// Where the digest stands now: in the place that this id had, if it had one.
    fn store(&mut self, row: u32, sha256: Option<Hash>) -> u32 {
        let Some(sha256) = sha256 else {
            return NONE;
        };
        let old = self.rows.get(row as usize).map_or(NONE, |row| row.digest);
        if let Some(place) = self.digests.get_mut(old as usize) {
            *place = sha256;
            return old;
        }
        self.digests.push(sha256);
        // Never more than two for a row, whose number fits.
        u32::try_from(self.digests.len() - 1).unwrap_or(NONE)
    }

    fn reason(&mut self, reason: &str) -> Result<u16, TraceError> {
        if let Some(known) = self.reasons.iter().position(|known| known == reason) {
            return u16::try_from(known).map_err(|_| TraceError::Value("reason"));
        }
        let new = u16::try_from(self.reasons.len()).ok().filter(|count| *count < 256);
        let new = new.ok_or(TraceError::Value("reason"))?;
        self.reasons.push(reason.to_owned());
        Ok(new)
    }

    /// Index and name at the end of the products with a digest, in the order of files: one for each id, under the path
    /// that made it unless it was left elsewhere, and one for each name, the last.
    pub(super) fn products(&self) -> Vec<(u32, Text)> {
        let mut last = HashMap::new();
        let firsts = (0u32..).zip(&self.rows).filter(|(index, row)| self.find(row.id) == Some(*index));
        for (index, row) in firsts.filter(|(_, row)| row.product && self.digest_of(row).is_some()) {
            last.insert(self.left_at.get(&index).copied().unwrap_or(row.path), index);
        }
        let mut products: Vec<(u32, Text)> = last.into_iter().map(|(name, index)| (index, name)).collect();
        products.sort_unstable();
        products
    }

    pub(super) fn digest_of(&self, row: &Row) -> Option<&Hash> {
        self.digests.get(row.digest as usize)
    }

    pub(super) fn measure_of(&self, row: &Row) -> Option<&log::Measure> {
        self.measures.get(&row.id)
    }

    pub(super) fn reason_of(&self, row: &Row) -> &str {
        self.reasons.get(usize::from(row.reason)).map_or("", String::as_str)
    }

    /// Processes and their access bits of the file with this index, in the order of processes.
    pub(super) fn edges_of(&self, file: u32) -> &[(u32, u32, u8)] {
        let begin = self.sorted.partition_point(|edge| edge.0 < file);
        let end = self.sorted.partition_point(|edge| edge.0 <= file);
        self.sorted.get(begin..end).unwrap_or_default()
    }

    /// Sorts the edges and lets go of what only the fold needs.
    pub(super) fn seal(&mut self) {
        let edges = std::mem::take(&mut self.edges);
        self.sorted = edges.into_iter().map(|((file, process), bits)| (file, process, bits)).collect();
        self.sorted.sort_unstable();
        self.ids = HashMap::new();
        self.left_at = HashMap::new();
        self.rows.shrink_to_fit();
        self.digests.shrink_to_fit();
    }
}

fn new_row(file: &log::File, path: Text, flags: u32) -> Row {
    Row {
        id: file.id,
        ino: file.ino,
        size: file.size,
        ctime_sec: file.ctime_sec,
        accesses: 0,
        mnt_ns: file.mnt_ns,
        ctime_nsec: file.ctime_nsec,
        path,
        dev: file.dev,
        fs_magic: file.fs_magic,
        mode: file.mode,
        digest: NONE,
        sibling: NONE,
        class: Class::Absent,
        reason: 0,
        access: 0,
        product: false,
        deleted: flags & super::FLAG_DELETED != 0,
    }
}

/// Whether a measure has known means and is as long as its algorithm makes it.
fn is_whole(measure: &log::Measure) -> bool {
    let bytes = match Algorithm::try_from(measure.algorithm) {
        Ok(Algorithm::Sha256) => 32,
        Ok(Algorithm::Sha512) => 64,
        Ok(Algorithm::Unspecified) | Err(_) => return false,
    };
    measure.digest.len() == bytes && matches!(Means::try_from(measure.by), Ok(Means::FsVerity | Means::Ima))
}

fn same_version(row: &Row, file: &log::File) -> bool {
    (row.dev, row.ino, row.size, row.ctime_sec, row.ctime_nsec)
        == (file.dev, file.ino, file.size, file.ctime_sec, file.ctime_nsec)
}
