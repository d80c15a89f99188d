//! File systems of the test's own, gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Scratch, kernel, need};

/// A mounted file system.
pub(crate) struct Volume {
    root: PathBuf,
    mounted: bool,
    _scratch: Scratch,
    /// What it lies on.
    _below: Option<Box<Volume>>,
}

impl Volume {
    /// An ext4. Guests have no loop devices, and their disk is one.
    pub(crate) fn ext4() -> Self {
        if kernel() == "host" {
            return Self::image(&["mkfs.ext4", "-q"], 512);
        }
        let scratch = Scratch::new();
        Self { root: scratch.path(), mounted: false, _scratch: scratch, _below: None }
    }

    /// From an image file, by the command that makes it.
    pub(crate) fn image(make: &[&str], megabytes: u64) -> Self {
        let scratch = Scratch::new();
        let image = scratch.join("image");
        fs::File::create(&image).and_then(|file| file.set_len(megabytes << 20)).expect("an image file");
        run(Command::new(administration(make[0])).args(&make[1..]).arg(&image));
        Self::mount(scratch, None, |mount| {
            mount.args(["-o", "loop"]).arg(&image);
        })
    }

    /// In memory.
    pub(crate) fn memory() -> Self {
        Self::mount(Scratch::new(), None, |mount| {
            mount.args(["-t", "tmpfs", "-o", "size=512m", "tmpfs"]);
        })
    }

    /// An overlay on ext4.
    pub(crate) fn overlay() -> Self {
        let below = Self::ext4();
        let folders = ["lower", "upper", "work"].map(|name| below.root().join(name));
        for folder in &folders {
            fs::create_dir(folder).expect("a folder");
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
    pub(crate) fn root(&self) -> &Path {
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
