//! Where things are: the workspace's root and the folders that the commands keep below `target/`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Cargo's target folder, as Cargo itself would choose it.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// What is set up once and fits every work tree: below `TESTIMONY_CACHE` where that is set, else below `target/`.
fn kept() -> PathBuf {
    match std::env::var_os("TESTIMONY_CACHE") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => target(),
    }
}

/// Tools built for developers, each in a folder that names its version.
pub(crate) fn tools() -> PathBuf {
    kept().join("tools")
}

/// The kernels and the root file system of the guests, and the package lists they come from.
pub(crate) fn guests() -> PathBuf {
    kept().join("vm")
}

/// The inputs that fuzzing found, a folder a target.
pub(crate) fn corpus() -> PathBuf {
    kept().join("corpus")
}

/// Waits until no other command sets up something in this folder, for as long as what is returned lives.
pub(crate) fn alone_in(dir: &Path) -> Result<File> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let lock = File::create(dir.join(".lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// The kernel programs, ready to be embedded in the agent.
pub(crate) fn ebpf_object() -> PathBuf {
    target().join("ebpf/testimony-ebpf")
}

/// What single runs of guests use and leave: disks and logs.
pub(crate) fn vm() -> PathBuf {
    target().join("vm")
}
