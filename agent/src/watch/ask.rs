//! What is asked of the watching thread, and what it answers.

use std::{path::PathBuf, sync::Arc};

use attestation::hex;
use proto::evidence::Container;

use crate::{content, glob::Glob, redact::Redaction};

/// A session's id.
pub(crate) type Id = [u8; 16];

/// A session that somebody wants.
pub(crate) struct Ask {
    /// "run", "container" ...
    pub(crate) kind: &'static str,
    /// What it is called.
    pub(crate) name: String,
    /// Whose it is.
    pub(crate) uid: u32,
    /// Whose rights the hashers have; none: root's.
    pub(crate) caller: Option<content::Caller>,
    /// The process that is its root, and when that began.
    pub(crate) root: (u32, u64),
    pub(crate) command: Vec<Vec<u8>>,
    pub(crate) directory: Vec<u8>,
    pub(crate) products: Vec<Glob>,
    pub(crate) product_globs: Vec<Vec<u8>>,
    pub(crate) redaction: Arc<Redaction>,
    pub(crate) file_bytes_max: u64,
}

/// Who a session is, for whoever asks.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) id: Id,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) opened_s: u64,
    pub(crate) cgroup: String,
    /// Of a container: its image.
    pub(crate) image: String,
}

/// A session as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) about: About,
    pub(crate) state: State,
    pub(crate) events: u64,
    pub(crate) living: u32,
    pub(crate) statement: Option<PathBuf>,
    pub(crate) says: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Closing,
    Signed,
    Failed,
}

impl State {
    /// As the local API says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Signed => "signed",
            Self::Failed => "failed",
        }
    }
}

/// A session that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) about: About,
    pub(crate) events: u64,
    pub(crate) root_status: i32,
    /// Programs of other users than its own ran in it.
    pub(crate) of_others: bool,
    /// Its statement, or why there is none.
    pub(crate) outcome: Result<Outcome, String>,
}

/// A statement, and what it says in figures.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) statement: PathBuf,
    pub(crate) evidence: PathBuf,
    pub(crate) payload_sha256: [u8; 32],
    pub(crate) complete: bool,
    pub(crate) lossless: bool,
    pub(crate) level: String,
    pub(crate) processes: usize,
    pub(crate) files: usize,
    pub(crate) contacts: usize,
    pub(crate) classes: [u64; 5],
    pub(crate) lost: u64,
    pub(crate) coalesced: u64,
    pub(crate) gaps: Vec<(String, String)>,
    pub(crate) spooled: Option<u64>,
    pub(crate) says: Vec<String>,
}

impl Finished {
    pub(crate) fn id(&self) -> Id {
        self.about.id
    }

    /// As it stands in a list.
    pub(crate) fn seen(&self) -> Seen {
        let (state, statement, says) = match &self.outcome {
            Ok(outcome) => (State::Signed, Some(outcome.statement.clone()), outcome.says.join("; ")),
            Err(says) => (State::Failed, None, says.clone()),
        };
        Seen { about: self.about.clone(), state, events: self.events, living: 0, statement, says }
    }
}

impl About {
    /// Calls it as its runtime does.
    pub(crate) fn name_by(&mut self, container: &Container) {
        self.image.clone_from(&container.image);
        if !container.image_sha256.is_empty() {
            self.image = format!("{}@sha256:{}", container.image, hex::encode(&container.image_sha256));
        }
        if !container.name.is_empty() {
            self.name = format!("{} {}", container.name, self.name);
        }
    }

    /// The id as people read it.
    pub(crate) fn id_text(&self) -> String {
        hex::encode(&self.id)
    }
}
