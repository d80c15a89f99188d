//! One file: found again, proven to be the one of the event, watched, asked for writers, read, and all of it once more.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::inotify::{WatchFlags, add_watch};
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::clock::Grain;
use super::place;
use super::reason::Reason;
use super::version::{Identity, Seen, Stamp};
use crate::probe::lease;
use crate::probe::verity::{self, Measure};

/// Bytes read at once, by each worker.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;
/// Files from this size on are announced to the kernel as read from front to back.
const LARGE_BYTES: u64 = 1 << 20;
/// What ends the silence of a file: a store by a descriptor, a writer's close, a truncation by name, the inode's end. Only
/// the first is reported, so that a busy file cannot flood the queue.
const BROKEN_SILENCE: WatchFlags =
    WatchFlags::MODIFY.union(WatchFlags::CLOSE_WRITE).union(WatchFlags::DELETE_SELF).union(WatchFlags::ONESHOT);

/// What is known of writers around a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writers {
    /// None before and none after.
    None,
    /// One was open.
    Open,
    /// The kernel would not say.
    Unknown,
}

/// A digest and the circumstances it was taken in.
#[derive(Debug, Clone)]
pub(super) struct Digest {
    pub(super) sha256: [u8; 32],
    pub(super) mtime_sec: i64,
    pub(super) mtime_nsec: u32,
    /// The watch that has been on the inode since before the hash; 0 if there is none.
    pub(super) watch: i32,
    pub(super) writers: Writers,
    /// What the kernel measured, of an inode that is proven to be the target's by its generation too.
    pub(super) measure: Option<Box<Measure>>,
}

/// Which file to hash.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) root: Arc<OwnedFd>,
    pub(super) path: Vec<u8>,
    pub(super) identity: Identity,
    /// Tells the inode from another that has or had its number.
    pub(super) generation: u32,
}

/// When, and so how patiently, a file is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// While the session runs: a young version or an open writer is left for later.
    Running,
    /// After its processes have ended: what is there is hashed.
    Ended,
}

/// What came of hashing a file.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Hashed(Stamp, Digest),
    /// The version is not the one expected, or moved while the file was read.
    Changed,
    /// A writer has it open; the watch that tells of its close, 0 if there is none.
    Writing(i32),
    /// The version's time can still be given to another change.
    Fresh,
    /// No digest will come of it.
    Failed(Reason),
}

/// What a probe saw: the version, and who can write it.
pub(super) type Probe = (Seen, Writers);

/// What all workers share.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) grain: Grain,
    pub(super) file_bytes_max: u64,
    pub(super) inotify: OwnedFd,
    pub(super) watches: AtomicU32,
    pub(super) watches_max: u32,
    /// Moves whenever any worker gets on.
    pub(super) beat: AtomicU64,
}

/// Hashes one file. `expected` is the version to find, if only that one is of use.
pub(super) fn hash(
    tools: &Tools,
    target: &Target,
    expected: Option<&Stamp>,
    moment: Moment,
    buffer: &mut [u8],
) -> Outcome {
    let (file, seen) = match open(tools, target, expected) {
        Ok(opened) => opened,
        Err(outcome) => return outcome,
    };
    // Under fs-verity nothing can write it, and its time is of no matter.
    let measure = sealed(&file, &seen, target);
    let open_to_change = measure.is_none() && moment == Moment::Running;
    // The watch before the question: a writer that closes in between is reported, one that does not is seen.
    let watch = if moment == Moment::Running { tools.watch(&file) } else { 0 };
    let before = writers(&file);
    if open_to_change {
        if before == Writers::Open {
            return Outcome::Writing(watch);
        }
        if tools.grain.remaining_ns(&seen.stamp) > 0 {
            return Outcome::Fresh;
        }
    }
    match read_between(tools, &file, &seen, buffer) {
        Ok(sha256) => {
            let writers = both(before, writers(&file));
            if writers == Writers::Open && open_to_change {
                return Outcome::Writing(watch);
            }
            let Seen { mtime_sec, mtime_nsec, .. } = seen;
            Outcome::Hashed(seen.stamp, Digest { sha256, mtime_sec, mtime_nsec, watch, writers, measure })
        }
        Err(outcome) => outcome,
    }
}

