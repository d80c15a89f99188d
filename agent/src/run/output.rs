//! The outputs of a run: claimed before the command starts, the statement written whole or not at all.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use attestation::{
    dsse,
    evidence::LogHead,
    statement::{self, Meta},
    trace::Trace,
};

use super::{owner::Owner, summary};
use crate::sign::Key;

/// NAME.intoto.jsonl and NAME.evidence.
pub(super) struct Output {
    name: PathBuf,
}

/// A statement on disk.
pub(super) struct Signed {
    pub(super) statement: PathBuf,
    pub(super) evidence: PathBuf,
    pub(super) payload_sha256: [u8; 32],
    pub(super) key: PathBuf,
    pub(super) key_is_new: bool,
    pub(super) summary: summary::Summary,
}

impl Output {
    /// Names the outputs; the statement may not be there yet.
    pub(super) fn new(name: Option<&Path>, command: &[OsString], owner: &Owner) -> anyhow::Result<Self> {
        let name = name.map_or_else(|| default_name(command), Path::to_owned);
        anyhow::ensure!(name.file_name().is_some(), "-o {}: no file name", name.display());
        let output = Self { name };
        let statement = output.statement();
        anyhow::ensure!(
            !statement.exists(),
            "{} exists already: choose another name with -o, or remove it",
            statement.display()
        );
        let _ = owner;
        Ok(output)
    }

    pub(super) fn statement(&self) -> PathBuf {
        with_suffix(&self.name, ".intoto.jsonl")
    }

    pub(super) fn evidence(&self) -> PathBuf {
        with_suffix(&self.name, ".evidence")
    }

    fn unfinished(&self) -> PathBuf {
        with_suffix(&self.name, ".intoto.jsonl.part")
    }

    /// Makes sure that the statement can be written where it belongs.
    pub(super) fn claim(&self) -> anyhow::Result<()> {
        let path = self.unfinished();
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(())
    }

    /// Writes and signs the statement.
    pub(super) fn sign(
        &self,
        trace: &Trace,
        head: &LogHead,
        meta: &Meta,
        key: &Key,
        owner: &Owner,
    ) -> anyhow::Result<Signed> {
        let part = self.unfinished();
        let file = File::create(&part).with_context(|| format!("{} cannot be written", part.display()))?;
        let mut out = BufWriter::with_capacity(1 << 16, file);
        let payload = |out: &mut dyn Write| statement::write(out, trace, head, meta);
        let written = dsse::write_envelope(&mut out, payload, &[&key.file])?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&part, self.statement())?;
        self.give(owner)?;
        Ok(Signed {
            statement: self.statement(),
            evidence: self.evidence(),
            payload_sha256: written.payload_sha256,
            key: key.path.clone(),
            key_is_new: key.new,
            summary: summary::Summary::of(trace),
        })
    }

    fn give(&self, owner: &Owner) -> io::Result<()> {
        owner.give(&self.statement())?;
        owner.give(&self.evidence())?;
        fs::read_dir(self.evidence())?.try_for_each(|entry| owner.give(&entry?.path()))
    }
}

fn with_suffix(name: &Path, suffix: &str) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The command's own name and the time, in the working directory.
fn default_name(command: &[OsString]) -> PathBuf {
    let program = command.first().map(|program| Path::new(program).file_name().unwrap_or(OsStr::new("command")));
    let mut name = program.unwrap_or(OsStr::new("command")).to_owned();
    let now = u64::try_from(crate::session::realtime_offset_ns()).unwrap_or(0) + crate::session::boottime_ns();
    name.push(format!("-{}", now / 1_000_000_000));
    name.into()
}
