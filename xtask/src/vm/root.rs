//! The guests' root file system: this machine's Debian release with the programs that tests trace, as an ext4 image, for
//! content on a file system that keeps its promises. Made once for each recipe.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive;
use crate::{apt, command, place};

/// What stands in the root beside Debian's essential packages.
const PACKAGES: [&str; 18] = [
    "autoconf",
    "automake",
    "cargo-web",
    "file",
    "gcc",
    "git",
    "iproute2",
    "kmod",
    "libc6-dev",
    "libtss2-esys-3.0.2-0",
    "libtss2-tcti-device0",
    "libtss2-tctildr0",
    "make",
    "procps",
    "python3",
    "python3-cryptography",
    "rustc-web",
    "strace",
];

/// Room for what a guest writes.
const FREE_MIB: u64 = 2048;

/// To be changed when the making of the image changes.
const RECIPE: u32 = 1;

/// The image, made where it is not there yet.
pub(super) fn ensure() -> Result<PathBuf> {
    let release = archive::codename()?;
    let _alone = place::alone_in(&place::guests())?;
    let image = place::guests().join(format!("root-{:016x}.ext4", recipe_hash(&release)));
    if !image.is_file() {
        println!("root file system of the guests: making it from {release}, some minutes, once.");
        make(&release, &image)?;
    }
    Ok(image)
}

fn recipe_hash(release: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (RECIPE, FREE_MIB, release, PACKAGES).hash(&mut hasher);
    hasher.finish()
}

fn make(release: &str, image: &Path) -> Result<()> {
    let tree = image.with_extension("tree");
    let part = image.with_extension("part");
    remove(&tree)?;
    debootstrap(release, &tree)?;
    let made = write_ext4(&tree, &part, FREE_MIB);
    remove(&tree)?;
    made?;
    std::fs::rename(&part, image).with_context(|| format!("{} cannot be placed", image.display()))
}

fn debootstrap(release: &str, tree: &Path) -> Result<()> {
    let suites = [release.to_owned(), format!("{release}-updates"), format!("{release}-security")];
    let sources = suites.iter().map(|suite| archive::source(suite)).collect::<Result<Vec<_>>>()?;
    let mut mmdebstrap = apt::as_root("mmdebstrap", "root file system of the guests", &[])?;
    mmdebstrap
        .args(["--quiet", "--variant=minbase", "--mode=root", &format!("--include={}", PACKAGES.join(","))])
        .args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\""])
        .args(["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"])
        .arg(release)
        .arg(tree)
        .args(sources);
    command::quiet(&mut mmdebstrap)
}

/// An ext4 image of a folder, with so much room left.
pub(super) fn write_ext4(tree: &Path, image: &Path, free_mib: u64) -> Result<()> {
    let used = command::read(Command::new("du").args(["--summarize", "--apparent-size", "--block-size=1M"]).arg(tree))?;
    let used: u64 = used.split_whitespace().next().unwrap_or_default().parse()?;
    // A tenth for the inode tables and the journal, and what is lost to whole blocks.
    let size_mib = used + used / 4 + free_mib + 64;
    remove(image)?;
    let mke2fs = command::find("mke2fs").context("mke2fs (package e2fsprogs) is missing")?;
    let mut mke2fs = Command::new(mke2fs);
    mke2fs.args(["-q", "-F", "-t", "ext4", "-L", "testimony", "-d"]).arg(tree).arg(image).arg(format!("{size_mib}M"));
    command::quiet(&mut mke2fs)
}

fn remove(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    // A tree made through sudo is root's.
    let mut remove = apt::as_root("rm", "old files of the guests", &[])?;
    command::quiet(remove.args(["-r", "-f"]).arg(path))
}
