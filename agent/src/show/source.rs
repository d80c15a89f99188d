//! Where the trace that is shown comes from: a statement, with its evidence where that is its own; or evidence alone.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use attestation::{
    codes,
    dsse::{self, EnvelopeError, KeyError, PublicKey},
    evidence::{Limits, LogError, LogHead, LogReader},
    statement::{self, Meta, ReadError},
    trace::{self as facts, Builder},
    verify::{Options, Outcome, verify},
};
use proto::evidence::{event, frame::Body};
use testimony_verify::files::{Directory, open_regular};

use super::{statement::Statement, text::Time, trace::Trace};
use crate::artifact::Artifact;

/// Bytes of a public key at most.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// Why a file cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no envelope.
    #[error("{path} is no signed statement")]
    Envelope {
        /// Which.
        path: PathBuf,
        /// Why.
        source: EnvelopeError,
    },
    /// Its payload is no statement of ours.
    #[error("{path} is no runtime-trace statement of Testimony's")]
    Statement {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// Its payload lacks what is shown.
    #[error("{path} lacks parts of a statement")]
    Shape {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no session in the evidence.
    #[error("{0} holds no session")]
    NoSession(PathBuf),
    /// The key is none.
    #[error("{path} is no public key")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The key is given, and verification refuses.
    #[error("{path} is refused by verification ({code}): see testimony verify")]
    Refused {
        /// Which.
        path: PathBuf,
        /// The refusal's code.
        code: &'static str,
    },
}

/// What is known of the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signature {
    /// Nobody asked.
    NotChecked,
    /// It holds, by the key that was given.
    Holds,
    /// There is none: a run that died.
    None,
}

/// What is known of the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It is the statement's own, and was read.
    Read,
    /// It is not there.
    Absent,
    /// Something else stands in its place, and why it was not used.
    Foreign(String),
}

/// A trace and where it comes from.
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    pub(crate) trace: Trace,
    pub(crate) signature: Signature,
    pub(crate) evidence: Evidence,
}

/// The head of the log that a statement names, and where its evidence is; with keys, of a statement that verifies.
pub(crate) fn head(file: &Path, keys: &[PathBuf]) -> Result<(LogHead, Directory), Error> {
    let artifact = Artifact::of(file);
    let path = if file.exists() && !file.is_dir() { file.to_owned() } else { artifact.statement() };
    let evidence = Some(artifact.evidence()).filter(|evidence| evidence.is_dir());
    check(&path, keys, evidence.as_deref())?;
    let envelope = dsse::read(read(&path)?).map_err(|source| Error::Envelope { path: path.clone(), source })?;
    let claims = statement::read(&envelope.into_unverified()).map_err(|source| Error::Statement { path, source })?;
    Ok((claims.log, Directory::new(artifact.evidence())))
}

/// Opens what `file` stands for.
pub(crate) fn open(file: &Path, keys: &[PathBuf]) -> Result<Source, Error> {
    let artifact = Artifact::of(file);
    if file.is_dir() || (!file.exists() && !artifact.statement().exists() && artifact.evidence().is_dir()) {
        return unsigned(artifact.evidence());
    }
    // A file may have any name; NAME alone means NAME.intoto.jsonl.
    let path = if file.exists() { file.to_owned() } else { artifact.statement() };
    let evidence = Some(artifact.evidence()).filter(|evidence| evidence.is_dir());
    let signature = check(&path, keys, evidence.as_deref())?;
    let envelope = dsse::read(read(&path)?).map_err(|source| Error::Envelope { path: path.clone(), source })?;
    let payload = envelope.into_unverified();
    let claims = statement::read(&payload).map_err(|source| Error::Statement { path: path.clone(), source })?;
    let mut trace = parse(&path, &payload)?;
    drop(payload);
    let evidence = match evidence {
        None => Evidence::Absent,
        Some(directory) => match add_evidence(&mut trace, &directory, &claims.log) {
            Ok(()) => Evidence::Read,
            Err(why) => Evidence::Foreign(why),
        },
    };
    Ok(Source { file: path, trace, signature, evidence })
}

