//! Ids of file versions: one for each version under one path, however often the kernel side tells it.
//!
//! A full record comes again after every change that could have moved its path, and with every exec. The log describes a
//! version once and then refers to it, so that repeats cost little in the log and nothing in the statement.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
};

use agent_ebpf::{FileVersion, access, flag, hook};
use proto::evidence as log;

use super::{consequences::Sensitive, frames::Spot};
use crate::{
    content::{Access, Content},
    decode::{self, Head},
};

/// Flags of a record that say how its path is to be read: with others, it is another path.
const PATH_FLAGS: u32 = flag::PATH_CUT | flag::PATH_TORN | flag::DELETED | flag::DETACHED;
/// Ids and events that are remembered, each. Beyond, a version that is told again gets another id, and an access that
/// refers to an event is a finding.
const REMEMBERED_MAX: usize = 2_000_000;

/// Ids of the file versions told so far.
#[derive(Default)]
pub(super) struct Files {
    next: u64,
    /// (CPU, number) of the event that told a version, in the epoch.
    told: HashMap<(u32, u64), u64>,
    /// By id: files whose opening says something of the session. There are few.
    sensitive: HashMap<u64, Sensitive>,
    /// By a version under a path.
    ids: HashMap<Fingerprint, u64>,
    hashers: [RandomState; 2],
}

/// A version under a path, by two keyed hashes: paths are long, and a hundred thousand of them are remembered. The keys
/// are this process's own secret, so nobody can choose two versions that look the same.
type Fingerprint = [u64; 2];

impl Files {
    /// An open told in full.
    pub(super) fn opened(
        &mut self,
        file: decode::File,
        access: u32,
        fd: i32,
        head: &Head,
        content: &mut Content,
    ) -> log::Open {
        let (file_id, described) = self.accessed(file.path, &file.version, access, head, content);
        if self.told.len() < REMEMBERED_MAX {
            self.told.insert((head.cpu, head.number), file_id);
        }
        log::Open { file_id, file: described, access, fd }
    }

    /// An access of a version that an earlier event told; none if that event is not known.
    pub(super) fn again(
        &mut self,
        known: &agent_ebpf::OpenKnown,
        head: &Head,
        content: &mut Content,
    ) -> Option<log::Open> {
        if known.hook != u32::from(hook::OPEN) {
            return None;
        }
        let file_id = *self.told.get(&(known.cpu, known.number))?;
        content.accessed_again(file_id, Access { bits: known.access, writers: known.writers, ..moment(head) });
        Some(log::Open { file_id, file: None, access: known.access, fd: known.fd })
    }

    /// What the opening of a file says of the session.
    pub(super) fn consequence(&self, file_id: u64, access: u32, live: &HashMap<u32, u64>) -> Spot {
        self.sensitive.get(&file_id)?.opened(access, live)
    }

    /// A binary's id; its description only where the version was not told before.
    pub(super) fn binary(
        &mut self,
        path: Vec<u8>,
        exec: &agent_ebpf::Exec,
        head: &Head,
        content: &mut Content,
    ) -> log::File {
        let (id, described) = self.accessed(path, &exec.binary, access::EXEC, head, content);
        content.executed(id, (exec.measured == 1).then_some(exec.ima_sha256));
        described.unwrap_or_else(|| log::File { id, ..log::File::default() })
    }

    /// The id of a version under a path, and its description if the id is new.
    fn accessed(
        &mut self,
        path: Vec<u8>,
        file: &FileVersion,
        access: u32,
        head: &Head,
        content: &mut Content,
    ) -> (u64, Option<log::File>) {
        let told = Access { bits: access, writers: file.writers, verity: Some(file.verity != 0), ..moment(head) };
        let fingerprint = self.fingerprint(&path, file, head.flags & PATH_FLAGS);
        if let Some(&id) = self.ids.get(&fingerprint) {
            content.accessed_again(id, told);
            return (id, None);
        }
        self.next += 1;
        let id = self.next;
        if self.ids.len() < REMEMBERED_MAX {
            self.ids.insert(fingerprint, id);
        }
        if let Some(sensitive) = Sensitive::of(file, &path) {
            self.sensitive.insert(id, sensitive);
        }
        let described = describe(id, path, file);
        content.accessed(id, &described, file.generation, told, head.pid);
        (id, Some(described))
    }

    fn fingerprint(&self, path: &[u8], file: &FileVersion, flags: u32) -> Fingerprint {
        let stamp = (file.ctime_sec, file.ctime_nsec, file.size, file.mode, file.nlink);
        // Verity may come while the version stays: what was read before it is not what it seals.
        let place = (file.dev, file.ino, file.generation, file.verity, file.fs_magic, file.mnt_ns, file.mount_id);
        self.hashers.each_ref().map(|hasher| {
            let mut state = hasher.build_hasher();
            (path, stamp, place, flags).hash(&mut state);
            std::hash::Hasher::finish(&state)
        })
    }
}

/// When an access was, without what it was.
fn moment(head: &Head) -> Access {
    Access { bits: 0, writers: 0, verity: None, boottime_ns: head.boottime_ns, began_ns: head.began_ns() }
}

/// Magic of the file system that pipes are on.
const PIPEFS: u32 = 0x5049_5045;

/// A pipe, opened again by its descriptor, has no path of its own: it is named as /proc names it, below the root.
fn path_of(path: Vec<u8>, file: &FileVersion) -> Vec<u8> {
    if file.fs_magic == PIPEFS { format!("/pipe:[{}]", file.ino).into_bytes() } else { path }
}

fn describe(id: u64, path: Vec<u8>, file: &FileVersion) -> log::File {
    log::File {
        id,
        path: path_of(path, file),
        dev: file.dev,
        ino: file.ino,
        fs_magic: file.fs_magic,
        mode: file.mode,
        size: file.size,
        ctime_sec: file.ctime_sec,
        ctime_nsec: file.ctime_nsec,
        writers: file.writers,
        mnt_ns: file.mnt_ns,
        mount_id: file.mount_id,
        nlink: file.nlink,
    }
}
