//! One large session: is it lossless, how much memory does it take, how large is what it leaves?

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::sample::testimony_run;
use super::table::duration;
use super::watch;
use super::workloads::Bench;
use crate::demo::statement::Statement;

/// Each process opens every file, as often as there are passes.
pub(super) struct Scale {
    files: usize,
    processes: usize,
    passes: usize,
}

/// 1,000,000 opens, of which 200,000 are first accesses of a process to one of 100,000 files.
pub(super) const FULL: Scale = Scale { files: 100_000, processes: 2, passes: 5 };
pub(super) const QUICK: Scale = Scale { files: 10_000, processes: 2, passes: 5 };

/// What the peak of memory may be, as the project promises.
const RSS_MAX_MB: f64 = 150.0;

/// The table: each figure on a line.
pub(super) fn measure(bench: &Bench, scale: &Scale) -> Result<String> {
    let files = bench.files("scale-files", scale.files)?;
    let dir = bench.dir.join("scale");
    fs::create_dir_all(&dir)?;
    let name = dir.join("run");
    let mut words = testimony_run(bench, &name);
    words.extend(bench.opens_of(&files, scale.files, scale.passes, scale.processes));
    let times = watch::run(bench, &dir.join("times"), &words)?;
    let file = dir.join("run.intoto.jsonl");
    let statement = Statement::read(&file)?;
    let sum = |name: &str| statement.coverage().filter_map(|hook| hook[name].as_u64()).sum::<u64>();
    let below = format!("{}/", files.display());
    let stated = statement.files().filter(|file| file.path.starts_with(&below)).count();
    let rss_mb = times.rss_max_bytes as f64 / 1e6;
    let outcome = if rss_mb < RSS_MAX_MB { "met" } else { "missed" };
    let opens = scale.files * scale.processes * scale.passes;
    let mut table =
        format!("| {opens} opens of {} files by {} processes in one session | |\n", scale.files, scale.processes);
    table += "|---|---:|\n";
    let mut row = |what: &str, value: String| writeln!(table, "| {what} | {value} |");
    row("lossless", yes(statement.lossless()))?;
    row("complete", yes(statement.complete()))?;
    row("events attempted", sum("attempted").to_string())?;
    row("= delivered to user space", sum("delivered").to_string())?;
    row("+ coalesced in the kernel", sum("coalesced").to_string())?;
    row("+ lost", sum("lost").to_string())?;
    row("of the files, entries in the statement", stated.to_string())?;
    row(&format!("peak resident set, MB (goal: under {RSS_MAX_MB:.0}, {outcome})"), format!("{rss_mb:.1}"))?;
    row("statement, MB", megabytes(fs::metadata(&file)?.len()))?;
    row("evidence, MB", megabytes(size_of(&dir.join("run.evidence"))?))?;
    row("whole run", duration(times.wall_s))?;
    row("CPU time of all", duration(times.cpu_s))?;
    Ok(table)
}

fn yes(held: bool) -> String {
    if held { "yes" } else { "**no**" }.to_owned()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn size_of(dir: &Path) -> Result<u64> {
    fs::read_dir(dir)?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.len()))
}
