//! The peers of the interop tests: cosign as Debian packages it, unpacked and not installed, and a Python environment
//! with securesystemslib, both below `target/tools`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::vm::archive::{self, Archive};
use crate::{apt, command, place};

/// The suite that has cosign 3.
const SUITE: &str = "sid";
const COSIGN_MAJOR: &str = "3.";
const SECURESYSTEMSLIB: &str = "securesystemslib[crypto]==1.3.1";

pub(crate) fn ensure() -> Result<()> {
    cosign()?;
    securesystemslib()
}

fn cosign() -> Result<()> {
    let home = place::tools().join("cosign");
    if command::succeeds(Command::new(home.join("usr/bin/cosign")).arg("version")) {
        return Ok(());
    }
    let archive = Archive::open("cosign", &[archive::source(SUITE)?])?;
    let debs = home.join("debs");
    std::fs::create_dir_all(&debs)?;
    println!("interop tests: downloading cosign from {SUITE}.");
    command::quiet(archive.apt("apt-get").current_dir(&debs).args(["download", "cosign"]))?;
    for deb in std::fs::read_dir(&debs)? {
        let deb = deb?.path();
        let version = command::read(Command::new("dpkg-deb").arg("--field").arg(&deb).arg("Version"))?;
        if !version.starts_with(COSIGN_MAJOR) {
            bail!("{SUITE} has cosign {}, not {COSIGN_MAJOR}x", version.trim());
        }
        command::quiet(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(&home))?;
    }
    Ok(std::fs::remove_dir_all(&debs)?)
}

fn securesystemslib() -> Result<()> {
    let home = place::tools().join("securesystemslib");
    let python = home.join("bin/python");
    if command::succeeds(Command::new(&python).args(["-c", "import securesystemslib.dsse, cryptography"])) {
        return Ok(());
    }
    apt::install("a Python environment for the interop tests", &["python3", "python3-venv"])?;
    println!("interop tests: installing {SECURESYSTEMSLIB} into {}.", home.display());
    command::quiet(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    command::quiet(Command::new(&python).args(["-m", "pip", "install", "--quiet", SECURESYSTEMSLIB]))
}
