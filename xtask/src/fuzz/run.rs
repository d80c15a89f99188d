//! One run of a target: where its inputs come from, what it is allowed, and what it came to.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::finding::{self, Finding};
use super::{Target, target_dir};
use crate::{command, place};

/// Bytes of an input at most: the ring's longest record, and the longest golden file, are shorter.
const INPUT_BYTES_MAX: usize = 32 << 10;
/// Memory of the process at most. What the code may hold is less by far, and counted by the targets themselves.
const RSS_MEBIBYTES_MAX: usize = 1024;
/// How long one input may take. It is milliseconds on a machine that does nothing else.
const INPUT_SECONDS_MAX: u64 = 30;
/// Inputs of a corpus from which on those are dropped that reach nothing which others do not.
const CORPUS_FILES_MAX: usize = 3000;

/// What a run came to.
pub(super) struct Ended {
    inputs: u64,
    kept: usize,
    pub(super) finding: Option<Finding>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Some(finding) => write!(f, "FOUND\n{finding}"),
            None => write!(f, "{} inputs, all held; {} kept", self.inputs, self.kept),
        }
    }
}

pub(super) fn run(target: Target, seconds: u64) -> Result<Ended> {
    let corpus = place::corpus().join(target.name());
    // Two work trees may share it: one of them at a time.
    let _alone = place::alone_in(&place::corpus().join(format!("{}.lock", target.name())))?;
    fs::create_dir_all(&corpus)?;
    if files(&corpus)? > CORPUS_FILES_MAX {
        shrink(target, &corpus)?;
    }
    let crashes = target_dir().join("crashes").join(target.name());
    fs::create_dir_all(&crashes)?;
    let log = target_dir().join(format!("{}.log", target.name()));
    let mut fuzzer = Command::new(target.binary());
    fuzzer
        .args([&corpus, &target.seeds(), &place::root().join("tests/golden")])
        .arg(format!("-max_total_time={seconds}"))
        .args(limits())
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", crashes.display()));
    let output = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
    let status = fuzzer.stdout(output.try_clone()?).stderr(output).status().context("the target did not start")?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let finding = if status.success() { None } else { Some(finding::take(target, &said, status)) };
    let inputs = inputs(&said);
    if finding.is_none() && inputs == 0 {
        bail!("nothing was run:\n{}", command::tail(&said));
    }
    Ok(Ended { inputs, kept: files(&corpus)?, finding })
}

pub(super) fn limits() -> [String; 3] {
    [
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-rss_limit_mb={RSS_MEBIBYTES_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
    ]
}

/// Copies what is needed to reach all that the corpus reaches, and takes the copy for the corpus.
fn shrink(target: Target, corpus: &Path) -> Result<()> {
    let smaller = corpus.with_extension("smaller");
    if smaller.exists() {
        fs::remove_dir_all(&smaller)?;
    }
    fs::create_dir_all(&smaller)?;
    command::quiet(Command::new(target.binary()).arg("-merge=1").args(limits()).args([&smaller, corpus]))?;
    fs::remove_dir_all(corpus)?;
    fs::rename(&smaller, corpus)?;
    Ok(())
}

fn files(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?.count())
}

/// How many inputs were run, by libFuzzer's own count at the end.
fn inputs(said: &str) -> u64 {
    let count = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::inputs;

    #[test]
    fn inputs_are_counted_by_the_line_of_the_end() {
        let said =
            "#2\tINITED cov: 5\nDone 7 runs in 1 second(s)\nstat::number_of_executed_units: 6316\nstat::new: 1\n";
        assert_eq!(inputs(said), 6316);
        assert_eq!(inputs("#2\tINITED cov: 5\n==1== ERROR"), 0);
    }
}
