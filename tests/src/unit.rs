//! A unit's cgroup, as systemd would make it, below a slice of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// It; removed when it is dropped, when nothing runs in it any more.
pub struct Unit(PathBuf);

impl Unit {
    /// Makes it, once agents can have heard of its slice: from then on they watch it.
    ///
    /// # Panics
    /// If there is no cgroup v2 hierarchy, or it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("a cgroup v2 hierarchy");
        let root = PathBuf::from(line.split(' ').nth(4).expect("where it is"));
        let slice = root.join(format!("{}{}.slice", name.split('-').next().expect("a word"), std::process::id()));
        let _ = fs::create_dir(&slice);
        let unit = slice.join(name);
        sleep(Duration::from_secs(1));
        fs::create_dir(&unit).expect("made");
        Self(unit)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
}
