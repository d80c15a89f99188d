//! Where a statement that waited belongs. Whoever owns that folder may have moved it, removed it, or put something else in its way
//! since, and the agent may be root: it is the folder that it was, or nothing is written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, UNIX_EPOCH},
};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use crate::{artifact::Artifact, evidence::descriptor_path, submission::open_itself};

/// How long a file system may take: it may be a user's own, or gone.
const WRITE_MAX: Duration = Duration::from_secs(30);
/// Writers that hang in one; as long as there are so many, nothing is written outside of the spool.
const HANGING_MAX: usize = 4;

/// A folder, by what no other one has: an inode's number is given again, its birth is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    dev: u64,
    ino: u64,
    born: Option<Duration>,
}

/// What is to be written, and to whom it is given.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) run: Artifact,
    pub(super) place: Place,
    pub(super) owner: Option<(u32, u32)>,
    /// Whether this is another boot than that in which the folder was seen: devices have other numbers then.
    pub(super) other_boot: bool,
    pub(super) envelope: Arc<Vec<u8>>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// By its name or by what it is.
    #[error("the folder is not the one that the run wrote to")]
    Moved,
    /// Of somebody else.
    #[error("something is there already, and stays")]
    There,
    /// It hangs.
    #[error("its file system did not answer within {} s", WRITE_MAX.as_secs())]
    Late,
    /// What the file system says.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Place {
    /// Of an open folder.
    pub(crate) fn of(folder: &File) -> io::Result<Self> {
        let metadata = folder.metadata()?;
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Ok(Self { dev: metadata.dev(), ino: metadata.ino(), born })
    }

    fn is(&self, now: &Self, other_boot: bool) -> bool {
        let device = self.dev == now.dev || (other_boot && self.born.is_some());
        device && self.ino == now.ino && self.born == now.born
    }
}

/// Writes what is wanted, beside: whoever has the folder on a file system that hangs holds up nobody else.
pub(super) fn write(wanted: Wanted) -> Result<(), Error> {
    static HANGING: AtomicUsize = AtomicUsize::new(0);
    if HANGING.load(Ordering::Relaxed) >= HANGING_MAX {
        return Err(Error::Late);
    }
    let (tell, told) = mpsc::sync_channel(1);
    HANGING.fetch_add(1, Ordering::Relaxed);
    let started = thread::Builder::new().name("place".to_owned()).spawn(move || {
        let written = wanted.write();
        HANGING.fetch_sub(1, Ordering::Relaxed);
        let _ = tell.send(written);
    });
    if let Err(error) = started {
        HANGING.fetch_sub(1, Ordering::Relaxed);
        return Err(error.into());
    }
    told.recv_timeout(WRITE_MAX).unwrap_or(Err(Error::Late))
}

impl Wanted {
    /// Whole or not at all, in place of nothing; once more changes nothing.
    fn write(&self) -> Result<(), Error> {
        let statement = self.run.statement();
        let (Some(folder), Some(name)) = (statement.parent(), statement.file_name()) else { return Err(Error::Moved) };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let folder = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(folder)?;
        if !self.place.is(&Place::of(&folder)?, self.other_boot) {
            return Err(Error::Moved);
        }
        // By the descriptor: whoever moves the folder's name meanwhile does not move us.
        let path = descriptor_path(&folder).join(name);
        if path.symlink_metadata().is_ok() {
            return if self.is_there(&path)? { Ok(()) } else { Err(Error::There) };
        }
        let part = descriptor_path(&folder).join(self.run.unfinished().file_name().unwrap_or_default());
        let written = self.write_part(&part, &path);
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written?;
        Ok(folder.sync_all()?)
    }

