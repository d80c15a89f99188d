//! `lint`: everything about the sources that needs no run of ours. Every check runs, whatever the ones before it said.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::setup::{self, Group, tools};
use crate::{command, ebpf, proto, tidy};

/// How long the advisory database may take to arrive before it counts as out of reach.
const ADVISORIES_FETCH_MAX: Duration = Duration::from_secs(60);

/// The workspaces: this one, and those that are built in other ways.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "agent-ebpf/Cargo.toml", "fuzz/Cargo.toml"];

/// What a check came to.
enum Outcome {
    Holds,
    /// Nothing is known, and why.
    NotChecked(String),
}

type Check = fn() -> Result<Outcome>;

pub(crate) fn run() -> Result<()> {
    // Clippy compiles the agent, which embeds the kernel programs.
    ebpf::build(true)?;
    let checks: [(&str, Check); 6] = [
        ("tidy", rules),
        ("format", format),
        ("messages", messages),
        ("clippy", clippy),
        ("licences and sources", licences),
        ("advisories", advisories),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        match check() {
            Ok(Outcome::Holds) => println!("{name}: ok"),
            Ok(Outcome::NotChecked(why)) => println!("{name}: NOT CHECKED: {why}"),
            Err(fault) => {
                println!("{name}: FAILED\n{fault:#}");
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    Ok(())
}

fn rules() -> Result<Outcome> {
    let report = tidy::check()?;
    for warning in &report.warnings {
        println!("warning: {warning}");
    }
    if !report.faults.is_empty() {
        let lines: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        bail!("{}", lines.join("\n"));
    }
    Ok(Outcome::Holds)
}

fn format() -> Result<Outcome> {
    setup::ensure(Group::Lint)?;
    command::run(command::cargo().args(["fmt", "--all", "--check"]))?;
    for manifest in ["agent-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        command::run(command::cargo().args(["fmt", "--manifest-path", manifest, "--check"]))?;
    }
    Ok(Outcome::Holds)
}

fn messages() -> Result<Outcome> {
    proto::check()?;
    Ok(Outcome::Holds)
}

/// The workspace, the pure crates once more, and the ABI that the kernel programs share with the agent. The limit of
/// lines in a function is clippy.toml's; what a pure crate may not use is in its own clippy.toml, and its integration
/// tests, which read golden files, are not held to it.
fn clippy() -> Result<Outcome> {
    setup::tpm_library()?;
    let deny = ["-D", "warnings", "-D", "clippy::too_many_lines"];
    let impure = ["-A", "clippy::disallowed_types", "-A", "clippy::disallowed_methods"];
    let workspace = ["clippy", "--quiet", "--workspace", "--all-targets", "--"];
    command::run(command::cargo().args(workspace).args(deny).args(impure))?;
    let pure = ["clippy", "--quiet", "--package", "attestation", "--package", "policy", "--lib", "--"];
    command::run(command::cargo().args(pure).args(deny))?;
    let abi = ["clippy", "--quiet", "--manifest-path", "agent-ebpf/Cargo.toml", "--lib", "--"];
    command::run(command::cargo().args(abi).args(deny))?;
    Ok(Outcome::Holds)
}

fn licences() -> Result<Outcome> {
    // Nothing has asked for what only the fuzz targets need.
    command::quiet(command::cargo().args(["fetch", "--locked", "--manifest-path", "fuzz/Cargo.toml"]))?;
    for manifest in MANIFESTS {
        command::quiet(&mut deny(manifest, &["--offline", "check", "licenses", "bans", "sources"])?)?;
    }
    Ok(Outcome::Holds)
}

/// Known vulnerabilities, where the database can be had: without it nothing is claimed.
fn advisories() -> Result<Outcome> {
    let mut fetch = deny("Cargo.toml", &["fetch", "db"])?;
    if let Err(fault) = command::quiet_within(&mut fetch, ADVISORIES_FETCH_MAX) {
        let said = format!("{fault:#}");
        let reason = said.lines().find_map(|line| line.trim().strip_prefix("fatal: ")).unwrap_or("it did not arrive");
        return Ok(Outcome::NotChecked(format!("the RustSec database is out of reach ({reason})")));
    }
    for manifest in MANIFESTS {
        command::quiet(&mut deny(manifest, &["--offline", "check", "advisories"])?)?;
    }
    Ok(Outcome::Holds)
}

fn deny(manifest: &str, args: &[&str]) -> Result<Command> {
    let mut deny = Command::new(tools::cargo_deny()?);
    deny.current_dir(crate::place::root()).args(["--manifest-path", manifest]).args(args);
    Ok(deny)
}
