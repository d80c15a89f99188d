//! `testimony timestamp`: adds timestamps to the signatures of statements that are there already.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use attestation::{
    dsse::{AttachError, ENVELOPE_BYTES_MAX, attach_timestamps},
    escape::escape,
    time,
};
use testimony_verify::files;

use crate::{evidence::descriptor_path, sign, timestamp};

/// What to stamp, and who is to do it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Timestamp authority (RFC 3161, http or https); repeatable, and each gives one for every signature
    #[arg(long = "authority", value_name = "URL", required = true)]
    authorities: Vec<String>,
    /// Statements, as signed envelopes; each is replaced by itself with the timestamps
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Why a statement has no new timestamps. It is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An authority.
    #[error(transparent)]
    Authority(#[from] timestamp::Error),
    /// A file.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content.
    #[error("{path}")]
    Envelope {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<AttachError<timestamp::Error>>,
    },
}

impl Error {
    /// The exit status: 2 for a file that is not understood, 64 for an address that is none, else 1.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Authority(timestamp::Error::Address(_) | timestamp::Error::TooMany(_)) => 64,
            Self::Envelope { source, .. } if matches!(**source, AttachError::Envelope(_)) => 2,
            _ => 1,
        }
    }
}

/// Stamps each file, and says so.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    let authorities = sign::authorities(&args.authorities)?;
    for path in &args.files {
        let stamped = stamp(path, &authorities)?;
        println!("{}: {} timestamps", escape(path.as_os_str().as_encoded_bytes()), stamped.len());
        for (url, at, skew) in stamped {
            println!("  {} by {}", time::utc(at), escape(url.as_bytes()));
            if let Some(seconds) = skew {
                eprintln!("testimony: the clock of this host and that of {url} differ by {seconds} s");
            }
        }
    }
    Ok(0)
}

type Stamped = (String, u64, Option<u64>);

fn stamp(path: &Path, authorities: &[timestamp::Authority]) -> Result<Vec<Stamped>, Error> {
    let failed = |source: io::Error| Error::Io { path: path.to_owned(), source };
    // What a link names is replaced, and not the link.
    let place = Place::of(path).map_err(failed)?;
    let file = files::open_regular(&place.file()).map_err(failed)?;
    let ours = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(ENVELOPE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let mut stamped = Vec::new();
    let mut all = |signature: &[u8]| {
        let mut tokens = Vec::new();
        for authority in authorities {
            let stamp = authority.stamp(signature)?;
            stamped.push((authority.url().to_owned(), stamp.time, stamp.skew()));
            tokens.push(stamp.token);
        }
        Ok(tokens)
    };
    let with = attach_timestamps(&bytes, &mut all);
    let with = with.map_err(|source| Error::Envelope { path: path.to_owned(), source: source.into() })?;
    place.replace(&ours, &with).map_err(failed)?;
    Ok(stamped)
}

/// A file by its name in a folder that is held open: what somebody puts in the path's way while an authority is waited for
/// changes nothing.
struct Place {
    folder: File,
    name: OsString,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        Ok(Self { folder: File::open(path.parent().unwrap_or(Path::new("/")))?, name })
    }

    fn file(&self) -> PathBuf {
        descriptor_path(&self.folder).join(&self.name)
    }

    /// Whole or not at all, with the owner and the mode that it had, and only if it is that file still.
    fn replace(&self, ours: &fs::Metadata, bytes: &[u8]) -> io::Result<()> {
        let mut part = self.name.clone();
        part.push(".stamped");
        let part = descriptor_path(&self.folder).join(part);
        // Left by one that died.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            file.write_all(bytes)?;
            if file.metadata()?.uid() != ours.uid() || file.metadata()?.gid() != ours.gid() {
                fchown(&file, Some(ours.uid()), Some(ours.gid()))?;
            }
            file.set_permissions(ours.permissions())?;
            file.sync_all()?;
            let there = fs::symlink_metadata(self.file())?;
            if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) {
                return Err(io::Error::other("it was replaced by somebody else meanwhile"));
            }
            fs::rename(&part, self.file())
        };
        write().inspect_err(|_| drop(fs::remove_file(&part)))?;
        // The new name is durable with its folder.
        self.folder.sync_all()
    }
}