/// Looks at a file that was hashed, without reading it: what is there now and who can write it.
pub(super) fn probe(target: &Target) -> Option<Probe> {
    let object = place::resolve(&target.root, &target.path).ok()?;
    let seen = Seen::of(&object).ok().filter(|seen| seen.is(&target.identity))?;
    let file = place::reopen(&object).ok()?;
    let writers = writers(&file);
    // After the question: a writer that came and went is in this version or in the watch.
    let after = Seen::of(&file).ok()?;
    (after == seen).then_some((seen, writers))
}

/// The file of the event, open for reading, and what it is now.
fn open(tools: &Tools, target: &Target, expected: Option<&Stamp>) -> Result<(OwnedFd, Seen), Outcome> {
    let object = place::resolve(&target.root, &target.path).map_err(|fault| Outcome::Failed(no_way(fault)))?;
    let seen = Seen::of(&object).map_err(|_| Outcome::Failed(Reason::Unreadable))?;
    if !seen.is(&target.identity) {
        return Err(Outcome::Failed(Reason::NotFoundAgain));
    }
    if expected.is_some_and(|stamp| *stamp != seen.stamp) {
        return Err(Outcome::Changed);
    }
    if seen.stamp.size > tools.file_bytes_max {
        return Err(Outcome::Failed(Reason::TooLarge));
    }
    let file = place::reopen(&object).map_err(|_| Outcome::Failed(Reason::Unreadable))?;
    Ok((file, seen))
}

/// What the kernel measured of a file under fs-verity, if it is the target's inode: its number may have been given to another.
fn sealed(file: &OwnedFd, seen: &Seen, target: &Target) -> Option<Box<Measure>> {
    if !seen.verity || !target.identity.kind.keeps_verity() {
        return None;
    }
    let same = verity::generation(file.as_fd()).is_ok_and(|generation| generation == target.generation);
    verity::measure(file.as_fd()).ok().flatten().filter(|_| same).map(Box::new)
}

fn no_way(fault: Errno) -> Reason {
    match fault {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Reason::Gone,
        _ => Reason::Unreadable,
    }
}

/// Reads the whole file; the version must be `seen` before the first byte and after the last.
fn read_between(tools: &Tools, file: &OwnedFd, seen: &Seen, buffer: &mut [u8]) -> Result<[u8; 32], Outcome> {
    let unreadable = |_| Outcome::Failed(Reason::Unreadable);
    if Seen::of(file).map_err(unreadable)? != *seen {
        return Err(Outcome::Changed);
    }
    if seen.stamp.size >= LARGE_BYTES {
        // Advice: nothing depends on it.
        let _ = fadvise(file, 0, None, Advice::Sequential);
    }
    let (sha256, bytes) = digest(tools, file, buffer).map_err(unreadable)?;
    if bytes != seen.stamp.size || Seen::of(file).map_err(unreadable)? != *seen {
        return Err(Outcome::Changed);
    }
    Ok(sha256)
}

/// SHA-256 of what a descriptor gives, and how many bytes that was; it stops one buffer beyond the limit.
fn digest(tools: &Tools, file: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<([u8; 32], u64)> {
    let mut sha256 = Sha256::new();
    let mut bytes = 0u64;
    while bytes <= tools.file_bytes_max {
        tools.beat.fetch_add(1, Ordering::Relaxed);
        match rustix::io::read(file, &mut *buffer) {
            Ok(0) => break,
            Ok(count) => {
                sha256.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(Errno::INTR) => {}
            // A file system that answers like a pipe is no regular file, whatever it says.
            Err(fault) => return Err(fault),
        }
    }
    Ok((sha256.finalize().into(), bytes))
}

fn writers(file: &OwnedFd) -> Writers {
    match lease::no_writer(file.as_fd()) {
        Ok(true) => Writers::None,
        Ok(false) => Writers::Open,
        Err(_) => Writers::Unknown,
    }
}

fn both(before: Writers, after: Writers) -> Writers {
    match (before, after) {
        (Writers::Open, _) | (_, Writers::Open) => Writers::Open,
        (Writers::None, Writers::None) => Writers::None,
        _ => Writers::Unknown,
    }
}

impl Tools {
    /// Watches an inode for the end of its silence; 0 where it cannot be.
    fn watch(&self, file: &OwnedFd) -> i32 {
        if self.watches.load(Ordering::Relaxed) >= self.watches_max {
            return 0;
        }
        add_watch(&self.inotify, place::own_link(file), BROKEN_SILENCE).unwrap_or(0)
    }
}
