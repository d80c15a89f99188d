//! The folder that keeps the blobs of keys. They are of use in their own TPM only, and no secret; who can replace them
//! makes the helper use another key of that TPM, which the agent then sees by its name.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tpm_protocol::Bytes;

use crate::fault::Error;

/// Bytes of a kept key at most.
const KEPT_BYTES_MAX: u64 = 16 << 10;
const VERSION: u32 = 1;

/// The folder.
pub(crate) struct State {
    folder: PathBuf,
}

/// A key as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    version: u32,
    /// `TPMT_PUBLIC`.
    pub(crate) public: Bytes,
    /// The private half, encrypted by its parent in the TPM.
    pub(crate) private: Bytes,
}

impl Kept {
    pub(crate) fn new(public: Vec<u8>, private: &[u8]) -> Self {
        Self { version: VERSION, public: public.into(), private: private.into() }
    }
}

/// Alone with the folder, until it is dropped.
pub(crate) struct Held<'a> {
    folder: &'a Path,
    _lock: File,
}

impl State {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes the folder where it is not there, and waits for other helpers that use it.
    pub(crate) fn hold(&self) -> Result<Held<'_>, Error> {
        let hold = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let lock = private_file().create(true).open(self.folder.join("lock"))?;
            lock.lock()?;
            Ok(Held { folder: &self.folder, _lock: lock })
        };
        hold().map_err(failed(&self.folder))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Held<'_> {
    /// A key that was kept.
    pub(crate) fn key(&self, name: &str) -> Result<Option<Kept>, Error> {
        let path = self.folder.join(name);
        let text = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > KEPT_BYTES_MAX => return Err(Error::Kept(path)),
            found => found.and_then(|_| fs::read(&path)).map_err(failed(&path))?,
        };
        let kept = serde_json::from_slice::<Kept>(&text).ok().filter(|kept| kept.version == VERSION);
        kept.map(Some).ok_or(Error::Kept(path))
    }

    /// Keeps a key: it is there as a whole, and durable, or not at all.
    pub(crate) fn keep(&self, name: &str, kept: &Kept) -> Result<(), Error> {
        let (path, new) = (self.folder.join(name), self.folder.join(format!("{name}.new")));
        let keep = || {
            let mut file = private_file().create(true).truncate(true).open(&new)?;
            file.write_all(&serde_json::to_vec(kept)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(self.folder)?.sync_all()
        };
        keep().map_err(failed(&path))
    }
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    |error| Error::State { path, error }
}

#[cfg(test)]
mod tests {
    use super::{Kept, State};
    use crate::fault::Error;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_kept_is_its_owners_alone_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path().join("a/b"));
        let held = state.hold().unwrap();
        assert!(held.key("key").unwrap().is_none());
        held.keep("key", &Kept::new(vec![1], &[2])).unwrap();
        let kept = held.key("key").unwrap().unwrap();
        assert_eq!((&*kept.public, &*kept.private), ([1].as_slice(), [2].as_slice()));
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/b"), mode("a/b/key"), mode("a/b/lock")), (0o700, 0o600, 0o600));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path().to_owned());
        for text in ["", "{}", r#"{"version":2,"public":"","private":""}"#, &" ".repeat(1 << 15)] {
            fs::write(folder.path().join("key"), text).unwrap();
            assert!(matches!(state.hold().unwrap().key("key"), Err(Error::Kept(_))));
        }
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(State::new(folder.path().join("file")).hold(), Err(Error::State { .. })));
    }
}
