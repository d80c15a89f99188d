//! One statement that waits, as it is kept: a line of JSON, and the payload behind it.

use std::path::PathBuf;

use attestation::{hex, statement::Unsigned};
use serde::{Deserialize, Serialize};
use spool::{Counts, Dropped};

use super::Place;
use crate::sign::Awaited;

/// Another version of the agent may find it.
const VERSION: u32 = 1;

/// All that is needed to sign it, but the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    /// Where the statement belongs.
    pub(crate) place: Place,
    /// Whose it is to be: user and group, where that is not the agent's own.
    pub(crate) owner: Option<(u32, u32)>,
    /// The chain of its host and boot; it has no number without one.
    pub(crate) chain: Option<PathBuf>,
    pub(crate) host_id: String,
    pub(crate) boot_id: String,
    pub(crate) awaited: Awaited,
    /// What it says of statements that were dropped: from the spool, and for want of room to wait.
    pub(crate) said: [Option<Said>; 2],
}

/// The same of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Said {
    spool: String,
    counts: [u64; 3],
    until: [u64; 3],
    first_s: Option<u64>,
    last_s: Option<u64>,
}

impl Record {
    pub(crate) fn new(place: Place, awaited: Awaited, [host_id, boot_id]: [&[u8]; 2]) -> Self {
        let (host_id, boot_id) = (hex::encode(host_id), hex::encode(boot_id));
        Self { version: VERSION, place, owner: None, chain: None, host_id, boot_id, awaited, said: [None, None] }
    }

    /// As it is kept.
    ///
    /// # Errors
    /// If a path of it is no UTF-8.
    pub(crate) fn encode(&self, unsigned: &Unsigned) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(unsigned.payload());
        Ok(bytes)
    }

    /// From that; none if it is something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Unsigned)> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, payload) = bytes.split_at_checked(end)?;
        let record: Self = serde_json::from_slice(line).ok()?;
        let unsigned = Unsigned::from_payload(payload.get(1..)?.to_vec())?;
        (record.version == VERSION && hex::decode(&record.host_id).is_some() && hex::decode(&record.boot_id).is_some())
            .then_some((record, unsigned))
    }

    /// Host and boot of its chain.
    pub(crate) fn scope(&self) -> (Vec<u8>, Vec<u8>) {
        let bytes = |text: &str| hex::decode(text).unwrap_or_default();
        (bytes(&self.host_id), bytes(&self.boot_id))
    }
}

impl From<&Dropped> for Said {
    fn from(dropped: &Dropped) -> Self {
        let of = |counts: Counts| [counts.full, counts.old, counts.refused];
        let Dropped { spool, counts, until, first_s, last_s } = dropped;
        let spool = hex::encode(spool);
        Self { spool, counts: of(*counts), until: of(*until), first_s: *first_s, last_s: *last_s }
    }
}

impl Said {
    /// As the queue takes it; none if it names none.
    pub(crate) fn dropped(&self) -> Option<Dropped> {
        let of = |[full, old, refused]: [u64; 3]| Counts { full, old, refused };
        let spool = hex::decode(&self.spool)?.try_into().ok()?;
        let (counts, until) = (of(self.counts), of(self.until));
        Some(Dropped { spool, counts, until, first_s: self.first_s, last_s: self.last_s })
    }
}
