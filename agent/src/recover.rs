//! `testimony recover`: signs what a run that died left behind, as incomplete.
//!
//! The segments that were sealed stay as they are. The last one, cut in the middle or not, is written again: every whole
//! frame as it was, and one more that says that this log was recovered, so that no statement over it is ever complete.
//! Then the statement is written, verified as a stranger would, and only then given its name; what it replaces is removed
//! last. A recovery that dies on the way can be run again.

mod node;
mod segments;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Write},
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use attestation::{
    codes,
    dsse::{self, PublicKey},
    escape::escape,
    evidence::LogError,
    statement::{self, Meta},
    trace::Trace,
    verify::{Options, verify},
};
use node::Node;
use segments::Sealed;
use testimony_verify::{
    files::{Directory, open_regular},
    platform::BESIDE,
};

use crate::{
    artifact::Artifact,
    daemon::Settings,
    evidence::{self, Hold, RESERVE},
    run::Owner,
    sign::{self, Ready, Signers},
    waiting,
};

/// Gaps that are named; `testimony show --gaps` has all.
const GAPS_SHOWN_MAX: usize = 5;

/// What to recover.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the run, or its NAME.evidence
    name: PathBuf,
    #[command(flatten)]
    signers: sign::Args,
    /// Do as the agent's configuration says: who signs, where that is not said here, and into which spool the statement goes
    #[arg(long = "config", value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = crate::daemon::DEFAULT)]
    agent_config: Option<PathBuf>,
    /// Do not leave to the agent what waits for its signer: take it out, and sign it now, as incomplete
    #[arg(long, requires = "agent_config")]
    instead_of_waiting: bool,
    /// Say the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is a statement.
    #[error("{0} is there: the run was signed, and nothing is left to recover")]
    Signed(PathBuf),
    /// It will be.
    #[error(
        "{path} is not signed yet, and nothing is left to recover: it waits for its signer, as number {number}, and the agent signs it; \
         --instead-of-waiting has it signed now, as incomplete"
    )]
    Waits {
        /// Which.
        path: PathBuf,
        /// Among those that wait.
        number: u64,
    },
    /// It was faster.
    #[error("number {0} of those that waited was signed meanwhile: the agent delivers it")]
    SignedMeanwhile(u64),
    /// The agent's configuration.
    #[error("--config")]
    Config(#[from] config::Refused),
    /// What waits cannot be looked at.
    #[error(transparent)]
    Waiting(#[from] waiting::Error),
    /// The spool.
    #[error("the spool")]
    Spool(#[from] spool::Error),
    /// There is no evidence.
    #[error("{0} is no directory: there is nothing to recover")]
    NoEvidence(PathBuf),
    /// There is a directory, and nothing of a session in it.
    #[error("{0} holds no session: the run died before its command began, and the directory can be removed")]
    Empty(PathBuf),
    /// Somebody writes it, or it cannot be taken.
    #[error(transparent)]
    Evidence(#[from] evidence::Error),
    /// A sealed segment is not what it was.
    #[error("the segment {path} is damaged: what follows it cannot be sworn to")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        source: LogError,
    },
    /// A sealed segment was renamed or changed.
    #[error("the segment {0} is not the one that its name says")]
    Renamed(PathBuf),
    /// The key.
    #[error(transparent)]
    Key(#[from] sign::Error),
    /// What was written does not verify.
    #[error("the statement that was written does not verify ({0}): it was not kept")]
    Verify(&'static str),
    /// The statement could not be written.
    #[error("the statement could not be written")]
    Write(#[from] dsse::WriteError),
    /// A file could not be read or written.
    #[error("{path} could not be used")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The user behind sudo could not be told.
    #[error("{0}")]
    Owner(String),
}

impl Error {
    /// The exit status: 2 for evidence that is not understood, else 1.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Damaged { .. } | Self::Renamed(_) => 2,
            _ => 1,
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Recovers and says what was signed.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    let owner = || Owner::find(false).map_err(|error| Error::Owner(format!("{error:#}")));
    let node = |artifact: &Artifact| {
        let settings = args.agent_config.as_deref().map(config::read::<Settings>).transpose()?;
        settings.map(|settings| Node::open(settings, artifact, args.instead_of_waiting)).transpose()
    };
    let recovered = recover(&Artifact::of(&args.name), &args.signers, owner, node)?;
    report(args, &recovered);
    Ok(0)
}

/// Recovers what the agent itself left when it died, as its configuration says.
pub(crate) fn left_by_agent(settings: &Settings, evidence: &Path) -> Result<PathBuf, Error> {
    let node = |artifact: &Artifact| Node::open(settings.clone(), artifact, false).map(Some);
    // Whoever started the agent, what it keeps is its own.
    let recovered = recover(&Artifact::of(evidence), &settings.sign.args(), || Ok(Owner::Caller), node)?;
    Ok(recovered.statement)
}

/// What was signed, and by whom.
struct Recovered {
    statement: PathBuf,
    trace: Trace,
    signers: Signers,
    meta: Meta,
}

fn recover(
    artifact: &Artifact,
    said: &sign::Args,
    owner: impl FnOnce() -> Result<Owner, Error>,
    node: impl FnOnce(&Artifact) -> Result<Option<Node>, Error>,
) -> Result<Recovered, Error> {
    let evidence = artifact.evidence();
    if artifact.statement().symlink_metadata().is_ok() {
        return Err(Error::Signed(artifact.statement()));
    }
    if !evidence.is_dir() {
        return Err(Error::NoEvidence(evidence));
    }
    let _held = Hold::take(&evidence)?;
    let (owner, mut node) = (owner()?, node(artifact)?);
    // What cannot be recovered costs no key.
    let left = segments::look(&evidence)?;
    let signers = node.as_ref().map_or_else(|| said.clone(), |node| node.signers(said)).open()?;
    let ready = signers.ready()?;
    if let Some((name, error)) = ready.stood_in_for() {
        let says = format!("{name} could not sign, the second signer does: {}", sign::chain_of(error));
        eprintln!("testimony: {}", escape(says.as_bytes()));
    }
    node.as_ref().map_or(Ok(()), Node::give_up)?;
    let sealed = segments::seal(&evidence, &left, &owner, !ready.only_keys())?;
    let statement = sign_statement(artifact, &sealed, &ready, (&owner, node.as_mut()))?;
    if let Err(error) = ready.keep_bundles() {
        eprintln!("testimony: the trust bundle was not kept: {}", escape(error.to_string().as_bytes()));
    }
    sealed.remove_replaced()?;
    let _ = fs::remove_file(evidence.join(RESERVE));
    remove_parts(artifact);
    let meta = ready.meta();
    drop(ready);
    Ok(Recovered { statement, trace: sealed.trace, signers, meta })
}

/// Writes the statement beside its name, verifies it against the evidence on disk, and gives it its name.
fn sign_statement(
    artifact: &Artifact,
    sealed: &Sealed,
    ready: &Ready,
    (owner, node): (&Owner, Option<&mut Node>),
) -> Result<PathBuf, Error> {
    let (part, statement) = (artifact.unfinished(), artifact.statement());
    let Sealed { trace, head, .. } = sealed;
    let meta = ready.meta();
    let file = make(&part, owner).map_err(Error::io(&part))?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let (written, says) = ready.write(&mut out, |out: &mut dyn Write| statement::write(out, trace, head, &meta))?;
    says.iter().for_each(|says| eprintln!("testimony: {}", escape(says.as_bytes())));
    let file = out.into_inner().map_err(io::IntoInnerError::into_error).map_err(Error::io(&part))?;
    file.sync_all().map_err(Error::io(&part))?;
    check(&part, &artifact.evidence(), &ready.public_keys())?;
    // Before it has its name: a recovery that dies here is run again, and what is put once more is known by its payload.
    if let Some(node) = node {
        node.put((&part, &statement), written.payload_sha256)?;
    }
    fs::rename(&part, &statement).map_err(Error::io(&statement))?;
    Ok(statement)
}

/// What the run claimed beside its statement, and never wrote to the end: ours, by its name and by whose it is.
fn remove_parts(artifact: &Artifact) {
    for (suffix, _) in BESIDE {
        let part = artifact.beside(&format!("{suffix}.part"));
        let ours = |metadata: &fs::Metadata| {
            metadata.is_file() && metadata.nlink() == 1 && metadata.uid() == rustix::process::geteuid().as_raw()
        };
        if part.symlink_metadata().as_ref().is_ok_and(ours) {
            let _ = fs::remove_file(part);
        }
    }
}

/// A statement that a verifier would refuse is none.
fn check(part: &Path, evidence: &Path, keys: &[PublicKey]) -> Result<(), Error> {
    let objects = Directory::new(evidence.to_owned());
    let options = Options { evidence: Some(&objects), accept_incomplete: true, ..Options::by_keys(keys) };
    let verdict = verify(BufReader::new(open_regular(part).map_err(Error::io(part))?), &options);
    if verdict.refused() || verdict.complete {
        let _ = fs::remove_file(part);
        let mut refused = verdict.checks.iter().filter(|check| check.outcome == attestation::verify::Outcome::Refused);
        return Err(Error::Verify(
            refused.next_back().and_then(|check| check.code).unwrap_or(codes::CLAIM_CONTRADICTED),
        ));
    }
    Ok(())
}

/// A new file in place of whatever has this name, for the user behind sudo. Neither follows a link that somebody put
/// there.
fn make(path: &Path, owner: &Owner) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    if let Owner::Invoker { uid, gid, .. } = owner {
        fchown(&file, Some(*uid), Some(*gid))?;
    }
    Ok(file)
}

fn report(args: &Args, recovered: &Recovered) {
    let Recovered { statement, trace, signers, meta } = recovered;
    let gaps: Vec<&str> = trace.incompleteness().map(|finding| finding.code.as_str()).collect();
    if args.json {
        let line = serde_json::json!({
            "statement": statement,
            "complete": false,
            "processes": trace.processes().len(),
            "files": trace.files().count(),
            "contacts": trace.contacts().count(),
            "keyId": meta.signer,
            "gaps": gaps,
        });
        println!("{line}");
        return;
    }
    for key in signers.new_keys() {
        println!("a signing key was made: {}, public half {}", key.display(), sign::public_path(&key).display());
    }
    let (processes, files) = (trace.processes().len(), trace.files().count());
    println!("{processes} processes and {files} file versions were recovered");
    for finding in trace.incompleteness().take(GAPS_SHOWN_MAX) {
        println!("  {}: {}", finding.code, codes::find(&finding.code).map_or("", |code| code.meaning));
    }
    println!("{} signed, INCOMPLETE ({} gaps)", statement.display(), gaps.len());
}

#[cfg(test)]
mod tests;
