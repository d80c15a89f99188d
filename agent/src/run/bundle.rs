//! The bundle beside a statement: a keyless signature, `NAME.sigstore.json`.

use std::{fs::File, io::Seek as _, path::PathBuf};

use anyhow::Context as _;
use attestation::dsse;

use super::{output::Beside, owner::Owner, summary};
use crate::keyless::Keyless;

/// Has the payload of the statement in this file signed, and writes the bundle. A statement without one is better than none.
pub(super) fn write(keyless: &Keyless, beside: Beside, statement: &File, owner: &Owner) -> Option<PathBuf> {
    let written = sign(keyless, beside, statement, owner);
    written.inspect_err(|error| summary::warn(&format!("there is no keyless signature: {error:#}"))).ok()
}

fn sign(keyless: &Keyless, beside: Beside, mut statement: &File, owner: &Owner) -> anyhow::Result<PathBuf> {
    statement.rewind()?;
    let payload = dsse::read(statement).context("the statement cannot be read again")?.into_unverified();
    let signed = keyless.sign(&payload)?;
    summary::warn(&format!("signed as {}", signed.says));
    beside.write(owner, |out| Ok(out.write_all(signed.bundle.as_bytes())?))
}
