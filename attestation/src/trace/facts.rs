//! A finished trace: what a statement says, in the order of the log.

use super::acts::{Act, ActRow};
use super::coverage::{CoverageLevel, Finding, HookRow};
use super::files::Files;
use super::intern::{Interner, Text};
use super::network::Contact;
use super::processes::{ExecRow, Process};
use crate::codes::{self, Kind};
use crate::merkle::Hash;
use prost::Message as _;
use proto::evidence::{self as log, Class, Level, name_change::Operation};

/// The facts of a session.
#[derive(Debug)]
pub struct Trace {
    pub(super) opened: log::SessionOpened,
    pub(super) closed: Option<log::SessionClosed>,
    pub(super) container: Option<Box<log::Container>>,
    pub(super) strings: Interner,
    pub(super) processes: Vec<Process>,
    pub(super) files: Files,
    pub(super) contacts: Vec<Contact>,
    pub(super) names: Vec<NameRow>,
    pub(super) acts: Vec<ActRow>,
    /// (file, name), in the order of files.
    pub(super) products: Vec<(u32, Text)>,
    pub(super) coverage: Vec<HookRow>,
    pub(super) level: CoverageLevel,
    pub(super) gaps: Vec<Finding>,
    pub(super) blind_spots: Vec<Finding>,
    pub(super) survivors: Vec<(u32, u64)>,
}

#[derive(Debug)]
pub(super) struct NameRow {
    pub(super) process: u32,
    pub(super) operation: Operation,
    pub(super) level: Level,
    pub(super) path: Text,
    pub(super) target: Text,
    pub(super) result: i32,
    pub(super) boottime_ns: u64,
}

/// A program that a process ran.
#[derive(Debug, Clone, Copy)]
pub struct Exec<'a> {
    /// When, CLOCK_BOOTTIME.
    pub boottime_ns: u64,
    /// Path of what the kernel ran: for a script, its interpreter.
    pub binary: &'a [u8],
    /// Index of that file in [`Trace::files`].
    pub binary_file: u32,
    /// What execve was given.
    pub filename: &'a [u8],
    /// The kernel's `bprm->interp`; empty if equal to the filename.
    pub interpreter: &'a [u8],
    /// Working directory.
    pub directory: &'a [u8],
    /// Arguments, each followed by a NUL.
    pub args: &'a [u8],
    /// uid, gid, euid, egid.
    pub ids: [u32; 4],
    /// Effective capabilities.
    pub cap_effective: u64,
    /// Inode numbers of the pid, mount, network and user namespace.
    pub namespaces: [u64; 4],
}

impl<'a> Exec<'a> {
    /// The arguments one by one.
    pub fn argv(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let args = self.args.strip_suffix(b"\0").unwrap_or(self.args);
        let whole = if self.args.is_empty() { None } else { Some(args) };
        whole.into_iter().flat_map(|args| args.split(|byte| *byte == 0))
    }

    /// The name that the kernel gives the process: the last component of the filename, 15 bytes of it.
    #[must_use]
    pub fn comm(&self) -> &'a [u8] {
        let name = self.filename.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        name.get(..15).unwrap_or(name)
    }
}

/// A file version under one path.
#[derive(Debug, Clone, Copy)]
pub struct FileVersion<'a> {
    /// Index in [`Trace::files`].
    pub index: u32,
    /// Id in the log.
    pub id: u64,
    /// Absolute path from the root of the mount namespace.
    pub path: &'a [u8],
    /// Kernel `dev_t` of the superblock.
    pub dev: u32,
    /// Inode number.
    pub ino: u64,
    /// Magic of the file system.
    pub fs_magic: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Size at the access.
    pub size_bytes: u64,
    /// ctime at the access, seconds.
    pub ctime_sec: i64,
    /// ctime at the access, nanoseconds.
    pub ctime_nsec: u32,
    /// Inode number of the mount namespace.
    pub mnt_ns: u64,
    /// The path's last name was gone at the access.
    pub deleted: bool,
    /// Bits of [`super::access`], of all accesses together.
    pub access: u8,
    /// Accesses, folded ones included.
    pub accesses: u64,
    /// Class of the digest.
    pub class: Class,
    /// Code of the reason for the class; may be empty.
    pub reason: &'a str,
    /// The digest, where the class has one.
    pub sha256: Option<&'a Hash>,
    /// The kernel's own measure, of some whose class is `kernel`.
    pub measure: Option<&'a log::Measure>,
    /// Created by the session and left behind.
    pub product: bool,
    /// (file, process, access bits), in the order of processes.
    edges: &'a [(u32, u32, u8)],
}

