//! What is laid where, and the tarball of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::PROGRAMS;
use crate::{command, place};

/// A file of what is handed out, and where it comes to stand.
pub(super) enum Source {
    /// Of the programs' folder.
    Program(&'static str),
    /// Of the work tree.
    File(&'static str),
    /// What a program prints when it is asked so.
    Printed(&'static str, &'static [&'static str]),
}

/// Lays a file into a tree.
pub(super) fn lay(programs: &Path, source: &Source, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file stands in a folder")?;
    fs::create_dir_all(folder)?;
    let (content, mode) = match source {
        Source::Program(name) => {
            (fs::read(programs.join(name)).with_context(|| format!("{name} was not built"))?, 0o755)
        }
        Source::File(name) => (fs::read(place::root().join(name)).with_context(|| (*name).to_owned())?, 0o644),
        Source::Printed(program, words) => {
            (command::read(Command::new(programs.join(program)).args(*words))?.into_bytes(), 0o644)
        }
    };
    fs::write(to, content)?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

/// An empty folder for a tree.
pub(super) fn fresh(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(fs::create_dir_all(path)?)
}

/// Everything that is no program.
const BESIDE: [(Source, &str); 13] = [
    (Source::File("README.md"), "README.md"),
    (Source::File("CHANGELOG.md"), "CHANGELOG.md"),
    (Source::File("LICENSE-APACHE"), "LICENSE-APACHE"),
    (Source::File("LICENSE-MIT"), "LICENSE-MIT"),
    (Source::File("docs/cli.md"), "docs/cli.md"),
    (Source::File("docs/format.md"), "docs/format.md"),
    (Source::File("docs/threats.md"), "docs/threats.md"),
    (Source::File("systemd/README.md"), "systemd/README.md"),
    (Source::File("systemd/testimony-agent.service"), "systemd/testimony-agent.service"),
    (Source::File("systemd/testimony-collector.service"), "systemd/testimony-collector.service"),
    (Source::File("systemd/testimony.sysusers"), "systemd/testimony.sysusers"),
    (Source::File("systemd/testimony-collector.sysusers"), "systemd/testimony-collector.sysusers"),
    (Source::Printed("testimony", &["man"]), "man/testimony.1"),
];

/// More of it: examples, and what shells complete by.
const EXTRAS: [(Source, &str); 5] = [
    (Source::File("systemd/agent.toml.example"), "systemd/agent.toml.example"),
    (Source::File("systemd/collector.toml.example"), "systemd/collector.toml.example"),
    (Source::Printed("testimony", &["completions", "bash"]), "completions/testimony.bash"),
    (Source::Printed("testimony", &["completions", "zsh"]), "completions/_testimony"),
    (Source::Printed("testimony", &["completions", "fish"]), "completions/testimony.fish"),
];

/// One folder, its files in order, owned by root, of one time.
pub(super) fn tarball(programs: &Path, version: &str, epoch: u64, out: &Path) -> Result<PathBuf> {
    let name = format!("testimony-{version}-x86_64-linux");
    let tree = out.join("tree").join(&name);
    fresh(&tree)?;
    for program in PROGRAMS {
        lay(programs, &Source::Program(program), &tree.join("bin").join(program))?;
    }
    for (source, to) in BESIDE.iter().chain(&EXTRAS) {
        lay(programs, source, &tree.join(to))?;
    }
    let tarball = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--format=gnu",
        "--mode=go=rX,u+rw,a-s",
    ])
    .arg(format!("--mtime=@{epoch}"))
    .args(["--use-compress-program=gzip -n -9", "--file"])
    .arg(&tarball)
    .arg("--directory")
    .arg(out.join("tree"))
    .arg(&name);
    command::quiet(&mut tar)?;
    fs::remove_dir_all(out.join("tree"))?;
    Ok(tarball)
}
