//! What the writers and readers themselves say: which bytes a reader got from which open, and which files were written from
//! outside.

use std::collections::HashSet;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The scenario of files that nobody touches; see `race.c`.
const QUIET: u32 = 0;
/// Set in every word that was written from outside.
const FROM_OUTSIDE: u64 = 1 << 63;
/// Bytes of a record before its runs.
const FIXED_BYTES: usize = 48;
/// Words of a file that is there as a whole.
const WORDS: u64 = 3 * 4096 / 8;

/// One open, and what was read from it until its end.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) pid: u32,
    pub(crate) lane: u32,
    pub(crate) round: u32,
    /// CLOCK_BOOTTIME around the open.
    pub(crate) opening_ns: std::ops::RangeInclusive<u64>,
    pub(crate) ino: u64,
    pub(crate) scenario: u32,
    /// Each word, and how often it came.
    pub(crate) runs: Vec<(u64, u64)>,
}

impl Read {
    /// Digest of the bytes.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        let mut sha256 = Sha256::new();
        let mut bytes = Vec::new();
        for (word, count) in &self.runs {
            bytes.clear();
            bytes.extend((0..*count).flat_map(|_| word.to_ne_bytes()));
            sha256.update(&bytes);
        }
        sha256.finalize().into()
    }

    /// Whether any of the bytes came from outside the session.
    pub(crate) fn has_outside_bytes(&self) -> bool {
        self.runs.iter().any(|(word, _)| word & FROM_OUTSIDE != 0)
    }

    /// Whether it is a part of one version, or of several.
    pub(crate) fn torn(&self) -> bool {
        self.runs.len() != 1 || self.runs.iter().any(|(_, count)| *count != WORDS)
    }

    pub(crate) fn quiet(&self) -> bool {
        self.scenario == QUIET
    }

    /// Last two components of the path.
    pub(crate) fn file(&self) -> String {
        file(self.lane, self.round)
    }
}

fn file(lane: u32, round: u32) -> String {
    format!("{lane}-{round}")
}

/// All reads of a session, each process's in their order.
pub(crate) struct Reads(pub(crate) Vec<Read>);

impl Reads {
    /// From what the readers printed.
    pub(crate) fn parse(mut bytes: &[u8]) -> Self {
        let mut reads = Vec::new();
        while !bytes.is_empty() {
            let length = half(bytes, 0) as usize;
            let (record, rest) = bytes.split_at(length);
            bytes = rest;
            let runs = half(record, 40) as usize;
            assert_eq!(length, FIXED_BYTES + 16 * runs, "a record of another length");
            let run = |at: usize| (word(record, FIXED_BYTES + 16 * at), word(record, FIXED_BYTES + 16 * at + 8));
            reads.push(Read {
                pid: half(record, 4),
                lane: half(record, 8),
                round: half(record, 12),
                opening_ns: word(record, 16)..=word(record, 24),
                ino: word(record, 32),
                scenario: half(record, 44),
                runs: (0..runs).map(run).collect(),
            });
        }
        assert!(!reads.is_empty(), "nobody read anything");
        Self(reads)
    }
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Inodes that were opened for writing, or truncated by their names, from outside: by path and number, and whether by name.
pub(crate) struct Written(HashSet<(Vec<u8>, u64, bool)>);

impl Written {
    /// From the lines of the writers.
    pub(crate) fn parse(lines: &str, folder: &Path) -> Self {
        let written = lines.lines().map(|line| {
            let mut numbers = line.split(' ').map(|number| number.parse::<u64>().expect("a number"));
            let mut next = || numbers.next().expect("four numbers");
            let (lane, round, ino, by_name) = (next(), next(), next(), next() != 0);
            let path = folder.join(format!("{lane}-{round}"));
            (path.into_os_string().into_encoded_bytes(), ino, by_name)
        });
        Self(written.collect())
    }

    /// Whether a task outside opened it for writing.
    pub(crate) fn opened(&self, path: &[u8], ino: u64) -> bool {
        self.0.contains(&(path.to_vec(), ino, false))
    }

    /// Whether a task outside truncated it without opening it.
    pub(crate) fn truncated(&self, path: &[u8], ino: u64) -> bool {
        self.0.contains(&(path.to_vec(), ino, true))
    }
}
