//! `testimony spool put`: a statement that is signed already, and that no run put into the spool: `recover` signed it without the agent's
//! configuration, or the run was killed in between.

use std::path::Path;

use anyhow::Context as _;
use attestation::{dsse, escape::escape, statement};
use sha2::{Digest as _, Sha256};
use spool::Spool;

use crate::{artifact::Artifact, submission};

/// Puts it, with quote, logs and bundle beside it. Once more is harmless: it is known by its payload.
pub(super) fn put(spool: &mut Spool, file: &Path) -> anyhow::Result<()> {
    let run = Artifact::of(file);
    let path = run.statement();
    let named = || path.display().to_string();
    let envelope = submission::open_itself(&path).and_then(|file| submission::all(&file)).with_context(named)?;
    let read = dsse::read(envelope.as_slice()).with_context(named)?;
    // Whether it is signed by whom it says the collector finds out.
    let payload = read.into_unverified();
    statement::read(&payload).with_context(named)?;
    let of = (path.as_path(), Sha256::digest(&payload).into());
    let tell = |says: &str| eprintln!("testimony: {}", escape(says.as_bytes()));
    let number =
        submission::put(spool, of, submission::with_beside(envelope, &run)?, None, tell).with_context(named)?;
    println!("{number}\t{}", escape(named().as_bytes()));
    Ok(())
}
