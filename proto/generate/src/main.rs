//! Regenerates the evidence log's messages from their .proto file, or checks that they are as generated: the program
//! behind `cargo xtask proto`. It stands apart because no other developer command needs its dependencies.
//!
//! The parser is written in Rust, so no protoc is needed and every machine generates the same text.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const PACKAGE: &str = "testimony.evidence.v1";
const SOURCE: &str = "testimony/evidence/v1/evidence.proto";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => write(),
        ["--check"] => check(),
        _ => bail!("the only option is --check"),
    }
}

/// Fails when the generated file is not what the .proto file gives.
fn check() -> Result<()> {
    let file = generated_file();
    let old = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    match first_difference(&old, &generate()?) {
        None => Ok(()),
        Some(line) => bail!("{}:{line}: not what {SOURCE} gives: run `cargo xtask proto`", file.display()),
    }
}

fn write() -> Result<()> {
    let file = generated_file();
    std::fs::write(&file, generate()?).with_context(|| format!("{} cannot be written", file.display()))?;
    println!("{} written from {SOURCE}.", file.display());
    Ok(())
}

/// The folder of the crate `proto`.
fn proto() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

fn generated_file() -> PathBuf {
    proto().join(format!("src/{PACKAGE}.rs"))
}

fn generate() -> Result<String> {
    let descriptors = protox::compile([SOURCE], [proto()])?;
    let out = tempfile::tempdir()?;
    prost_build::Config::new().out_dir(out.path()).compile_fds(descriptors)?;
    Ok(std::fs::read_to_string(out.path().join(format!("{PACKAGE}.rs")))?)
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
