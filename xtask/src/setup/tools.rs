//! Tools built from crates.io, each once, in a folder below `target/tools` that is named for its version.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{command, place};

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
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env_remove("RUSTFLAGS");
        command::quiet(&mut install)?;
        Ok(program)
    }
}

/// Checks licences, sources and advisories of every dependency.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let notice = "licence and advisory check (some minutes)";
    Tool { name: "cargo-deny", version: "0.20.2", args: &[], variant: "", notice }.ensure(&[])
}
