//! `proto`: regenerates the evidence log's messages from their .proto file, or checks that they are as generated.
//!
//! The parser is written in Rust, so no protoc is needed and every machine generates the same text.

use anyhow::{Context, Result, bail};

use crate::{command, place};

const PACKAGE: &str = "testimony.evidence.v1";
const SOURCE: &str = "testimony/evidence/v1/evidence.proto";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compare with the file that is checked in instead of writing it
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check { check() } else { write() }
}

/// Fails when the generated file is not what the .proto file gives.
pub(crate) fn check() -> Result<()> {
    let file = place::root().join(generated_path());
    let old = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    match first_difference(&old, &generate()?) {
        None => Ok(()),
        Some(line) => {
            bail!("{}:{line}: not what {SOURCE} gives: run `cargo xtask proto`", generated_path())
        }
    }
}

fn write() -> Result<()> {
    let file = place::root().join(generated_path());
    std::fs::write(&file, generate()?).with_context(|| format!("{} cannot be written", file.display()))?;
    println!("{} written from {SOURCE}.", generated_path());
    Ok(())
}

fn generated_path() -> String {
    format!("proto/src/{PACKAGE}.rs")
}

/// A program of its own generates, because what it depends on takes longer to build than all developer commands.
fn generate() -> Result<String> {
    let run = ["run", "--quiet", "--profile", "xtask", "--package", "proto-generate", "--"];
    command::read_loud(command::cargo().args(run).arg(place::root().join("proto")).args([SOURCE, PACKAGE]))
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
