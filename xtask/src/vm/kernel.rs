//! Debian's kernels: found in the archive, unpacked in a folder of their own, never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::{self, Archive};
use crate::{command, place};

/// The kernels of the matrix, oldest first.
pub(crate) const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.3"];

/// The suites that hold them.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "trixie-backports"];

/// What the name of every kernel's package starts with; the kernel's release follows.
const PACKAGE_START: &str = "linux-image-";

/// What a guest needs that some of these kernels have as modules: the disks, and what tests mount.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "overlay", "fuse", "loop"];

/// A kernel of the matrix.
pub(super) struct Kernel {
    pub(super) version: &'static str,
}

/// An unpacked kernel.
pub(super) struct KernelFiles {
    pub(super) image: PathBuf,
    /// The modules to load, in that order.
    pub(super) modules: Vec<PathBuf>,
}

impl Kernel {
    pub(super) fn named(version: &str) -> Result<Self> {
        match KERNELS.into_iter().find(|known| *known == version) {
            Some(version) => Ok(Kernel { version }),
            None => bail!("kernel {version} is not in the matrix: {}", KERNELS.join(", ")),
        }
    }

    /// Downloads and unpacks the kernel, once; a kernel that is there is kept, so that runs compare.
    pub(super) fn ensure(&self) -> Result<KernelFiles> {
        let dir = place::guests().join("kernels").join(self.version);
        let _alone = place::alone_in(&dir)?;
        if !dir.join("unpacked").is_file() {
            self.unpack(&dir)?;
        }
        let package = std::fs::read_to_string(dir.join("unpacked"))?;
        let release = package.trim_start_matches(PACKAGE_START);
        Ok(KernelFiles { image: image(&dir, release)?, modules: modules(&dir, release)? })
    }

    fn unpack(&self, dir: &Path) -> Result<()> {
        let sources = SUITES.iter().map(|suite| archive::source(suite)).collect::<Result<Vec<_>>>()?;
        let archive = Archive::open("kernels", &sources)?;
        let package = newest(&archive.names(&format!("{PACKAGE_START}{}.", self.version))?)
            .with_context(|| format!("no kernel {} in {}", self.version, SUITES.join(", ")))?;
        let parts = ["linux-binary-", "linux-modules-"];
        let mut packages = archive.depends(&package)?;
        packages.retain(|name| parts.iter().any(|part| name.starts_with(part)));
        packages.push(package.clone());
        println!("kernel {}: downloading {package}.", self.version);
        let debs = dir.join("debs");
        std::fs::create_dir_all(&debs)?;
        command::quiet(archive.apt("apt-get").current_dir(&debs).arg("download").args(&packages))?;
        for deb in std::fs::read_dir(&debs)? {
            command::quiet(Command::new("dpkg-deb").arg("--extract").arg(deb?.path()).arg(dir))?;
        }
        std::fs::remove_dir_all(&debs)?;
        // Newer kernels put their modules below /usr, where depmod's base must find them too.
        if !dir.join("lib").exists() {
            std::os::unix::fs::symlink("usr/lib", dir.join("lib"))?;
        }
        let release = package.trim_start_matches(PACKAGE_START);
        let depmod = command::find("depmod").context("depmod (package kmod) is missing")?;
        command::quiet(Command::new(depmod).arg("--basedir").arg(dir).arg(release))?;
        Ok(std::fs::write(dir.join("unpacked"), package)?)
    }
}

/// The newest of Debian's cloud kernels among these packages.
fn newest(packages: &[String]) -> Option<String> {
    let cloud = packages.iter().filter(|name| name.ends_with("-cloud-amd64"));
    cloud.max_by_key(|name| numbers(name)).cloned()
}

/// The numbers in a version, in order, so that 6.12.107 is above 6.12.94.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The kernel's image: newer packages keep it beside the modules.
fn image(dir: &Path, release: &str) -> Result<PathBuf> {
    let places = [dir.join(format!("boot/vmlinuz-{release}")), dir.join("lib/modules").join(release).join("vmlinuz")];
    let found = places.into_iter().find(|place| place.is_file());
    found.with_context(|| format!("no image of {release} in {}", dir.display()))
}

/// The modules a guest loads, each after those it depends on; one that is built in is none.
fn modules(dir: &Path, release: &str) -> Result<Vec<PathBuf>> {
    let home = dir.join("lib/modules").join(release);
    let table = std::fs::read_to_string(home.join("modules.dep"))?;
    let mut order = Vec::new();
    for name in MODULES {
        let is_it = |line: &&str| line.split(':').next().is_some_and(|path| module_name(path) == name);
        let Some((path, needs)) = table.lines().find(is_it).and_then(|line| line.split_once(':')) else { continue };
        // The file lists what comes first last.
        for path in needs.split_whitespace().rev().chain([path]) {
            let path = home.join(path);
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    Ok(order)
}

/// `kernel/fs/overlayfs/overlay.ko.xz` is the module `overlay`.
fn module_name(path: &str) -> &str {
    path.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Kernel, module_name, newest};

    #[test]
    fn the_newest_is_chosen_by_number_not_by_letter() {
        let names = ["linux-image-6.12.94+deb13-cloud-amd64", "linux-image-6.12.107+deb13-cloud-amd64"];
        assert_eq!(newest(&names.map(str::to_owned)).as_deref(), Some(names[1]));
    }

    #[test]
    fn debug_and_unsigned_kernels_are_not_chosen() {
        let names = ["linux-image-6.1.0-50-cloud-amd64-dbg", "linux-image-6.1.0-50-cloud-amd64-unsigned"];
        assert_eq!(newest(&names.map(str::to_owned)), None);
    }

    #[test]
    fn a_kernel_outside_the_matrix_is_refused() {
        assert!(Kernel::named("6.13").is_err());
        assert!(Kernel::named("6.1").is_ok());
    }

    #[test]
    fn a_compressed_module_has_the_same_name() {
        assert_eq!(module_name("kernel/fs/overlayfs/overlay.ko.xz"), "overlay");
        assert_eq!(module_name("kernel/fs/overlayfs/overlay.ko"), "overlay");
    }
}