impl<'a> FileVersion<'a> {
    /// Indexes of the processes that accessed it, with their access bits.
    pub fn processes(&self) -> impl ExactSizeIterator<Item = (u32, u8)> + use<'a> {
        self.edges.iter().map(|edge| (edge.1, edge.2))
    }
}

/// A change of names.
#[derive(Debug, Clone, Copy)]
pub struct NameChange<'a> {
    /// Index of the process.
    pub process: u32,
    /// What was done.
    pub operation: Operation,
    /// How the names were taken.
    pub level: Level,
    /// The name.
    pub path: &'a [u8],
    /// New name of a rename or a link, text of a symlink.
    pub target: &'a [u8],
    /// 0 or -errno.
    pub result: i32,
    /// When, CLOCK_BOOTTIME.
    pub boottime_ns: u64,
}

impl Trace {
    /// What the session is, as the log has it.
    #[must_use]
    pub fn opened(&self) -> &log::SessionOpened {
        &self.opened
    }

    /// How it was closed, if it was.
    #[must_use]
    pub fn closed(&self) -> Option<&log::SessionClosed> {
        self.closed.as_ref()
    }

    /// Processes in the order of their beginning; an index means a place here.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The programs that a process ran, in order.
    pub fn execs<'a>(&'a self, process: &'a Process) -> impl DoubleEndedIterator<Item = Exec<'a>> {
        process.execs.iter().map(|row| self.exec(row))
    }

    fn exec<'a>(&'a self, row: &'a ExecRow) -> Exec<'a> {
        let file = self.files.rows.get(row.binary as usize);
        Exec {
            boottime_ns: row.boottime_ns,
            binary: file.map_or(&[], |file| self.strings.get(file.path)),
            binary_file: row.binary,
            filename: self.strings.get(row.filename),
            interpreter: self.strings.get(row.interpreter),
            directory: self.strings.get(row.directory),
            args: &row.args,
            ids: row.ids,
            cap_effective: row.cap_effective,
            namespaces: row.namespaces,
        }
    }

