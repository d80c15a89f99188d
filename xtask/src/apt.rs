//! Debian packages: which are installed, which can be had, and installing them as root or through sudo.

use std::process::Command;
use std::sync::Once;

use anyhow::{Context, Result, bail};

use crate::command;

/// Whether Debian's package manager is there at all.
pub(crate) fn present() -> bool {
    command::find("apt-get").is_some() && command::find("dpkg-query").is_some()
}

/// Those of `packages` that are not installed.
pub(crate) fn missing(packages: &[&str]) -> Vec<String> {
    let installed = |package: &str| {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat", "${db:Status-Status}\n", package]);
        command::read(&mut query).is_ok_and(|states| states.lines().any(|state| state == "installed"))
    };
    packages.iter().filter(|package| !installed(package)).map(|package| (*package).to_owned()).collect()
}

/// Whether the configured sources offer every one of `packages`.
pub(crate) fn offered(packages: &[&str]) -> bool {
    update_once();
    packages.iter().all(|package| command::succeeds(Command::new("apt-cache").args(["show", package])))
}

/// Installs those of `packages` that are missing, without what they merely recommend.
pub(crate) fn install(purpose: &str, packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if !present() {
        bail!("{purpose}: install {} (this is no Debian, so do it by its own package manager)", missing.join(", "));
    }
    let mut install = as_root("apt-get", purpose, &missing)?;
    println!("{purpose}: installing {} by apt-get.", missing.join(", "));
    update_once();
    install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
    command::quiet(install.env("DEBIAN_FRONTEND", "noninteractive")).with_context(|| {
        format!("{purpose}: {} could not be installed; can this machine reach Debian's archive?", missing.join(", "))
    })
}

/// What goes before a command that needs root's rights; an error in one sentence where they cannot be had.
pub(crate) fn prefix_as_root(purpose: &str) -> Result<&'static [&'static str]> {
    if is_root() {
        return Ok(&[]);
    }
    if command::find("sudo").is_some() {
        // sudo would have the command find other programs: whoever uses this gives PATH as a word of its own.
        return Ok(&["sudo", "--preserve-env", "env"]);
    }
    bail!("{purpose}: run this as root, or install sudo")
}

/// A command with root's rights: ours, or through sudo; else a sentence that says what a person is to install.
pub(crate) fn as_root(program: &str, purpose: &str, packages: &[String]) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if command::find("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.args(["DEBIAN_FRONTEND=noninteractive", program]);
        return Ok(sudo);
    }
    bail!("{purpose}: as root, run apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    command::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Fetches the package lists, once in a run; a failure shows when a package is asked for.
fn update_once() {
    static UPDATED: Once = Once::new();
    UPDATED.call_once(|| {
        if let Ok(mut update) = as_root("apt-get", "package lists", &[])
            && let Err(fault) = command::quiet(update.arg("update"))
        {
            eprintln!("the package lists could not be renewed, going on with those at hand: {fault:#}");
        }
    });
}
