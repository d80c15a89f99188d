//! Content: what the files that a session accessed held, as far as that can be known, and never more.
//!
//! An open is not a read, and a version stamp is not a content. Every (file id, version) of a session gets one class:
//!
//! * `kernel`: a file of ext4 that was under fs-verity at each of its accesses, so that its content could not change any more;
//!   the same inode, by its generation too, was under it when it was hashed. Neither writers nor times matter then.
//!   Or a version that was only executed: IMA measured it at each exec, while nobody had it open for writing, and what was hashed
//!   is the same. Where it is not, the version is `raced`.
//! * `stable`: tested file system; no writer at the access; the clock that stamps ctime was seen to have ticked since, before
//!   the version was read, so that any later change moves it (or: an inode that the session made, written by nobody else,
//!   and neither opened for writing in this version nor emptied since, so that nobody can have changed it in the tick of its
//!   ctime); hashed when the version was settled, with no writer before and after, the version the same before and after;
//!   the same version when every process of the session has ended. Where ctime moved meanwhile, the
//!   digest still holds if an inotify watch has been on the inode since before the hash and was silent (no store by a
//!   descriptor, no writer's close, no truncation), size and mtime are the same, and no writer is open at the end: so
//!   links, renames and modes do not end the chain. A watch that fired, a queue that overflowed or an inode that cannot be
//!   found again ends it.
//! * `ephemeral`: the session made the inode (by the kernel's own word on the open; it was empty), nobody else opened it for
//!   writing, and
//!   at the end it is gone or has another version. No digest is claimed.
//! * `raced`: there is a digest, and one of the above failed or could not be checked; the reason is the first that did.
//! * `absent`: no digest, with the reason.
//!
//! A row that made the file, or that only wrote it, says what was *left*: its digest is of the version at the end, and
//! `product` is set if the session made the inode. A file that was there before and was modified gets its final digest in
//! the same way, without `product`. A row that read says what was *read*.
//!
//! The room's own acts are bounded: nothing but regular files of local file systems is opened, by the object and not by the
//! name, as the session's user; what does not answer is left behind.

mod clock;
mod filesystem;
mod hash;
mod judge;
mod last;
mod look;
mod moves;
mod place;
mod pool;
mod reason;
mod silence;
mod table;
#[cfg(test)]
mod tests;
mod truncations;
mod version;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};

use agent_ebpf::access;
use proto::evidence::{File, name_change::Operation};
use rustix::fs::FileType;

use clock::{Age, Timekeeper, boottime_ns};
use filesystem::Kind;
use hash::{Moment, Outcome, Target};
use moves::Moves;
use place::Roots;
use pool::{Job, Pool, Report, Ticket};
use silence::Silence;
use table::{NONE, Table, flag};
use truncations::Truncations;
use version::{Identity, Stamp};

use crate::glob::Glob;

pub use clock::{Clock, Wall, realtime_offset_ns};
pub use last::Finding;
pub use pool::Caller;
#[cfg(test)]
pub use reason::REASONS;
pub use reason::Reason;

/// A written file is looked at this long after its open or its writer's close, and longer each time.
const SETTLE_NS: u64 = 10_000_000;
/// Settlings of one inode; what is written more often is hashed at the end.
const SETTLINGS_MAX: u8 = 8;
/// Accesses after which the room looks after its workers by itself.
const ACCESSES_PER_PUMP: u32 = 64;
/// Reports and jobs handled in one pump.
const PUMP_MAX: usize = 256;

/// The room's limits, each with what happens at it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a file; a larger one is `absent`.
    pub file_bytes_max: u64,
    /// Threads that hash.
    pub workers: usize,
    /// Files handed to the workers and not taken; more wait in the room's own list.
    pub queue_max: usize,
    /// File ids; more are `absent`.
    pub files_max: usize,
    /// Moves of names that are remembered; beyond that a file made and not found is `absent`.
    pub moves_max: usize,
    /// Inodes watched at once; without a watch a moved ctime ends a digest's chain.
    pub watches_max: u32,
    /// Mount namespaces; files of more are `absent`.
    pub namespaces_max: usize,
    /// Milliseconds without any progress after which a worker counts as held by a file system.
    pub blocked_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes_max: 4 << 30,
            workers: 2,
            queue_max: 1024,
            files_max: 2_000_000,
            moves_max: 65_536,
            watches_max: 32_768,
            namespaces_max: 256,
            blocked_ms_max: 2_000,
        }
    }
}

