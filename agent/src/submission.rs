//! What a collector is sent of a run: its statement, and what stands beside that by the run's name.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use attestation::merkle::Hash;
use collector_api::Submission;
use prost::Message as _;
use spool::{Dropped, ITEM_BYTES_MAX, Item, Kind, Spool};
use testimony_verify::platform::BESIDE;

use crate::{artifact::Artifact, daemon};

/// Characters of a statement's name that are kept, of four bytes at most.
const NAME_CHARS_MAX: usize = spool::NAME_BYTES_MAX / 4;

/// A statement alone.
pub(crate) fn of(envelope: Vec<u8>) -> Submission {
    Submission { envelope, ..Submission::default() }
}

/// A statement, with all that its run left beside it.
///
/// # Errors
/// If something there cannot be read.
pub(crate) fn with_beside(envelope: Vec<u8>, run: &Artifact) -> anyhow::Result<Submission> {
    let [quote, firmware_log, ima_list, bundle] = BESIDE.map(|(suffix, _)| {
        let path = run.beside(suffix);
        match open_itself(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            opened => opened.and_then(|file| all(&file)).with_context(|| path.display().to_string()),
        }
    });
    let quote = quote?;
    // Without a quote the logs prove nothing.
    let logs = if quote.is_empty() { [Vec::new(), Vec::new()] } else { [firmware_log?, ima_list?] };
    let [firmware_log, ima_list] = logs;
    Ok(Submission { number: 0, envelope, quote, bundle: bundle?, firmware_log, ima_list })
}

/// Puts it into the spool, with what it says of those that were dropped. Logs that do not fit stay where they are, which is told.
///
/// # Errors
/// Why the spool does not take it.
pub(crate) fn put(
    spool: &mut Spool,
    (path, payload_sha256): (&Path, Hash),
    mut submission: Submission,
    says: Option<&Dropped>,
    tell: impl Fn(&str),
) -> Result<u64, spool::Error> {
    for left_out in fit(&mut submission, spool.item_bytes_max()) {
        let (path, bytes_max) = (path.display(), spool.item_bytes_max());
        tell(&format!("{left_out} beside {path} is not delivered: with it there would be more than {bytes_max} bytes"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    let (envelope, made_s) = (submission.encode_to_vec(), daemon::now_s());
    let (kind, sha256, envelope) = (Kind::Statement, payload_sha256, envelope.as_slice());
    let item = Item { kind, name: &name, sha256, envelope, evidence: None, made_s };
    // What it says of those before it and that it waits itself come to be in one: said neither twice nor by nobody.
    match says {
        Some(says) => spool.put_saying(&item, says, made_s),
        None => spool.put(&item, made_s),
    }
}

/// Leaves out what the quote holds without; nothing is claimed of the boot then. The kernel's list grows as long as the host is up.
fn fit(submission: &mut Submission, bytes_max: u64) -> Vec<&'static str> {
    let mut left_out = Vec::new();
    let too_large = |submission: &Submission| submission.encoded_len() as u64 > bytes_max;
    if too_large(submission) && !submission.ima_list.is_empty() {
        submission.ima_list.clear();
        left_out.push("the kernel's list");
    }
    if too_large(submission) && !submission.firmware_log.is_empty() {
        submission.firmware_log.clear();
        left_out.push("the firmware's log");
    }
    left_out
}

/// A regular file of this very name: whoever may write its folder has us read no other one, and wait for nobody.
pub(crate) fn open_itself(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// One byte more than is taken, so that what is too large is told.
pub(crate) fn all(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(ITEM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_that_are_too_long_stay_behind_and_the_statement_does_not() {
        let bytes = |byte: u8, count: usize| vec![byte; count];
        let whole = || Submission {
            number: 0,
            envelope: bytes(1, 100),
            quote: bytes(2, 100),
            bundle: bytes(3, 100),
            firmware_log: bytes(4, 1000),
            ima_list: bytes(5, 1000),
        };
        let fitted = |bytes_max: u64| {
            let mut submission = whole();
            let left_out = fit(&mut submission, bytes_max);
            assert_eq!((submission.envelope.len(), submission.quote.len(), submission.bundle.len()), (100, 100, 100));
            (left_out.len(), submission.firmware_log.len(), submission.ima_list.len())
        };
        let bytes = whole().encoded_len() as u64;
        assert_eq!(fitted(bytes), (0, 1000, 1000));
        assert_eq!(fitted(bytes - 1), (1, 1000, 0));
        assert_eq!(fitted(1000), (2, 0, 0));
        assert_eq!(fitted(10), (2, 0, 0));
    }

    #[test]
    fn what_stands_beside_is_no_link_to_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let run = Artifact::of(&folder.path().join("r"));
        assert_eq!(with_beside(b"x".to_vec(), &run).unwrap(), of(b"x".to_vec()));
        std::fs::write(run.beside(".ima-list"), "list").unwrap();
        assert_eq!(with_beside(b"x".to_vec(), &run).unwrap().ima_list, b"");
        std::fs::write(run.beside(".quote.intoto.jsonl"), "quote").unwrap();
        let sent = with_beside(b"x".to_vec(), &run).unwrap();
        assert_eq!((sent.quote.as_slice(), sent.ima_list.as_slice()), (&b"quote"[..], &b"list"[..]));
        std::fs::remove_file(run.beside(".ima-list")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", run.beside(".ima-list")).unwrap();
        assert!(with_beside(b"x".to_vec(), &run).is_err());
    }
}
