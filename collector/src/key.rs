//! The key that the log signs with: a file of the state folder, made on first use.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use attestation::receipt::{LogSigner, SIGNING_KEY_BYTES_MAX};
use testimony_verify::files::read_at_most;

use crate::{settings::Settings, store::Reader};

const FILE: &str = "log.key";
/// What nobody but its owner may do with it.
const OTHERS: u32 = 0o077;

/// Reads the key, which is made if there is none: by whoever runs the collector, and in a folder of theirs.
///
/// # Errors
/// Why there is none.
pub(crate) fn open(settings: &Settings) -> anyhow::Result<LogSigner> {
    DirBuilder::new().recursive(true).mode(0o700).create(&settings.state)?;
    let (owner, us) = (fs::metadata(&settings.state)?.uid(), rustix::process::geteuid().as_raw());
    let named = || settings.state.display().to_string();
    anyhow::ensure!(
        owner == us,
        "{}: it belongs to user {owner}, and this is run by {us}: run it as that user",
        named()
    );
    let path = settings.state.join(FILE);
    if !path.try_exists()? {
        // Another key would be another log, and no node would take its receipts.
        let says = "the log's key is missing, and the store has a log: restore the key from a backup";
        anyhow::ensure!(!Reader::is_there(&settings.state), "{}: {says}", path.display());
        make(&path)?;
    }
    read(settings)
}

/// Reads the key, and makes none.
fn read(settings: &Settings) -> anyhow::Result<LogSigner> {
    let path = settings.state.join(FILE);
    let pem = match read_at_most(&path, SIGNING_KEY_BYTES_MAX as u64 + 1) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let says =
                "the log has no key yet: start the collector, or run `testimony-collector make-log-key` as its user";
            anyhow::bail!("{}: {says}", path.display())
        }
        read => read.with_context(|| path.display().to_string())?,
    };
    let mode = fs::metadata(&path)?.mode();
    anyhow::ensure!(mode & OTHERS == 0, "{}: others than its owner may read it: `chmod 600`", path.display());
    LogSigner::read(&settings.log.name, &pem).with_context(|| path.display().to_string())
}

/// Whole or not at all, and never over another: who starts at the same time takes the one that is there.
fn make(path: &Path) -> anyhow::Result<()> {
    let pem = LogSigner::generate()?;
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all())?;
    let linked = fs::hard_link(&part, path);
    fs::remove_file(&part)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    Ok(())
}

/// Prints what receipts are checked with.
///
/// # Errors
/// Why there is no key.
pub(crate) fn print(settings: &Settings) -> anyhow::Result<()> {
    println!("{}", read(settings)?.key());
    Ok(())
}

/// The same, and makes the key first if there is none.
///
/// # Errors
/// Why it cannot.
pub(crate) fn make_and_print(settings: &Settings) -> anyhow::Result<()> {
    println!("{}", open(settings)?.key());
    Ok(())
}

/// Prints the log as it was signed last.
///
/// # Errors
/// If it never was.
pub(crate) fn checkpoint(settings: &Settings) -> anyhow::Result<()> {
    print!("{}", Reader::open(&settings.state)?.checkpoint()?);
    Ok(())
}
