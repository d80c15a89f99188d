//! The one statement that is signed and not delivered yet: a line of JSON, and the envelope behind it, in the folder of the queue, which
//! is its owner's alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use attestation::{hex, merkle::Hash, statement::Meta};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Error, digest};
use crate::submission::open_itself;

/// An envelope is a third longer than its payload, which a queue takes 32 MiB of.
const BYTES_MAX: u64 = 64 << 20;
const SIGNED: &str = "signed";
const PART: &str = "signed.part";
/// Held by whoever signs, or takes one out of the queue.
const LOCK: &str = "signing.lock";

/// What is known of it, and the envelope.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    /// In the queue.
    pub(super) number: u64,
    pub(super) signer: String,
    chain_number: Option<u64>,
    payload_sha256: Hash,
    pub(super) envelope: Arc<Vec<u8>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Head {
    number: u64,
    signer: String,
    chain_number: Option<u64>,
    payload_sha256: String,
    envelope_sha256: String,
}

impl Signed {
    pub(super) fn new(number: u64, meta: &Meta, payload_sha256: Hash, envelope: Vec<u8>) -> Self {
        let (signer, chain_number) = (meta.signer.clone(), meta.number);
        Self { number, signer, chain_number, payload_sha256, envelope: Arc::new(envelope) }
    }

    pub(super) fn payload_sha256(&self) -> Hash {
        self.payload_sha256
    }

    pub(super) fn chain_number(&self) -> Option<u64> {
        self.chain_number
    }

    fn head(&self) -> Head {
        Head {
            number: self.number,
            signer: self.signer.clone(),
            chain_number: self.chain_number,
            payload_sha256: hex::encode(&self.payload_sha256),
            envelope_sha256: hex::encode(&Sha256::digest(self.envelope.as_slice())),
        }
    }

    /// None if it was not written to its end.
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, envelope) = bytes.split_at_checked(end)?;
        let (head, envelope): (Head, _) = (serde_json::from_slice(line).ok()?, envelope.get(1..)?.to_vec());
        (hex::encode(&Sha256::digest(&envelope)) == head.envelope_sha256).then_some(())?;
        let Head { number, signer, chain_number, .. } = head;
        let payload_sha256 = digest(&head.payload_sha256)?;
        Some(Self { number, signer, chain_number, payload_sha256, envelope: Arc::new(envelope) })
    }
}

/// Where it is kept.
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Whole and durable, and not signed yet by its name.
    pub(super) fn prepare(&self, signed: &Signed) -> Result<(), Error> {
        let path = self.folder.join(PART);
        let write = || -> io::Result<()> {
            remove(&path)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            serde_json::to_writer(&mut file, &signed.head())?;
            file.write_all(b"\n")?;
            file.write_all(&signed.envelope)?;
            file.sync_all()?;
            self.sync()
        };
        write().map_err(failed(&path))
    }

    /// From here on it is signed.
    pub(super) fn commit(&self) -> Result<(), Error> {
        let path = self.folder.join(SIGNED);
        fs::rename(self.folder.join(PART), &path).and_then(|()| self.sync()).map_err(failed(&path))
    }

    /// It was never signed.
    pub(super) fn discard(&self) -> Result<(), Error> {
        let path = self.folder.join(PART);
        remove(&path).map_err(failed(&path))
    }

    /// It is delivered.
    pub(super) fn remove(&self) -> Result<(), Error> {
        let path = self.folder.join(SIGNED);
        remove(&path).and_then(|()| self.sync()).map_err(failed(&path))
    }

    /// What may be signed, if it is whole.
    pub(super) fn part(&self) -> Result<Option<Signed>, Error> {
        self.read(PART)
    }

    pub(super) fn signed(&self) -> Result<Option<Signed>, Error> {
        self.read(SIGNED)
    }

    fn read(&self, name: &str) -> Result<Option<Signed>, Error> {
        let path = self.folder.join(name);
        let mut bytes = Vec::new();
        match open_itself(&path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Signed::read(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Io { path: path.to_owned(), source }
}

/// That no other process signs.
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        options.open(&path).map(Self).map_err(failed(&path))
    }

    pub(super) fn take(&self) -> Result<(), Error> {
        flock(&self.0, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::Other)
    }

    /// It goes with its holder, however that ends.
    pub(super) fn give(&self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