/// An access of a file, as the kernel side saw it.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Bits of [`agent_ebpf::access`].
    pub bits: u32,
    /// The inode's count of writers.
    pub writers: i32,
    /// Whether the inode was under fs-verity; none where the event that told the version says it. What is once, stays.
    pub verity: Option<bool>,
    /// A moment before the version was read, CLOCK_BOOTTIME; 0 where none is known.
    pub began_ns: u64,
    /// When it was told, CLOCK_BOOTTIME: after the version was read.
    pub boottime_ns: u64,
}

/// Why the room cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// inotify, or our own root.
    #[error("the content hashers could not be set up")]
    Setup(#[source] rustix::io::Errno),
    /// No thread.
    #[error("a thread for hashing could not be started")]
    Thread(#[source] std::io::Error),
    /// The rights of the session's user could not be taken.
    #[error("a hasher could not take the rights of the session's user")]
    Rights(#[source] std::io::Error),
    /// A defect in the room.
    #[error("a hasher failed: {0}")]
    Panicked(String),
}

/// What is known of the contents that a session accesses.
#[derive(Debug)]
pub struct Content {
    limits: Limits,
    clock: Timekeeper,
    table: Table,
    moves: Moves,
    roots: Roots,
    pool: Pool,
    silence: Silence,
    /// Inodes that somebody outside opened for writing, as (device, number).
    outside: HashSet<(u32, u64)>,
    /// Versions and inodes to hash at once, in the order of their accesses.
    due: VecDeque<Ticket>,
    /// Inodes and versions to hash later, by time.
    later: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Ids beyond the limit.
    beyond: Vec<u64>,
    accesses: u32,
    truncations: Truncations,
    lossy: bool,
    /// What counts as a product among the files made or written; none: every file made.
    products: Vec<Glob>,
}

impl Content {
    /// Starts the workers. With a `caller` other than root they hash only what that user may read; this needs the rights
    /// to become that user.
    ///
    /// # Errors
    /// [`Error`], where threads, inotify or the rights are not to be had.
    pub fn start(limits: Limits, clock: Clock, caller: Option<Caller>) -> Result<Self, Error> {
        Self::with(limits, Timekeeper::start(clock), caller)
    }

    /// The same for a session that may have begun before the call, while somebody watched the clock.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_by(limits: Limits, wall: &mut Wall, caller: Option<Caller>) -> Result<Self, Error> {
        Self::with(limits, wall.fork(), caller)
    }

    fn with(limits: Limits, clock: Timekeeper, caller: Option<Caller>) -> Result<Self, Error> {
        let (silence, inotify) = Silence::start().map_err(Error::Setup)?;
        let caller = caller.filter(|caller| caller.uid != 0);
        Ok(Self {
            roots: Roots::start(limits.namespaces_max).map_err(Error::Setup)?,
            pool: Pool::start(&limits, clock.grain, inotify, caller)?,
            moves: Moves::new(limits.moves_max),
            table: Table::default(),
            clock,
            silence,
            outside: HashSet::new(),
            due: VecDeque::new(),
            later: BinaryHeap::new(),
            beyond: Vec::new(),
            accesses: 0,
            truncations: Truncations::default(),
            lossy: false,
            products: Vec::new(),
            limits,
        })
    }

    /// From now on files made or written, and left, are products by their path, not by having been made.
    pub fn name_products(&mut self, products: Vec<Glob>) {
        self.products = products;
    }

    /// A file version was accessed, told in full. `generation` is its inode's, and `pid` a process that was in the file's
    /// mount namespace. Never blocks; the same id may come again, under another name.
    pub fn accessed(&mut self, file_id: u64, file: &File, generation: u32, access: Access, pid: u32) {
        let row = match self.table.row(file_id) {
            Some(row) => {
                self.named_again(row, file);
                row
            }
            None if self.table.rows.len() >= self.limits.files_max => {
                self.beyond.push(file_id);
                // A writer perhaps, of a version that others read by a name that is known.
                self.lossy = true;
                return;
            }
            None => match self.enter(file_id, file, generation, access, pid) {
                Ok(row) => row,
                Err(reason) => return self.table.refuse(file_id, access.began_ns, reason),
            },
        };
        self.note(row, access);
        self.pump_now_and_then();
    }

    /// A version told before was accessed again, or by another process.
    pub fn accessed_again(&mut self, file_id: u64, access: Access) {
        if let Some(row) = self.table.row(file_id) {
            self.note(row, access);
            self.pump_now_and_then();
        }
    }

    /// A version became a program. With what IMA measured of it then, by SHA-256 and while nobody had it open for writing.
    pub fn executed(&mut self, file_id: u64, ima: Option<[u8; 32]>) {
        let Some(row) = self.table.row(file_id) else { return };
        let told = ima.is_some_and(|ima| *self.table.ima.entry(row).or_insert(ima) == ima);
        if !told {
            self.table.rows[row as usize].flags |= flag::UNMEASURED;
        }
    }

    /// A task outside the session opened one of its inodes for writing.
    pub fn outside_write(&mut self, dev: u32, ino: u64) {
        self.outside.insert((dev, ino));
    }

    /// A file of the session's is gone, and a task outside has another with its inode number.
    pub fn number_reused(&mut self, dev: u32, ino: u64) {
        self.table.bury(dev, ino);
    }

    /// The session moved a name or truncated a file, and succeeded; other operations are ignored. Paths are absolute.
    pub fn name_changed(&mut self, operation: Operation, path: &[u8], target: &[u8], boottime_ns: u64) {
        if operation == Operation::Truncate {
            self.truncations.note(path, boottime_ns);
        }
        self.moves.note(operation, path, target, boottime_ns);
    }

    /// A task outside the session may have written some file, nobody can say which: it truncated one by its name, or acted by
    /// the 32-bit entry or through a ring.
    pub fn unseen_writer(&mut self, boottime_ns: u64) {
        self.truncations.note_unnamed(boottime_ns);
    }

    /// Reports of the kernel side were lost: what rests on having seen every open for writing is not claimed.
    pub fn lost(&mut self) {
        self.lossy = true;
    }

    /// Hands work to the workers and takes their results; never blocks. To be called whenever the ring was emptied, and at
    /// least every 100 ms while it stays empty: hashing goes on only from here.
    pub fn pump(&mut self) {
        let now = boottime_ns();
        self.clock.sample(now);
        for _ in 0..PUMP_MAX {
            let Some(report) = self.pool.report() else { break };
            self.reported(report, now);
        }
        for inode in self.silence.listen() {
            self.settle_later(inode, now);
        }
        self.publish_watches();
        self.hand_out(now);
    }

    /// Versions hashed so far.
    #[cfg(test)]
    fn hashed(&self) -> usize {
        self.table.digests.len()
    }

    /// Whether nothing is under way.
    #[cfg(test)]
    fn idle(&self) -> bool {
        self.pool.idle() && self.due.is_empty() && self.later.is_empty()
    }

    fn pump_now_and_then(&mut self) {
        self.accesses = self.accesses.wrapping_add(1);
        if self.accesses.is_multiple_of(ACCESSES_PER_PUMP) {
            self.pump();
        }
    }

    fn enter(&mut self, file_id: u64, file: &File, generation: u32, access: Access, pid: u32) -> Result<u32, Reason> {
        let kind = Kind::of(file.fs_magic);
        if let Some(reason) = kind.refusal() {
            return Err(reason);
        }
        if FileType::from_raw_mode(file.mode) != FileType::RegularFile {
            return Err(Reason::NotRegular);
        }
        if place::split(&file.path).is_none() || file.mnt_ns == 0 {
            return Err(Reason::NoPath);
        }
        self.roots.sight(file.mnt_ns, pid);
        if self.roots.of(file.mnt_ns).is_none() {
            return Err(Reason::NamespaceGone);
        }
        let identity = Identity { ino: file.ino, dev: file.dev, mount_id: file.mount_id, kind };
        if access.bits & access::CREATED != 0 {
            self.table.bury(file.dev, file.ino);
        }
        let inode = self.table.inode(identity, generation, file.mnt_ns, &file.path);
        let version = self.table.version(inode, Stamp::of(file));
        let name = self.table.name(inode, &file.path);
        Ok(self.table.enter(file_id, access.began_ns, version, name))
    }

    /// The same id under another path.
    fn named_again(&mut self, row: u32, file: &File) {
        let version = self.table.rows[row as usize].version;
        if let Some(version) = self.table.versions.get(version as usize) {
            self.table.name(version.inode, &file.path);
        }
    }

    /// Notes an access and orders what it makes necessary.
    fn note(&mut self, row: u32, access: Access) {
        let Access { bits, writers, verity, began_ns, boottime_ns } = access;
        let row = &mut self.table.rows[row as usize];
        let at = row.version;
        let Some(version) = self.table.versions.get_mut(at as usize) else { return };
        let inode = &mut self.table.inodes[version.inode as usize];
        row.first_ns = row.first_ns.min(began_ns);
        let (reads, writes) = (bits & (access::READ | access::EXEC) != 0, bits & access::WRITE != 0);
        let own = i32::from(writes);
        if verity == Some(false) {
            row.flags |= flag::UNSEALED;
        }
        row.flags |= match (reads, writes) {
            (true, true) => flag::READ_WRITE,
            (true, false) => flag::READ,
            (false, true) => flag::WRITE,
            (false, false) => 0,
        };
        if reads && bits & access::EXEC == 0 {
            row.flags |= flag::NOT_EXECUTED;
        }
        inode.wanted |= reads || writes;
        inode.written |= writes;
        version.opened_to_write |= writes;
        if reads && writers > own {
            row.flags |= flag::BUSY;
        }
        if bits & access::CREATED != 0 {
            row.flags |= flag::CREATED;
            inode.made_ns = inode.made_ns.min(began_ns);
            // One that holds something when it is first seen was written before anybody was watched for.
            inode.shared_at_birth |= writers > own || version.stamp.size > 0;
        } else if writes && bits & access::TRUNCATED != 0 {
            inode.emptied_ns = inode.emptied_ns.max(boottime_ns);
        }
        let age = self.clock.age(&version.stamp, &access);
        if reads {
            row.flags |= match age {
                Age::Settled => 0,
                Age::Fresh => flag::FRESH,
                Age::Future => flag::FUTURE,
            };
        }
        let inode = version.inode;
        if writes {
            self.settle_later(inode, boottime_ns);
        } else if reads {
            self.order(inode, at, age, boottime_ns);
        }
    }

    /// Orders the hash of a version that was read. A file that the session writes is hashed when its writers are done.
    fn order(&mut self, inode: u32, version: u32, age: Age, now_ns: u64) {
        let ordered = &mut self.table.versions[version as usize].ordered;
        if *ordered || self.table.inodes[inode as usize].written {
            return;
        }
        *ordered = true;
        match age {
            Age::Settled => self.due.push_back(Ticket { inode, version }),
            Age::Fresh => self.later.push(Reverse((now_ns + SETTLE_NS, inode, version))),
            Age::Future => {}
        }
    }

    /// Orders a look at a written inode, unless one is on its way or there were enough.
    fn settle_later(&mut self, inode: u32, now_ns: u64) {
        let record = &mut self.table.inodes[inode as usize];
        if !record.written || record.settling || record.settlings >= SETTLINGS_MAX {
            return;
        }
        record.settling = true;
        self.later.push(Reverse((now_ns + (SETTLE_NS << record.settlings), inode, NONE)));
        record.settlings += 1;
    }

    /// Gives the workers what is due, as much as their queue takes.
    fn hand_out(&mut self, now_ns: u64) {
        while let Some(Reverse((at, inode, version))) = self.later.peek().copied()
            && at <= now_ns
        {
            self.later.pop();
            self.due.push_back(Ticket { inode, version });
        }
        for _ in 0..PUMP_MAX {
            let Some(ticket) = self.due.front().copied() else { break };
            let Some(target) = self.target(ticket) else {
                self.due.pop_front();
                continue;
            };
            let expected = self.table.versions.get(ticket.version as usize).map(|version| version.stamp);
            if self.pool.offer(Job::Hash(ticket, target, expected, Moment::Running)).is_err() {
                break;
            }
            self.due.pop_front();
        }
    }

    /// Where a file is to be found now: under its last name, which is the newest.
    fn target(&self, ticket: Ticket) -> Option<Target> {
        let inode = &self.table.inodes[ticket.inode as usize];
        if inode.buried {
            return None;
        }
        let name = self.table.names_of(ticket.inode).last()?;
        let root = self.roots.of(inode.mnt_ns)?;
        let (identity, generation) = (inode.identity, inode.generation);
        Some(Target { root: root.clone(), path: self.table.path(name)?, identity, generation })
    }

    fn reported(&mut self, report: Report, now_ns: u64) {
        let Report::Hashed(ticket, outcome) = report else { return };
        let settling = ticket.version == NONE;
        if settling {
            self.table.inodes[ticket.inode as usize].settling = false;
        }
        match outcome {
            Outcome::Hashed(stamp, digest) => {
                let watch = digest.watch;
                let version = self.table.version(ticket.inode, stamp);
                self.table.keep(version, digest);
                self.watched(watch, ticket.inode, now_ns);
            }
            Outcome::Writing(watch) => self.watched(watch, ticket.inode, now_ns),
            Outcome::Fresh | Outcome::Changed if settling => self.settle_later(ticket.inode, now_ns),
            // The last pass looks again.
            Outcome::Fresh | Outcome::Changed | Outcome::Failed(_) => {}
        }
    }

    /// A worker set a watch; it may have fired before we hear of it.
    fn watched(&mut self, watch: i32, inode: u32, now_ns: u64) {
        if watch != 0 && !self.silence.watched(watch, inode) {
            self.settle_later(inode, now_ns);
        }
    }

    fn publish_watches(&self) {
        self.pool.tools().watches.store(self.silence.alive(), std::sync::atomic::Ordering::Relaxed);
    }
}
