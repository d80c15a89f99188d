//! What a recovery has to do with the node's agent: who signs, what waits for its signer, and the spool.

use std::{fs, path::Path};

use attestation::{escape::escape, merkle::Hash};
use spool::Spool;
use testimony_verify::files::open_regular;

use super::Error;
use crate::{
    artifact::Artifact,
    daemon::Settings,
    sign, submission,
    waiting::{self, Later},
};

/// A node with an agent.
pub(super) struct Node {
    settings: Settings,
    spool: Spool,
    /// Number of the run among those that wait for their signer.
    waits: Option<u64>,
}

impl Node {
    /// As its configuration says. What waits for its signer is not recovered unless that is said: it would be signed twice.
    pub(super) fn open(settings: Settings, artifact: &Artifact, instead_of_waiting: bool) -> Result<Self, Error> {
        let spool = settings.spool.open()?;
        let evidence = fs::canonicalize(artifact.evidence()).map_err(Error::io(&artifact.evidence()))?;
        let waits = waiting::find(&settings, &evidence)?;
        match waits {
            Some(number) if !instead_of_waiting => Err(Error::Waits { path: artifact.statement(), number }),
            waits => Ok(Self { settings, spool, waits }),
        }
    }

    /// Who signs, where that is not said.
    pub(super) fn signers(&self, said: &sign::Args) -> sign::Args {
        said.or(&self.settings.sign)
    }

    /// From here on the agent does not sign it, if it has not.
    pub(super) fn give_up(&self) -> Result<(), Error> {
        let Some(number) = self.waits else { return Ok(()) };
        if Later::open(&self.settings)?.give_up(number)? { Ok(()) } else { Err(Error::SignedMeanwhile(number)) }
    }

    /// The statement's file is there whatever comes of this.
    pub(super) fn put(&mut self, (part, statement): (&Path, &Path), payload_sha256: Hash) -> Result<(), Error> {
        let warn = |says: &str| eprintln!("testimony: {}", escape(says.as_bytes()));
        let file = open_regular(part).map_err(Error::io(part))?;
        let submission = submission::of(submission::all(&file).map_err(Error::io(part))?);
        if let Err(error) = submission::put(&mut self.spool, (statement, payload_sha256), submission, None, warn) {
            warn(&format!("the statement was not put into the spool: {}", sign::chain_of(&error)));
        }
        Ok(())
    }
}
