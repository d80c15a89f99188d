//! What the log says against what the readers got.
//!
//! A reader is one thread, so the event of an open lies between the two times that the reader took around it. An open
//! without an event of its own repeats an earlier one of the same process and path, and is held to be one of those that
//! stand for repeats.

use std::collections::HashMap;
use std::fmt;

use proto::evidence::{Class, frame};
use tests::{Opened, Record};

use crate::truth::{Read, Reads, Written};

/// A lie, in words.
type Lie = String;
const OVERLAY: u32 = 0x794C_7630;
/// Lies that are shown.
const SHOWN_MAX: usize = 20;

/// What came of the rounds so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) reads: u64,
    pub(crate) torn: u64,
    pub(crate) stable: u64,
    pub(crate) ephemeral: u64,
    pub(crate) repeats: u64,
    pub(crate) quiet: u64,
    pub(crate) quiet_stable: u64,
    lies: Vec<Lie>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.torn += other.torn;
        self.stable += other.stable;
        self.ephemeral += other.ephemeral;
        self.repeats += other.repeats;
        self.quiet += other.quiet;
        self.quiet_stable += other.quiet_stable;
        self.lies.extend(other.lies);
    }

    /// Fails with the lies, if there are any.
    pub(crate) fn must_be_true(&self, name: &str, seed: u32) {
        let shown = self.lies.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.lies.is_empty(), "{name}, seed {seed}: {} lies, {self}\n{shown}", self.lies.len());
    }

    /// Fails where writers and readers never met: then nothing was tested. What is explained by its writers shows on file
    /// systems that show all writers.
    pub(crate) fn must_be_a_race(&self, shows_writers: bool) {
        assert!(self.torn > 0, "no read was torn: {self}");
        assert!(self.repeats > 0, "no read was a repeat: {self}");
        assert!(self.ephemeral > 0 || !shows_writers, "nothing was ephemeral: {self}");
        assert!(self.quiet > 0 && self.reads > self.quiet, "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, torn, stable, ephemeral, repeats, quiet, quiet_stable, .. } = self;
        write!(
            out,
            "{reads} reads ({repeats} folded), {torn} torn, {stable} stable, {ephemeral} ephemeral; of quiet files \
             {quiet_stable} of {quiet} stable"
        )
    }
}

/// What was said of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    class: Class,
    sha256: Option<[u8; 32]>,
}

/// Compares a session's log with the truth.
pub(crate) fn judge(record: &Record, reads: &Reads, written: &Written) -> Tally {
    record.must_balance();
    assert!(record.claims.lossless, "events were lost: the ring is too small for this race");
    let said = said(record);
    let opens = record.opens();
    let mut tally = Tally::default();
    // At the end of a system call nobody knows which file was truncated by its name: docs/threats.md says so.
    let sees_truncations = record.sees_before("truncate");
    for open in opens.iter().filter(|open| said[&open.file.id].class == Class::Ephemeral) {
        let (path, ino) = (&open.file.path, open.file.ino);
        let outside = written.opened(path, ino) || sees_truncations && written.truncated(path, ino);
        if outside && !is_reused(&opens, open) {
            tally.lies.push(format!("ephemeral, and written from outside: {}", shown(open)));
        }
    }
    let mut by_reader: HashMap<(u32, &[u8]), Vec<&Opened>> = HashMap::new();
    for open in opens.iter().filter(|open| open.access & 3 == 1) {
        let name = open.file.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        by_reader.entry((open.pid, name)).or_default().push(open);
    }
    for events in by_reader.values_mut() {
        events.sort_by_key(|open| open.boottime_ns);
    }
    for read in &reads.0 {
        let name = read.file();
        let events = by_reader.get(&(read.pid, name.as_bytes())).map(Vec::as_slice);
        tally.compare(read, events.unwrap_or_default(), &said);
    }
    tally
}

/// Whether the session made more than one file with this name and number: which of them was written from outside, the
/// numbers do not tell, only what readers got.
fn is_reused(opens: &[Opened], open: &Opened) -> bool {
    let same = |other: &&Opened| other.file.path == open.file.path && other.file.ino == open.file.ino;
    let made = |other: &&Opened| other.access & 8 != 0;
    let mut versions: Vec<u64> = opens.iter().filter(same).filter(made).map(|other| other.file.id).collect();
    versions.sort_unstable();
    versions.dedup();
    versions.len() > 1
}

fn said(record: &Record) -> HashMap<u64, Said> {
    let digests = record.frames.iter().filter_map(|frame| match &frame.body {
        Some(frame::Body::Digest(digest)) => Some(digest),
        _ => None,
    });
    let said = digests.map(|digest| {
        let sha256 = digest.sha256.as_slice().try_into().ok();
        (digest.file_id, Said { class: digest.class(), sha256 })
    });
    said.collect()
}

impl Tally {
    fn compare(&mut self, read: &Read, events: &[&Opened], said: &HashMap<u64, Said>) {
        self.reads += 1;
        self.torn += u64::from(read.torn());
        self.quiet += u64::from(read.quiet());
        let own = events.iter().find(|open| read.opening_ns.contains(&open.boottime_ns));
        let told: Vec<(&Opened, Said)> = match own {
            Some(open) => vec![(*open, said[&open.file.id])],
            None => {
                self.repeats += 1;
                let before = |open: &&&Opened| open.count > 1 && open.boottime_ns < *read.opening_ns.start();
                events.iter().filter(before).map(|open| (*open, said[&open.file.id])).collect()
            }
        };
        if told.is_empty() {
            self.lies.push(format!("an open that is not in the log: {read:?}"));
            return;
        }
        let faults: Vec<Option<Lie>> = told.iter().map(|(open, said)| lie(read, open, *said)).collect();
        if faults.iter().all(Option::is_some) {
            self.lies.extend(faults.into_iter().flatten());
        }
        let is = |class: &[Class]| told.iter().all(|(_, said)| class.contains(&said.class));
        let relied_on = is(&[Class::Stable, Class::Kernel]);
        self.stable += u64::from(relied_on);
        self.quiet_stable += u64::from(relied_on && read.quiet());
        self.ephemeral += u64::from(is(&[Class::Ephemeral]));
    }
}

/// What is wrong with what was said of a read.
fn lie(read: &Read, open: &Opened, said: Said) -> Option<Lie> {
    // An overlay shows another number than the kernel's own.
    if open.file.fs_magic != OVERLAY && open.file.ino != read.ino {
        return Some(format!("another inode than that of {read:?}: {}", shown(open)));
    }
    let wrong = match said.class {
        Class::Stable | Class::Kernel => said.sha256 != Some(read.sha256()),
        Class::Ephemeral => read.has_outside_bytes(),
        _ => false,
    };
    wrong.then(|| format!("{said:?} of {read:?}, told by {}", shown(open)))
}

fn shown(open: &Opened) -> String {
    let Opened { pid, file, access, count, boottime_ns } = open;
    let name = String::from_utf8_lossy(file.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
    let (size, ctime) = (file.size, (file.ctime_sec, file.ctime_nsec));
    format!(
        "{name}, inode {}, {size} bytes, ctime {ctime:?}, writers {}, access {access} by {pid}, {count} times, at {boottime_ns}",
        file.ino, file.writers
    )
}