    /// File versions in the order of their first access.
    pub fn files(&self) -> impl Iterator<Item = FileVersion<'_>> {
        (0..).zip(&self.files.rows).map(|(index, row)| FileVersion {
            index,
            id: row.id,
            path: self.strings.get(row.path),
            dev: row.dev,
            ino: row.ino,
            fs_magic: row.fs_magic,
            mode: row.mode,
            size_bytes: row.size,
            ctime_sec: row.ctime_sec,
            ctime_nsec: row.ctime_nsec,
            mnt_ns: row.mnt_ns,
            deleted: row.deleted,
            access: row.access,
            accesses: row.accesses,
            class: row.class,
            reason: self.files.reason_of(row),
            sha256: self.files.digest_of(row),
            measure: self.files.measure_of(row),
            product: row.product,
            edges: self.files.edges_of(index),
        })
    }

    /// Name and digest of what the session left behind, under the name where it is at the end, in the order of first access.
    pub fn products(&self) -> impl Iterator<Item = (&[u8], &Hash)> {
        self.products.iter().filter_map(|(index, name)| {
            let row = self.files.rows.get(*index as usize)?;
            Some((self.strings.get(*name), self.files.digest_of(row)?))
        })
    }

    /// The container that the session is, as its runtime's store says it.
    pub fn container(&self) -> Option<&log::Container> {
        self.container.as_deref()
    }

    /// Name and digest of the image that a session of a container was started from, where that is known.
    pub fn image(&self) -> Option<(&str, &Hash)> {
        let container = self.container().filter(|_| self.opened.kind == "container")?;
        let sha256 = container.image_sha256.as_slice().try_into().ok()?;
        Some((container.image.as_str(), sha256))
    }

    /// Changes of names, in the log's order.
    pub fn names(&self) -> impl Iterator<Item = NameChange<'_>> {
        self.names.iter().map(|row| NameChange {
            process: row.process,
            operation: row.operation,
            level: row.level,
            path: self.strings.get(row.path),
            target: self.strings.get(row.target),
            result: row.result,
            boottime_ns: row.boottime_ns,
        })
    }

    /// Acts beyond files, names and peers, in the log's order.
    pub fn acts(&self) -> impl ExactSizeIterator<Item = Act<'_>> {
        self.acts.iter().map(|row| Act {
            process: row.process,
            call: str::from_utf8(self.strings.get(row.call)).unwrap_or_default(),
            arguments: &row.arguments,
            result: row.result,
            texts: row.texts.map(|text| text.map(|text| self.strings.get(text))),
            outside: row.outside,
            file: row.file,
            boottime_ns: row.boottime_ns,
        })
    }

    /// Contacts in the order of their first act, each with the peer's address: 4 or 16 bytes, or a socket's path.
    pub fn contacts(&self) -> impl Iterator<Item = (&Contact, &[u8])> {
        self.contacts.iter().map(|contact| (contact, self.strings.get(contact.address)))
    }

    /// The DNS message of a contact that is one.
    #[must_use]
    pub fn dns(&self, contact: &Contact) -> Option<log::Dns> {
        log::Dns::decode(self.strings.get(contact.message?)).ok()
    }

    /// A row for each hook, in the order in which the session declared them.
    #[must_use]
    pub fn coverage(&self) -> &[HookRow] {
        &self.coverage
    }

    /// The lowest level that content and peers rest on.
    #[must_use]
    pub fn level(&self) -> CoverageLevel {
        self.level
    }

    /// What recomputing found; each ends completeness. By code, then by detail.
    #[must_use]
    pub fn gaps(&self) -> &[Finding] {
        &self.gaps
    }

    /// What the agent reported. By code, then by detail.
    #[must_use]
    pub fn blind_spots(&self) -> &[Finding] {
        &self.blind_spots
    }

    /// (pid, start) of the processes that still lived at the end.
    #[must_use]
    pub fn survivors(&self) -> &[(u32, u64)] {
        &self.survivors
    }

    /// Whether the numbers agree: nothing was lost, cut or skipped.
    #[must_use]
    pub fn lossless(&self) -> bool {
        let is_loss = |gap: &Finding| codes::find(&gap.code).is_none_or(|code| code.kind == Kind::Loss);
        !self.gaps.iter().any(is_loss)
    }

    /// Whether nothing ended completeness.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.incompleteness().next().is_none()
    }

    /// What ended completeness.
    pub fn incompleteness(&self) -> impl Iterator<Item = &Finding> {
        self.gaps.iter().chain(&self.blind_spots).filter(|finding| finding.ends_completeness)
    }

    /// Files by class, in the order kernel, stable, ephemeral, raced, absent. Files whose content was not accessed
    /// are left out, as they are from the statement.
    #[must_use]
    pub fn class_counts(&self) -> [u64; 5] {
        let mut counts = [0; 5];
        for row in self.files.rows.iter().filter(|row| row.access & super::access::CONTENT != 0) {
            let place = match row.class {
                Class::Kernel => 0,
                Class::Stable => 1,
                Class::Ephemeral => 2,
                Class::Raced => 3,
                Class::Absent | Class::Unspecified => 4,
            };
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
        }
        counts
    }

    /// Wall-clock nanoseconds since 1970 of a boot-time instant, by the offset at the session's opening.
    #[must_use]
    pub fn unix_ns(&self, boottime_ns: u64) -> i128 {
        i128::from(boottime_ns) + i128::from(self.opened.realtime_offset_ns)
    }
}
