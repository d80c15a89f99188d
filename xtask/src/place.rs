//! Where things are: the workspace's root and the folders that the commands keep below `target/`.

use std::path::{Path, PathBuf};

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

/// Tools built for developers, each in a folder that names its version.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// The kernel programs, ready to be embedded in the agent.
pub(crate) fn ebpf_object() -> PathBuf {
    target().join("ebpf/testimony-ebpf")
}

/// Kernels, disks and logs of the guests.
pub(crate) fn vm() -> PathBuf {
    target().join("vm")
}
