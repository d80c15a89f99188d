//! A cgroup of the session's own, below this process's: a task that is moved there becomes a member.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::probe::cgroup_root;

const PREFIX: &str = "testimony-";

/// A cgroup made for one session, removed with it.
pub(crate) struct Cgroup {
    path: PathBuf,
    id: u64,
}

impl Cgroup {
    /// Makes it below this process's own; an error where no cgroup v2 hierarchy is mounted or writable.
    pub(crate) fn create(session_id: &[u8; 16]) -> io::Result<Self> {
        Self::below(&of("self")?, session_id)
    }

    /// Makes it below that of another process, whose limits are to hold for it on.
    pub(crate) fn create_for(pid: u32, session_id: &[u8; 16]) -> io::Result<Self> {
        Self::below(&of(&pid.to_string())?, session_id)
    }

    fn below(own: &Path, session_id: &[u8; 16]) -> io::Result<Self> {
        sweep(own);
        let name: String = session_id[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let path = own.join(format!("{PREFIX}{}-{name}", std::process::id()));
        fs::create_dir(&path)?;
        let id = fs::metadata(&path)?.ino();
        Ok(Self { path, id })
    }

    /// The kernel's id: the inode number of its directory.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Its directory, and that of this process's own.
    pub(crate) fn paths(&self) -> Option<(&Path, &Path)> {
        Some((&self.path, self.path.parent()?))
    }

    /// Its path in the hierarchy.
    pub(crate) fn name(&self) -> String {
        let root = cgroup_root().unwrap_or_default();
        let path = self.path.strip_prefix(root).unwrap_or(&self.path);
        format!("/{}", path.to_string_lossy())
    }

    /// Moves a process in.
    pub(crate) fn take(&self, pid: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Survivors keep it; the next start that finds it empty removes it.
        let _ = fs::remove_dir(&self.path);
    }
}

/// The cgroup v2 directory of a process, by its name in /proc.
pub(crate) fn of(process: &str) -> io::Result<PathBuf> {
    let root = cgroup_root().map_err(io::Error::other)?;
    let lines = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    let path = lines.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or_else(|| io::Error::other("no cgroup v2 membership"))?;
    Ok(root.join(path.trim_start_matches('/')))
}

/// Removes what runs that were killed left behind: ours by name, their process gone, and empty.
fn sweep(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let pid = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
