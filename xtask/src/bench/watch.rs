//! The stopwatch, a small program that every command is measured by in the same way: inside the tracer for the
//! workload's own time, around it for what the tracer adds.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::workloads::{Bench, shown};
use crate::command;

/// No gate: the command starts at once.
pub(super) const NO_GATE: &str = "-";

/// What a stopwatch wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) wall_s: f64,
    /// Of the command and all its children.
    pub(super) cpu_s: f64,
    /// The largest resident set of any of them.
    pub(super) rss_max_bytes: u64,
}

impl Times {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("{} was not written", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no time: {text}", file.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (wall_ns, cpu_ns, rss_kib) = (next()?, next()?, next()?);
        Some(Times { wall_s: wall_ns as f64 / 1e9, cpu_s: cpu_ns as f64 / 1e9, rss_max_bytes: rss_kib * 1024 })
    }
}

/// The words that run a command under the stopwatch.
pub(super) fn words(bench: &Bench, file: &Path, gate: &str, command: &[String]) -> Vec<String> {
    let head = [shown(&bench.stopwatch), shown(file), gate.to_owned()];
    head.into_iter().chain(command.iter().cloned()).collect()
}

/// Runs a command under the stopwatch, alone.
pub(super) fn run(bench: &Bench, file: &Path, command: &[String]) -> Result<Times> {
    let log = file.with_extension("log");
    finish(start(&words(bench, file, NO_GATE, command), &log, Stdio::null())?, &log)?;
    Times::read(file)
}

/// Starts a command; what it says goes to a file.
pub(super) fn start(words: &[String], log: &Path, stdin: Stdio) -> Result<Child> {
    let (program, rest) = words.split_first().context("no command")?;
    let out = fs::File::create(log)?;
    let mut command = Command::new(program);
    command.args(rest).stdin(stdin).stdout(Stdio::null()).stderr(out);
    // Cargo sets it for what it runs; every program would search a dozen folders more for its libraries.
    command.env_remove("LD_LIBRARY_PATH");
    command.spawn().with_context(|| format!("{program} did not start"))
}

/// Waits for its end, which must be a good one.
pub(super) fn finish(mut child: Child, log: &Path) -> Result<()> {
    let status = child.wait()?;
    if !status.success() {
        bail!("a measured command failed: {status}\n{}", command::tail(&fs::read_to_string(log).unwrap_or_default()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Times;

    #[test]
    fn three_numbers_are_the_times() {
        let times = Times::parse("2500000000 1000000000 2\n").unwrap();
        assert!((times.wall_s - 2.5).abs() < 1e-9 && (times.cpu_s - 1.0).abs() < 1e-9);
        assert_eq!(times.rss_max_bytes, 2048);
        assert!(Times::parse("1 2").is_none());
        assert!(Times::parse("1 2 x").is_none());
    }
}