    fn write_part(&self, part: &Path, path: &Path) -> Result<(), Error> {
        match fs::remove_file(part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
        file.write_all(&self.envelope)?;
        if let Some((uid, gid)) = self.owner {
            fchown(&file, Some(uid), Some(gid))?;
        }
        file.sync_all()?;
        match renameat_with(CWD, part, CWD, path, RenameFlags::NOREPLACE) {
            // Not every file system knows it.
            Err(rustix::io::Errno::INVAL) => fs::rename(part, path)?,
            Err(rustix::io::Errno::EXIST) => return Err(Error::There),
            renamed => renamed.map_err(io::Error::from)?,
        }
        let (ours, there) = (file.metadata()?, path.symlink_metadata()?);
        if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) { Ok(()) } else { Err(Error::There) }
    }

    /// Whether it was written before.
    fn is_there(&self, path: &Path) -> io::Result<bool> {
        let mut bytes = Vec::new();
        open_itself(path)?.take(self.envelope.len() as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes == *self.envelope)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            let scene = Self(tempfile::tempdir().unwrap());
            fs::create_dir(scene.0.path().join("d")).unwrap();
            scene
        }

        fn wanted(&self) -> Wanted {
            let folder = self.0.path().join("d");
            let place = Place::of(&File::open(&folder).unwrap()).unwrap();
            let run = Artifact::of(&folder.join("r"));
            Wanted { run, place, owner: None, other_boot: false, envelope: Arc::new(b"signed\n".to_vec()) }
        }
    }

    #[test]
    fn it_is_written_for_its_owner_alone_and_once_more_changes_nothing() {
        let scene = Scene::new();
        let wanted = Wanted { owner: Some((1234, 5678)), ..scene.wanted() };
        fs::write(wanted.run.unfinished(), "left by the run").unwrap();
        for _ in 0..2 {
            write(wanted.clone()).unwrap();
            let metadata = fs::symlink_metadata(wanted.run.statement()).unwrap();
            assert_eq!((metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o7777), (1234, 5678, 0o600));
        }
        assert_eq!(fs::read(wanted.run.statement()).unwrap(), b"signed\n");
        assert_eq!(fs::read_dir(scene.0.path().join("d")).unwrap().count(), 1);
    }

    #[test]
    fn another_folder_under_the_name_gets_nothing() {
        let scene = Scene::new();
        let (wanted, path) = (scene.wanted(), |name: &str| scene.0.path().join(name));
        fs::rename(path("d"), path("e")).unwrap();
        fs::create_dir(path("d")).unwrap();
        assert!(matches!(write(wanted.clone()), Err(Error::Moved)));
        fs::remove_dir(path("d")).unwrap();
        symlink("e", path("d")).unwrap();
        assert!(matches!(write(wanted.clone()), Err(Error::Io(_))));
        fs::remove_file(path("d")).unwrap();
        assert!(matches!(write(wanted.clone()), Err(Error::Io(_))));
        assert_eq!(fs::read_dir(path("e")).unwrap().count(), 0);
        // An inode of the same number that was born later; a device is another one after a boot.
        let young = Place { born: Some(Duration::from_secs(1)), ..wanted.place.clone() };
        let moved = Place { dev: 7, ..wanted.place.clone() };
        assert!(!wanted.place.is(&young, true) && !wanted.place.is(&moved, false) && wanted.place.is(&moved, true));
    }

    #[test]
    fn what_is_in_its_place_stays() {
        let scene = Scene::new();
        let (wanted, other) = (scene.wanted(), scene.0.path().join("other"));
        let path = wanted.run.statement();
        fs::write(&other, "signed\n").unwrap();
        fs::write(&path, "of somebody else").unwrap();
        assert!(matches!(write(wanted.clone()), Err(Error::There)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "of somebody else");
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert!(write(wanted.clone()).is_err());
        assert_eq!(fs::read_to_string(&other).unwrap(), "signed\n");
        // Nor is a link followed in place of what is being written.
        fs::remove_file(&path).unwrap();
        symlink(&other, wanted.run.unfinished()).unwrap();
        write(wanted.clone()).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&other).unwrap(), "signed\n");
        // A pipe holds up nobody.
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(write(wanted).is_err());
    }
}
