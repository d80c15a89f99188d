//! Files and directories: what a path stands for, and the objects of an evidence directory. Only regular files are read,
//! so that no pipe or device blocks a verifier.

use crate::pack::{Pack, is_pack};
use attestation::evidence::{Limits, LogError, header};
use attestation::hex;
use attestation::merkle::Hash;
use attestation::proof::PROOF_BYTES_MAX;
use attestation::verify::Objects;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes of a key file at most.
const KEY_BYTES_MAX: u64 = 64 << 10;
/// Entries of an evidence directory at most that are looked at when there is no statement to name them.
const ENTRIES_MAX: usize = 1 << 16;

/// What a path on the command line stands for.
pub enum Target {
    /// A statement, with its evidence where that is there.
    Statement {
        /// Its bytes.
        input: BufReader<File>,
        /// The evidence, where it is given or stands beside.
        evidence: Option<PathBuf>,
    },
    /// A statement and its evidence in one file.
    Pack(Pack),
    /// Evidence without a statement: what a run that died left.
    Evidence(PathBuf),
    /// Neither.
    Unreadable(io::Error),
}

impl Target {
    /// Looks at what is there; `evidence` is where the evidence is said to be.
    #[must_use]
    pub fn of(file: &Path, evidence: Option<&Path>) -> Self {
        if file.is_dir() {
            return Self::Evidence(file.to_owned());
        }
        let beside = beside(file);
        match open_regular(file) {
            Ok(input) if is_pack(&input) => Pack::read(input).map_or_else(Self::Unreadable, Self::Pack),
            Ok(input) => {
                let evidence = evidence.map(Path::to_owned).or(beside);
                Self::Statement { input: BufReader::new(input), evidence }
            }
            Err(error) => match beside.filter(|_| error.kind() == io::ErrorKind::NotFound) {
                Some(directory) => Self::Evidence(directory),
                None => Self::Unreadable(error),
            },
        }
    }
}

/// The evidence directory that belongs to `NAME.intoto.jsonl`, where it is there.
fn beside(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?.strip_suffix(".intoto.jsonl")?;
    Some(file.with_file_name(format!("{name}.evidence"))).filter(|path| path.is_dir())
}

/// Opens a regular file, and nothing else.
///
/// # Errors
/// What the file system answers; `InvalidInput` for anything that could block or has no end.
pub fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
    }
    File::open(path)
}

/// A key file's bytes.
pub(crate) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, KEY_BYTES_MAX)
}

/// The first bytes of a regular file.
///
/// # Errors
/// What the file system answers; `InvalidInput` for anything that is no regular file.
pub fn read_at_most(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A proof's bytes, and one more of what is too large for one.
pub(crate) fn read_proof(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, PROOF_BYTES_MAX as u64 + 1)
}

/// A directory of evidence objects.
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at this path.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The segments of a log that nobody signed, in the order that their headers give.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn in_order(&self) -> io::Result<Vec<BufReader<File>>> {
        self.segments()?.iter().map(|path| open_regular(path).map(BufReader::new)).collect()
    }

    /// Where those segments are.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn segments(&self) -> io::Result<Vec<PathBuf>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.0)?.take(ENTRIES_MAX) {
            let path = entry?.path();
            let Ok(input) = open_regular(&path) else {
                continue;
            };
            match header(BufReader::new(input), Limits::default()) {
                Ok(header) => segments.push((header.sequence, path)),
                // Cut before its header was whole: its name says where it belongs.
                Err(LogError::Truncated) => segments.extend(open_sequence(&path).map(|sequence| (sequence, path))),
                // Another object.
                Err(_) => {}
            }
        }
        segments.sort();
        Ok(segments.into_iter().map(|(_, path)| path).collect())
    }
}

/// The sequence in the name of a segment that was still open.
fn open_sequence(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("open-")?.parse().ok()
}

impl Objects for Directory {
    fn open(&self, sha256: &Hash) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(open_regular(&self.0.join(hex::encode(sha256)))?))
    }
}
