//! File systems of the test's own, gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::{Scratch, kernel, need};

/// A mounted file system.
#[derive(Debug)]
pub struct Volume {
    root: PathBuf,
    mounted: bool,
    _scratch: Scratch,
    /// What it lies on.
    _below: Option<Box<Volume>>,
}

impl Volume {
    /// An ext4: in a guest its own disk, which is one.
    #[must_use]
    pub fn ext4() -> Self {
        if kernel() == "host" {
            return Self::image(&["mkfs.ext4", "-q"], 512);
        }
        let scratch = Scratch::new();
        Self { root: scratch.path(), mounted: false, _scratch: scratch, _below: None }
    }

    /// From an image file, by the command that makes it.
    #[must_use]
    pub fn image(make: &[&str], megabytes: u64) -> Self {
        let scratch = Scratch::new();
        let image = scratch.join("image");
        fs::File::create(&image)
            .and_then(|file| file.set_len(megabytes << 20))
            .unwrap_or_else(|fault| panic!("{}: {fault}", image.display()));
        run(Command::new(administration(make[0])).args(&make[1..]).arg(&image));
        Self::mount(scratch, None, |mount| {
            mount.args(["-o", "loop"]).arg(&image);
        })
    }

    /// In memory.
    #[must_use]
    pub fn memory() -> Self {
        Self::mount(Scratch::new(), None, |mount| {
            mount.args(["-t", "tmpfs", "-o", "size=512m", "tmpfs"]);
        })
    }

    /// An overlay on ext4.
    #[must_use]
    pub fn overlay() -> Self {
        let below = Self::ext4();
        let folders = ["lower", "upper", "work"].map(|name| below.root().join(name));
        for folder in &folders {
            fs::create_dir(folder).unwrap_or_else(|fault| panic!("{}: {fault}", folder.display()));
        }
        let [lower, upper, work] = folders.map(|folder| folder.display().to_string());
        Self::mount(Scratch::new(), Some(Box::new(below)), |mount| {
            mount.args([
                "-t",
                "overlay",
                "-o",
                &format!("lowerdir={lower},upperdir={upper},workdir={work}"),
                "overlay",
            ]);
        })
    }

    fn mount(scratch: Scratch, below: Option<Box<Volume>>, how: impl FnOnce(&mut Command)) -> Self {
        let mounted = scratch.folder("mounted");
        let mut mount = Command::new(need("mount"));
        how(&mut mount);
        run(mount.arg(&mounted));
        Self { root: mounted, mounted: true, _scratch: scratch, _below: below }
    }

    /// Its root folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(&self.root).status();
        }
    }
}

/// Debian keeps administration's programs out of an ordinary user's PATH.
fn administration(program: &str) -> PathBuf {
    ["/usr/sbin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| need(program))
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
