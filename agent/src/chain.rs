//! The chain of statements: each has the next number of its scope (host, signing key, boot) and the digest of the one before it,
//! so that one which is left out or replaced leaves a gap or a fork (docs/format.md, section 11).
//!
//! The last link of a scope is a file of the host. Whoever signs holds its lock from the number to the statement, so
//! statements of parallel sessions follow each other. A number is noted before its statement is signed, and the digest before
//! the statement gets its name: where a run dies between, the number is void, or its statement is missing; it is never given
//! again. Nothing is forced to the disk, since a scope ends with its boot.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use attestation::{hex, merkle::Hash};
use rustix::{
    fs::{Access, FlockOperation, access, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Where the links are unless it is said.
pub const DEFAULT: &str = "/var/lib/testimony/chain";
/// How long a run waits for another that signs in its scope.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Bytes of a link's file at most.
const BYTES_MAX: u64 = 4096;

/// The folder of the links.
pub struct Chain {
    folder: PathBuf,
}

/// The place of a statement that is about to be signed. The scope is locked as long as it lives.
pub struct Link {
    /// Its number, from 1.
    pub number: u64,
    /// Digest of the payload before it.
    pub previous: Option<Hash>,
    /// Of the last one that had waited for its signer.
    waited: Option<Hash>,
    path: PathBuf,
    _locked: File,
}

/// What a link's file says, always in as many bytes: it is written in place, which needs no room on the disk.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    /// The last number that was given, in 20 digits.
    number: String,
    /// The payload of the last statement that was signed, in hexadecimal; zeros if there is none.
    sha256: String,
    /// The payload of the last one that had waited for its signer, likewise: whoever was killed while it signed that sees whether the
    /// chain has it.
    #[serde(default = "none")]
    waited: String,
}

/// No payload.
fn none() -> String {
    hex::encode(&[0; 32])
}

impl Last {
    fn new(number: u64, payload: Option<&Hash>, waited: Option<&Hash>) -> Self {
        let hex = |payload: Option<&Hash>| payload.map_or_else(none, |payload| hex::encode(payload));
        Self { number: format!("{number:020}"), sha256: hex(payload), waited: hex(waited) }
    }

    /// Number and payloads; none if they have not their form.
    fn place(&self) -> Option<(u64, Option<Hash>, Option<Hash>)> {
        let number = self.number.parse().ok().filter(|_| self.number.len() == 20)?;
        let payload = |text: &str| Some(Some(hex::decode_sha256(text)?).filter(|payload| *payload != [0; 32]));
        Some((number, payload(&self.sha256)?, payload(&self.waited)?))
    }
}

/// What the file of a host's sessions says, always in as many bytes, as a link's does.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sessions {
    /// The boot of the last one, in hexadecimal.
    boot: String,
    /// Sessions of that boot, in 20 digits.
    since_boot: String,
    /// Sessions since the folder was made, in 20 digits.
    since_install: String,
}

impl Chain {
    /// In this folder, which is made if it is not there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        access(folder, Access::WRITE_OK | Access::EXEC_OK)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where it is, from anywhere.
    pub fn folder(&self) -> io::Result<PathBuf> {
        std::path::absolute(&self.folder)
    }

