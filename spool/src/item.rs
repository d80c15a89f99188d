//! What is put into the queue, and what comes out of it.

use std::path::{Path, PathBuf};

/// What an envelope is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A signed statement.
    Statement,
    /// A quote of the TPM.
    Quote,
    /// A bundle of Sigstore's.
    Bundle,
    /// What a policy said.
    Verdict,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 4] = [Self::Statement, Self::Quote, Self::Bundle, Self::Verdict];

    /// As it is in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Quote => "quote",
            Self::Bundle => "bundle",
            Self::Verdict => "verdict",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What is put into the queue.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// What it is about.
    pub kind: Kind,
    /// What people call it.
    pub name: &'a str,
    /// Of the payload. It is believed: the queue does not read envelopes. With the kind it is what the item is known by.
    pub sha256: [u8; 32],
    /// The payload with its signatures.
    pub envelope: &'a [u8],
    /// Where the evidence lies that the payload is made of.
    pub evidence: Option<&'a Path>,
    /// When it was made.
    pub made_s: u64,
}

/// An item that waits, as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which one it is in this queue, from 1.
    pub number: u64,
    /// What it is about.
    pub kind: Kind,
    /// What people call it.
    pub name: String,
    /// Of the payload.
    pub sha256: [u8; 32],
    /// The payload with its signatures.
    pub envelope: Vec<u8>,
    /// Where the evidence lies.
    pub evidence: Option<PathBuf>,
    /// When it was made.
    pub made_s: u64,
}

/// An item that the collector will never take. Its envelope is asked for by [`crate::Spool::refused_envelope`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which one it was in this queue.
    pub number: u64,
    /// What it is about.
    pub kind: Kind,
    /// What people call it.
    pub name: String,
    /// Of the payload.
    pub sha256: [u8; 32],
    /// Where the evidence lies.
    pub evidence: Option<PathBuf>,
    /// When it was made.
    pub made_s: u64,
    /// When it was refused.
    pub at_s: u64,
    /// The collector's code.
    pub code: String,
    /// The collector's reason: [`crate::SAYS_BYTES_MAX`] bytes of it.
    pub says: String,
}
