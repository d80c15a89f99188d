//! `proto`: regenerates messages and services from their .proto files, or checks that they are as generated.
//!
//! The parser is written in Rust, so no protoc is needed and every machine generates the same text.

use anyhow::{Context, Result, bail};

use crate::{command, place};

/// Packages, their files, and where what is generated of them belongs: what speaks over a network is no part of the pure crates.
const PACKAGES: [(&str, &str, &str); 3] = [
    ("testimony.evidence.v1", "testimony/evidence/v1/evidence.proto", "proto/src"),
    ("testimony.collector.v1", "testimony/collector/v1/collector.proto", "collector/api/src"),
    ("testimony.node.v1", "testimony/node/v1/node.proto", "agent/api/src"),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compare with the file that is checked in instead of writing it
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check { check() } else { write() }
}

/// Fails when a generated file is not what its .proto file gives.
pub(crate) fn check() -> Result<()> {
    PACKAGES.iter().try_for_each(|(package, source, folder)| {
        let path = format!("{folder}/{package}.rs");
        let file = place::root().join(&path);
        let old = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        match first_difference(&old, &generate(package, source)?) {
            None => Ok(()),
            Some(line) => bail!("{path}:{line}: not what {source} gives: run `cargo xtask proto`"),
        }
    })
}

fn write() -> Result<()> {
    PACKAGES.iter().try_for_each(|(package, source, folder)| {
        let path = format!("{folder}/{package}.rs");
        let file = place::root().join(&path);
        let generated = generate(package, source)?;
        std::fs::write(&file, generated).with_context(|| format!("{} cannot be written", file.display()))?;
        println!("{path} written from {source}.");
        Ok(())
    })
}

/// A program of its own generates, because what it depends on takes longer to build than all developer commands.
fn generate(package: &str, source: &str) -> Result<String> {
    let run = ["run", "--quiet", "--profile", "xtask", "--package", "proto-generate", "--"];
    command::read_loud(command::cargo().args(run).arg(place::root().join("proto")).args([source, package]))
}

/// The first line, from 1, in which two texts differ.
fn first_difference(one: &str, other: &str) -> Option<usize> {
    let mut pairs = one.split('\n').zip(other.split('\n'));
    match pairs.position(|(a, b)| a != b) {
        Some(index) => Some(index + 1),
        None if one == other => None,
        None => Some(one.split('\n').count().min(other.split('\n').count()) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn equal_texts_do_not_differ() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    }

    #[test]
    fn a_changed_line_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
    }

    #[test]
    fn a_text_cut_short_differs_after_its_last_line() {
        assert_eq!(first_difference("a\nb", "a\nb\nc"), Some(3));
    }
}
