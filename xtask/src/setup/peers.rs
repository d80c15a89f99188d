//! The peers of the interop tests: cosign as Debian packages it, unpacked and not installed, and a Python environment
//! with securesystemslib, both below `target/tools`; and schemathesis, which asks the collector's API all that its document allows.

use std::process::Command;

use anyhow::{Result, bail};

use super::tools::Wheel;
use crate::vm::archive::{self, Archive};
use crate::{command, place};

/// The suite that has cosign 3.
const SUITE: &str = "sid";
const COSIGN_MAJOR: &str = "3.";
const SECURESYSTEMSLIB: &str = "securesystemslib[crypto]==1.3.1";
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

pub(crate) fn ensure() -> Result<()> {
    cosign()?;
    securesystemslib()?;
    schemathesis()
}

fn cosign() -> Result<()> {
    let _alone = place::alone_in(&place::tools())?;
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
    let wheel = Wheel { folder: "securesystemslib", requirement: SECURESYSTEMSLIB };
    wheel.ensure("interop tests", "python", &["-c", "import securesystemslib.dsse, cryptography"]).map(drop)
}

fn schemathesis() -> Result<()> {
    let wheel = Wheel { folder: "schemathesis-4.32.5", requirement: SCHEMATHESIS };
    wheel.ensure("tests of the collector's API", "schemathesis", &["--version"]).map(drop)
}
