//! Statements that wait for their signer: of runs at whose end nobody could sign.
//!
//! They wait in a queue of their own below the spool's folder, which is its owner's alone, as the spool is: all that is to be signed,
//! who is to sign it, and where the statement belongs. The log is whole then, and says that it was signed later; who signs, the
//! number and the digest of the statement before it are settled when it is signed. The agent does that, in order, as soon as
//! whoever is awaited is back.

mod later;
mod place;
mod record;

pub(crate) use later::{Error, Later, Told};
pub(crate) use place::Place;
pub(crate) use record::{Record, Said};

use std::path::Path;

use crate::daemon::Settings;

/// The number of the one that waits whose evidence this is.
///
/// # Errors
/// If the folder of what waits cannot be used.
pub(crate) fn find(settings: &Settings, evidence: &Path) -> Result<Option<u64>, spool::Error> {
    if !settings.waiting_folder().exists() {
        return Ok(None);
    }
    let (waiting, mut after) = (settings.open_waiting()?, 0);
    while let Some(held) = waiting.waiting(after, 0)?.pop() {
        after = held.number;
        if held.evidence.as_deref() == Some(evidence) {
            return Ok(Some(after));
        }
    }
    Ok(None)
}
