//! The Debian that packages are installed in: a root file system with systemd and little else, which tests boot in a container and never
//! change. Made once for each recipe.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::vm::archive;
use crate::{apt, command, place};

/// Beside Debian's essential packages. What a package depends on is to be here, and what it only hopes for is not.
const PACKAGES: &str = "init-system-helpers,passwd,systemd,systemd-sysv";
/// To be changed when the making changes.
const RECIPE: u32 = 1;

/// Where it is.
pub(crate) fn root() -> Result<PathBuf> {
    Ok(place::guests().join(format!("debian-{}-{RECIPE}", archive::codename()?)))
}

/// Makes it where it is not there yet.
pub(super) fn ensure() -> Result<()> {
    apt::install("containers in which packages are installed", &["systemd-container", "mmdebstrap"])?;
    let root = root()?;
    let _alone = place::alone_in(&place::guests())?;
    if root.is_dir() {
        return Ok(());
    }
    let release = archive::codename()?;
    println!("Debian to install packages in: making it from {release}, two minutes, once.");
    let part = root.with_extension("part");
    let mut remove = apt::as_root("rm", "old files of a Debian", &[])?;
    command::quiet(remove.args(["-r", "-f"]).arg(&part))?;
    let mut make = apt::as_root("mmdebstrap", "Debian to install packages in", &[])?;
    make.args(["--quiet", "--variant=minbase", "--mode=root", &format!("--include={PACKAGES}")])
        .args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\""])
        .arg(&release)
        .arg(&part)
        .arg(archive::source(&release)?);
    command::quiet(&mut make)?;
    std::fs::rename(&part, &root).with_context(|| format!("{} cannot be placed", root.display()))
}