fn read(path: &Path) -> Result<BufReader<File>, Error> {
    open_regular(path).map(BufReader::new).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn parse(path: &Path, payload: &[u8]) -> Result<Trace, Error> {
    let statement: Statement =
        serde_json::from_slice(payload).map_err(|source| Error::Shape { path: path.to_owned(), source })?;
    Ok(Trace::new(statement))
}

/// With a key, nothing is shown that `verify` would refuse for more than being incomplete.
fn check(path: &Path, keys: &[PathBuf], evidence: Option<&Path>) -> Result<Signature, Error> {
    if keys.is_empty() {
        return Ok(Signature::NotChecked);
    }
    let keys = keys.iter().map(|path| key(path)).collect::<Result<Vec<_>, _>>()?;
    let objects = evidence.map(|directory| Directory::new(directory.to_owned()));
    let options = Options {
        evidence: objects.as_ref().map(|objects| objects as &dyn attestation::verify::Objects),
        accept_incomplete: true,
        ..Options::by_keys(&keys)
    };
    let verdict = verify(read(path)?, &options);
    match verdict.checks.iter().find(|check| check.outcome == Outcome::Refused) {
        Some(check) => {
            let code = check.code.unwrap_or(codes::SIGNATURE_INVALID);
            Err(Error::Refused { path: path.to_owned(), code })
        }
        None => Ok(Signature::Holds),
    }
}

fn key(path: &Path) -> Result<PublicKey, Error> {
    use std::io::Read as _;
    let mut pem = Vec::new();
    let limited = &mut read(path)?.take(KEY_BYTES_MAX);
    limited.read_to_end(&mut pem).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    PublicKey::from_pem(&pem).map_err(|source| Error::Key { path: path.to_owned(), source })
}

/// First and last access by file id.
type Times = HashMap<u64, (u64, u64)>;

/// Reads a log whose segments come in order.
fn read_log(
    segments: impl IntoIterator<Item = io::Result<BufReader<File>>>,
) -> (LogHead, Result<facts::Trace, String>, Times, Option<LogError>) {
    let (mut log, mut builder, mut times) = (LogReader::new(Limits::default()), Builder::default(), Times::new());
    let mut ended = None;
    for segment in segments {
        let read = segment.map_err(LogError::Io).and_then(|segment| {
            let mut frames = log.segment(segment)?;
            while let Some((_, frame)) = frames.next_frame()? {
                note(&frame, &mut times);
                let _ = builder.push(&frame);
            }
            Ok(())
        });
        if let Err(error) = read {
            ended = Some(error);
            break;
        }
    }
    (log.head(), builder.finish().map_err(|error| error.to_string()), times, ended)
}

fn note(frame: &proto::evidence::Frame, times: &mut Times) {
    let Some(Body::Event(event)) = &frame.body else { return };
    let file = match &event.body {
        Some(event::Body::Open(open)) => open.file_id,
        Some(event::Body::Exec(exec)) => match &exec.binary {
            Some(binary) => binary.id,
            None => return,
        },
        _ => return,
    };
    let (first, last) = times.entry(file).or_insert((event.boottime_ns, event.boottime_ns));
    *first = (*first).min(event.boottime_ns);
    *last = (*last).max(event.boottime_ns);
}

/// Adds what only the log tells: how each process accessed each file, and when.
fn add_evidence(trace: &mut Trace, directory: &Path, signed: &LogHead) -> Result<(), String> {
    let object = |name: String| open_regular(&directory.join(name)).map(BufReader::new);
    let segments = signed.segments.iter().map(|segment| object(segment.object_name()));
    let (head, log, times, ended) = read_log(segments);
    if let Some(error) = ended {
        return Err(format!("{:#}", anyhow::Error::from(error)));
    }
    if head != *signed {
        return Err("it is not the log that the statement names".to_owned());
    }
    enrich(trace, &log?, &times)
}

/// Statement and log list the same files in the same order; where they do not, one of them lies.
fn enrich(trace: &mut Trace, log: &facts::Trace, times: &Times) -> Result<(), String> {
    let content = |file: &facts::FileVersion<'_>| file.access & facts::access::CONTENT != 0;
    let differs = || "its files are not those of the statement".to_owned();
    let mut versions = log.files().filter(content);
    for file in &mut trace.files {
        let version = versions.next().ok_or_else(differs)?;
        if version.path != file.path.bytes() {
            return Err(differs());
        }
        file.who = version.processes().map(|(process, bits)| (process as usize, Some(bits))).collect();
        let time = |ns: u64| Time(log.unix_ns(ns));
        file.times = times.get(&version.id).map(|(first, last)| (time(*first), time(*last)));
    }
    if versions.next().is_some() { Err(differs()) } else { Ok(()) }
}

/// Evidence of a run that died: the statement that nobody signed is made here, and shown as what it is.
fn unsigned(directory: PathBuf) -> Result<Source, Error> {
    let unreadable = |source| Error::Read { path: directory.clone(), source };
    let paths = Directory::new(directory.clone()).segments().map_err(unreadable)?;
    let segments = paths.iter().map(|path| open_regular(path).map(BufReader::new));
    let (head, log, times, _) = read_log(segments);
    let log = log.map_err(|_| Error::NoSession(directory.clone()))?;
    let mut payload = Vec::new();
    statement::write(&mut payload, &log, &head, &Meta::default()).map_err(unreadable)?;
    let mut trace = parse(&directory, &payload)?;
    let evidence = enrich(&mut trace, &log, &times).map_or_else(Evidence::Foreign, |()| Evidence::Read);
    Ok(Source { file: directory, trace, signature: Signature::None, evidence })
}
