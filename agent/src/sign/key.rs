//! The key file: P-256, made on first use, readable by its owner alone.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use attestation::dsse::{KeyError, KeyFile};
use rustix::rand::{GetRandomFlags, getrandom};

/// Where the key is unless it is said.
pub const DEFAULT: &str = "/etc/testimony/signing.key";
/// Bytes a key file may have.
const KEY_BYTES_MAX: u64 = 16 * 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("the signing key {path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("the signing key {path} cannot be written")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the signing key {path} may be read by others (mode {mode:o}): chmod 600 {path}")]
    Mode {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no key.
    #[error("{path} is no signing key")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// No random bytes.
    #[error("the kernel gives no random bytes")]
    Random(#[source] io::Error),
}

/// A signing key and whether this call made it.
pub struct Key {
    /// The key.
    pub file: KeyFile,
    /// Where it is.
    pub path: PathBuf,
    /// Made just now.
    pub new: bool,
}

/// Reads the key at `path`, or makes it with its public half beside it (`PATH.pub`).
pub fn load_or_make(path: &Path) -> Result<Key, Error> {
    match load(path) {
        Ok(file) => Ok(Key { file, path: path.to_owned(), new: false }),
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Key { file: make(path)?, path: path.to_owned(), new: true })
        }
        Err(error) => Err(error),
    }
}

/// Reads the key at `path`.
pub fn load(path: &Path) -> Result<KeyFile, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(Error::Mode { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    if !metadata.is_file() || metadata.len() > KEY_BYTES_MAX {
        return Err(unreadable(io::ErrorKind::InvalidData.into()));
    }
    let pem = fs::read(path).map_err(unreadable)?;
    KeyFile::from_pem(&pem).map_err(|source| Error::Key { path: path.to_owned(), source })
}

/// Makes a key at `path` and its public half at `PATH.pub`; neither may be there.
pub fn make(path: &Path) -> Result<KeyFile, Error> {
    let mut random = [0u8; 32];
    let file = loop {
        getrandom(&mut random, GetRandomFlags::empty()).map_err(|errno| Error::Random(errno.into()))?;
        if let Ok(file) = KeyFile::from_random(&random) {
            break file;
        }
    };
    let bad = |source| Error::Key { path: path.to_owned(), source };
    let (private, public) = (file.to_pem().map_err(bad)?, file.public().to_pem().map_err(bad)?);
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(|source| Error::Write { path: directory.to_owned(), source })?;
    }
    write_new(path, private.as_bytes(), 0o600)?;
    write_new(&public_path(path), public.as_bytes(), 0o644)?;
    Ok(file)
}

/// Where the public half of the key at `path` is.
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| Error::Write { path: path.to_owned(), source })
}
