//! The outputs of a run: claimed before the command starts, the statement written whole or not at all.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use attestation::{
    evidence::LogHead,
    statement::{self, Meta},
    trace::Trace,
};

use super::{owner::Owner, summary};
use crate::{chain::Link, evidence::descriptor_path, sign::Ready, waiting::Place};

/// NAME.intoto.jsonl and NAME.evidence.
pub(crate) struct Output {
    name: PathBuf,
    /// Where they are. The command may move or replace the directory's name, and we may be root.
    directory: File,
    part: Option<Claimed>,
}

const STATEMENT: &str = ".intoto.jsonl";
const PART: &str = ".part";

/// A statement on disk.
pub(crate) struct Signed {
    pub(crate) statement: PathBuf,
    pub(crate) evidence: PathBuf,
    pub(crate) payload_sha256: [u8; 32],
    /// The quote beside it, if one was wanted and could be made.
    pub(super) quote: Option<PathBuf>,
    /// The keyless signature beside it, likewise.
    pub(super) bundle: Option<PathBuf>,
    /// Its number in the spool, if it was put there.
    pub(crate) spooled: Option<u64>,
    /// The statement's own file, whoever moves it meanwhile.
    pub(super) file: File,
    /// Key files that were made for it.
    pub(super) new_keys: Vec<PathBuf>,
    pub(super) summary: summary::Summary,
}

/// A file beside the statement: claimed before the command starts, as the statement is, so that the command cannot take its name.
pub(super) struct Beside {
    /// Kept open: the path leads by it.
    directory: File,
    named: PathBuf,
    claimed: Claimed,
}

/// A file that is being written.
struct Claimed {
    /// Where it is until it is whole.
    part: PathBuf,
    file: File,
}

impl Claimed {
    /// One that only its owner may open, in place of what an earlier run may have left there.
    fn new(part: PathBuf) -> io::Result<Self> {
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&part)?;
        Ok(Self { part, file })
    }

    /// Gives it its name, in place of whatever has that by now.
    fn keep(&self, path: &Path, named: &Path) -> anyhow::Result<()> {
        let ours = self.file.metadata()?;
        fs::rename(&self.part, path)?;
        let there = fs::symlink_metadata(path)?;
        anyhow::ensure!(
            (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            "{} was replaced by somebody else while the command ran",
            named.display()
        );
        Ok(())
    }
}

impl Beside {
    /// Writes it, for its owner alone, whole or not at all.
    pub(super) fn write(
        self,
        owner: &Owner,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let path = descriptor_path(&self.directory).join(self.named.file_name().unwrap_or_default());
        let mut out = BufWriter::new(&self.claimed.file);
        write(&mut out)?;
        out.flush()?;
        drop(out);
        self.claimed.file.sync_all()?;
        self.claimed.keep(&path, &self.named)?;
        owner.give(&path)?;
        Ok(self.named.clone())
    }
}

impl Drop for Beside {
    /// What was not written leaves nothing.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.claimed.part);
    }
}

impl Output {
    /// Names the outputs; the statement may not be there yet.
    pub(super) fn new(name: Option<&Path>, command: &[OsString], owner: &Owner) -> anyhow::Result<Self> {
        let name = name.map_or_else(|| default_name(command), Path::to_owned);
        anyhow::ensure!(name.file_name().is_some(), "-o {}: no file name", name.display());
        let parent = name.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = File::open(parent).with_context(|| format!("{} cannot be opened", parent.display()))?;
        let output = Self { name, directory, part: None };
        output.is_free(STATEMENT)?;
        let _ = owner;
        Ok(output)
    }

    /// Outputs of this name.
    pub(crate) fn named(name: &Path) -> anyhow::Result<Self> {
        Self::new(Some(name), &[], &Owner::Caller)
    }

    pub(super) fn statement(&self) -> PathBuf {
        with_suffix(&self.name, STATEMENT)
    }