    /// The next place in a scope. Waits for whoever signs in it, but not for ever.
    pub fn next(&self, host_id: &[u8], signer: &str, boot_id: &[u8]) -> io::Result<Link> {
        let (path, locked) = self.scope(host_id, signer, boot_id)?;
        let (number, previous, waited) = match open(&path, false) {
            Ok(file) => read(file)?.place().ok_or_else(|| broken(&path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget_other_boots(&host_of(host_id), &hex::encode(boot_id))?;
                (0, None, None)
            }
            Err(error) => return Err(error),
        };
        let number = number.checked_add(1).ok_or_else(|| broken(&path))?;
        write(&path, &Last::new(number, previous.as_ref(), waited.as_ref()))?;
        Ok(Link { number, previous, waited, path, _locked: locked })
    }

    /// Whether a statement that had waited for its signer has this number. Whoever signed it was killed before it said so: where
    /// nobody signed since, it is said now; else the chain has it, or the number is void.
    pub fn has(&self, host_id: &[u8], signer: &str, boot_id: &[u8], number: u64, payload: &Hash) -> io::Result<bool> {
        let (path, _locked) = self.scope(host_id, signer, boot_id)?;
        let last = match open(&path, false) {
            Ok(file) => read(file)?.place().ok_or_else(|| broken(&path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if last.2 == Some(*payload) {
            return Ok(true);
        }
        if last.0 != number {
            return Ok(false);
        }
        write(&path, &Last::new(number, Some(payload), Some(payload)))?;
        Ok(true)
    }

    /// The file of a scope, locked.
    fn scope(&self, host_id: &[u8], signer: &str, boot_id: &[u8]) -> io::Result<(PathBuf, File)> {
        let (host, boot) = (host_of(host_id), hex::encode(boot_id));
        let name = format!("{host}-{boot}-{}", hex::encode(&Sha256::digest(signer)));
        let locked = open(&self.folder.join(format!("{name}.lock")), true)?;
        lock(&locked)?;
        Ok((self.folder.join(format!("{name}.json")), locked))
    }

    /// Counts a session of the host that begins: which it is since the boot, and since the folder was made.
    pub fn count_session(&self, host_id: &[u8], boot_id: &[u8]) -> io::Result<(u64, u64)> {
        let path = self.folder.join(format!("sessions-{}.json", host_of(host_id)));
        let file = open(&path, true)?;
        lock(&file)?;
        let mut json = Vec::new();
        (&file).take(BYTES_MAX).read_to_end(&mut json)?;
        let boot = hex::encode(boot_id);
        let (mut since_boot, mut since_install) = (0, 0);
        // It is empty when it was just made.
        if !json.is_empty() {
            let before: Sessions = serde_json::from_slice(&json).map_err(|_| broken_count(&path))?;
            let number = |digits: &str| digits.parse::<u64>().ok().filter(|_| digits.len() == 20);
            since_boot = number(&before.since_boot).filter(|_| before.boot == boot).unwrap_or(0);
            since_install = number(&before.since_install).ok_or_else(|| broken_count(&path))?;
        }
        let next = |number: u64| number.checked_add(1).ok_or_else(|| broken_count(&path));
        let (since_boot, since_install) = (next(since_boot)?, next(since_install)?);
        let digits = |number: u64| format!("{number:020}");
        let now = Sessions { boot, since_boot: digits(since_boot), since_install: digits(since_install) };
        file.write_all_at(&serde_json::to_vec(&now)?, 0)?;
        Ok((since_boot, since_install))
    }

    /// Scopes of this host's boots that are over are of no use. Other files, and those of hosts that share the folder, are none
    /// of our business.
    fn forget_other_boots(&self, host: &str, boot: &str) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let other = name.to_str().and_then(link_of).is_some_and(|link| link.0 == host && link.1 != boot);
            if other {
                // Another run may have removed it.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

impl Link {
    /// The statement of this place has been signed: the next one follows it.
    pub fn signed(self, payload_sha256: &Hash) -> io::Result<()> {
        write(&self.path, &Last::new(self.number, Some(payload_sha256), self.waited.as_ref()))
    }

    /// The same, of one that had waited for its signer.
    pub fn signed_late(self, payload_sha256: &Hash) -> io::Result<()> {
        write(&self.path, &Last::new(self.number, Some(payload_sha256), Some(payload_sha256)))
    }
}

/// A host in the names of files.
fn host_of(host_id: &[u8]) -> String {
    hex::encode(&Sha256::digest(host_id)[..8])
}

/// Host and boot in the name of a link or its lock: with the signer, in hexadecimal.
fn link_of(name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let mut parts = stem.split('-');
    let mut part = |bytes: usize| parts.next().filter(|text| hex::decode(text).is_some_and(|part| part.len() == bytes));
    let (host, boot, _) = (part(8)?, part(16)?, part(32)?);
    (["json", "lock"].contains(&extension) && parts.next().is_none()).then_some((host, boot))
}

/// Opens a file of the folder, and nothing that stands in its place.
fn open(path: &Path, make: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(make).truncate(false).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(broken(path)) }
}

/// A run that is stopped while it signs must not keep others from signing.
fn lock(file: &File) -> io::Result<()> {
    let limit = Instant::now() + WAIT_MAX;
    while let Err(error) = flock(file, FlockOperation::NonBlockingLockExclusive) {
        if error != Errno::WOULDBLOCK || Instant::now() > limit {
            return Err(error.into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn broken(path: &Path) -> io::Error {
    let says =
        format!("{} is broken: remove it, and the chain begins anew, which verification calls a fork", path.display());
    io::Error::new(io::ErrorKind::InvalidData, says)
}

fn broken_count(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} is broken: remove it, and the count begins anew", path.display()),
    )
}

fn read(file: File) -> io::Result<Last> {
    let mut json = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut json)?;
    serde_json::from_slice(&json).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write(path: &Path, last: &Last) -> io::Result<()> {
    open(path, true)?.write_all_at(&serde_json::to_vec(last)?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"host";

    #[test]
    fn each_follows_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let chain = Chain::open(&folder.path().join("chain")).unwrap();
        let first = chain.next(HOST, "key", b"boot").unwrap();
        assert_eq!((first.number, first.previous), (1, None));
        first.signed(&[7; 32]).unwrap();
        let second = chain.next(HOST, "key", b"boot").unwrap();
        assert_eq!((second.number, second.previous), (2, Some([7; 32])));
        // It dies before it has signed: its number is void.
        drop(second);
        let third = chain.next(HOST, "key", b"boot").unwrap();
        assert_eq!((third.number, third.previous), (3, Some([7; 32])));
        drop(third);
        assert_eq!(chain.next(HOST, "another key", b"boot").unwrap().number, 1);
        assert_eq!(chain.next(b"another host", "key", b"boot").unwrap().number, 1);
    }

    #[test]
    fn a_boot_begins_anew_and_forgets_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let chain = Chain::open(folder.path()).unwrap();
        chain.next(HOST, "key", b"one boot of 16 B").unwrap().signed(&[7; 32]).unwrap();
        fs::write(folder.path().join("notes.json"), "of somebody else").unwrap();
        assert_eq!(chain.next(HOST, "key", b"another, 16 B. x").unwrap().number, 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn nothing_that_stands_in_a_link_s_place_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let chain = Chain::open(folder.path()).unwrap();
        let path = chain.next(HOST, "key", b"boot").unwrap().path.clone();
        let other = folder.path().join("other");
        fs::write(&other, "of somebody else").unwrap();
        for path in [path.clone(), path.with_extension("lock")] {
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(&other, &path).unwrap();
            assert!(chain.next(HOST, "key", b"boot").is_err());
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(fs::read_to_string(other).unwrap(), "of somebody else");
    }

    #[test]
    fn many_at_once_have_a_number_each_and_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let sign = |_| {
            let link = Chain::open(folder.path()).unwrap().next(HOST, "key", b"boot").unwrap();
            let payload = Sha256::digest(link.number.to_be_bytes()).into();
            let place = (link.number, link.previous, payload);
            link.signed(&payload).unwrap();
            place
        };
        let mut places: Vec<(u64, Option<Hash>, Hash)> = thread::scope(|scope| {
            let signing: Vec<_> = (0..16).map(|index| scope.spawn(move || sign(index))).collect();
            signing.into_iter().map(|signing| signing.join().unwrap()).collect()
        });
        places.sort_unstable();
        assert!(places.iter().zip(1..).all(|(place, number)| place.0 == number));
        assert!(places.windows(2).all(|pair| pair[1].1 == Some(pair[0].2)));
    }

    #[test]
    fn whether_the_chain_has_one_that_was_signed_late_is_known_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let chain = Chain::open(folder.path()).unwrap();
        let next = || chain.next(HOST, "key", b"boot").unwrap();
        let has = |number, payload: u8| chain.has(HOST, "key", b"boot", number, &[payload; 32]).unwrap();
        assert!(!has(1, 1));
        next().signed(&[1; 32]).unwrap();
        // Killed before it was said, and nobody signed since: it is said now, and once.
        drop(next());
        assert!(has(2, 2) && has(2, 2));
        assert_eq!(next().previous, Some([2; 32]));
        // Number 3 is void, and others went on: what is said of one stays known.
        next().signed_late(&[4; 32]).unwrap();
        next().signed(&[5; 32]).unwrap();
        drop(next());
        assert!(has(4, 4) && !has(3, 3) && !has(5, 6) && !has(2, 2));
        let last = next();
        assert_eq!((last.number, last.previous), (7, Some([5; 32])));
    }

    #[test]
    fn a_link_of_before_says_of_none_that_it_waited() {
        let folder = tempfile::tempdir().unwrap();
        let chain = Chain::open(folder.path()).unwrap();
        let link = chain.next(HOST, "key", b"boot").unwrap();
        let path = link.path.clone();
        link.signed(&[1; 32]).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        let (kept, _) = before.split_once(",\"waited\"").unwrap();
        fs::write(&path, format!("{kept}}}")).unwrap();
        let link = chain.next(HOST, "key", b"boot").unwrap();
        assert_eq!((link.number, link.previous, link.waited), (2, Some([1; 32]), None));
    }

    #[test]
    fn sessions_are_counted_by_boot_and_by_host() {
        let folder = tempfile::tempdir().unwrap();
        let chain = Chain::open(folder.path()).unwrap();
        let count = |host: &[u8], boot: &[u8]| chain.count_session(host, boot).unwrap();
        assert_eq!((count(HOST, b"boot"), count(HOST, b"boot")), ((1, 1), (2, 2)));
        assert_eq!(count(b"another host", b"boot"), (1, 1));
        assert_eq!((count(HOST, b"next"), count(HOST, b"next")), ((1, 3), (2, 4)));
        let mut at_once: Vec<u64> = thread::scope(|scope| {
            let counting: Vec<_> = (0..16).map(|_| scope.spawn(|| count(HOST, b"next").1)).collect();
            counting.into_iter().map(|counting| counting.join().unwrap()).collect()
        });
        at_once.sort_unstable();
        assert!(at_once.into_iter().eq(5..21));
    }

    #[test]
    fn a_broken_count_is_said_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let chain = Chain::open(folder.path()).unwrap();
        chain.count_session(HOST, b"boot").unwrap();
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read_to_string(&path).unwrap();
        for json in [
            "{",
            "{}",
            &whole.replace("Install\":\"0", "Install\":\""),
            &whole.replace("Install\":\"0", "Install\":\"x"),
        ] {
            fs::write(&path, json).unwrap();
            assert!(chain.count_session(HOST, b"boot").is_err(), "{json}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.path().join("other"), &path).unwrap();
        assert!(chain.count_session(HOST, b"boot").is_err());
        assert!(!folder.path().join("other").exists());
    }

    #[test]
    fn a_broken_link_is_said_and_nothing_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let chain = Chain::open(folder.path()).unwrap();
        let path = chain.next(HOST, "key", b"boot").unwrap().path.clone();
        let last = serde_json::to_string(&Last::new(u64::MAX, None, None)).unwrap();
        for json in [
            "",
            "{}",
            &last,
            &last.replace("\"1", "\""),
            "{\"number\":\"1\",\"sha256\":\"x\"}",
            &last.replacen("waited\":\"0", "waited\":\"x", 1),
        ] {
            fs::write(&path, json).unwrap();
            assert!(chain.next(HOST, "key", b"boot").is_err(), "{json}");
        }
    }
}