    pub(crate) fn evidence(&self) -> PathBuf {
        with_suffix(&self.name, ".evidence")
    }

    /// A path beside the statement by the descriptor of their directory.
    fn held(&self, suffix: &str) -> PathBuf {
        let base = Path::new(self.name.file_name().unwrap_or_default());
        descriptor_path(&self.directory).join(with_suffix(base, suffix))
    }

    /// Refuses a file beside the statement that is there already.
    fn is_free(&self, suffix: &str) -> anyhow::Result<()> {
        let path = with_suffix(&self.name, suffix);
        anyhow::ensure!(!path.exists(), "{} exists already: choose another name with -o, or remove it", path.display());
        Ok(())
    }

    /// Claims a file beside the statement, which may not be there yet.
    pub(super) fn beside(&self, suffix: &str) -> anyhow::Result<Beside> {
        self.is_free(suffix)?;
        let named = with_suffix(&self.name, suffix);
        // By a descriptor of its own: it is written when the statement is done.
        let directory = self.directory.try_clone()?;
        let part = with_suffix(Path::new(named.file_name().unwrap_or_default()), PART);
        let claimed = Claimed::new(descriptor_path(&directory).join(part));
        let claimed = claimed.with_context(|| format!("{} cannot be written", named.display()))?;
        Ok(Beside { directory, named, claimed })
    }

    /// Makes sure that the statement can be written where it belongs: its file is open from here on, and
    /// for its owner alone.
    pub(crate) fn claim(&mut self) -> anyhow::Result<()> {
        let claimed = Claimed::new(self.held(&format!("{STATEMENT}{PART}")));
        self.part = Some(claimed.with_context(|| format!("{} cannot be written", self.statement().display()))?);
        Ok(())
    }

    /// The folder of the outputs, and the evidence by a path that leads there from anywhere: a later process finds them by it.
    pub(super) fn place(&self) -> io::Result<(Place, PathBuf)> {
        let folder = fs::read_link(descriptor_path(&self.directory))?;
        let name = self.evidence();
        Ok((Place::of(&self.directory)?, folder.join(name.file_name().unwrap_or_default())))
    }

    /// Nothing is written by this process.
    pub(super) fn abandon(&self) {
        if let Some(claimed) = &self.part {
            let _ = fs::remove_file(&claimed.part);
        }
    }

    /// Writes and signs the statement.
    pub(crate) fn sign(
        mut self,
        trace: &Trace,
        (head, meta): (&LogHead, &Meta),
        ready: &Ready,
        owner: &Owner,
        link: Option<Link>,
    ) -> anyhow::Result<Signed> {
        let claimed = self.part.take().context("the statement's file was not claimed")?;
        let mut out = BufWriter::with_capacity(1 << 16, &claimed.file);
        let payload = |out: &mut dyn Write| statement::write(out, trace, head, meta);
        let (written, says) = ready.write(&mut out, payload)?;
        says.iter().for_each(|says| summary::warn(says));
        out.flush()?;
        drop(out);
        claimed.file.sync_all()?;
        // Before anybody can have the statement: the next one must not follow the one before it.
        if let Some(Err(error)) = link.map(|link| link.signed(&written.payload_sha256)) {
            summary::warn(&format!("the next statement will not name this one: {error}"));
        }
        let statement = self.held(STATEMENT);
        claimed.keep(&statement, &self.statement())?;
        owner.give(&statement)?;
        Ok(Signed {
            statement: self.statement(),
            evidence: self.evidence(),
            payload_sha256: written.payload_sha256,
            quote: None,
            bundle: None,
            spooled: None,
            file: claimed.file,
            new_keys: Vec::new(),
            summary: summary::Summary::of(trace),
        })
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
    let now = u64::try_from(crate::content::realtime_offset_ns()).unwrap_or(0) + crate::session::boottime_ns();
    name.push(format!("-{}", now / 1_000_000_000));
    name.into()
}
