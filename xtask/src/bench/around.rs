//! What a run adds around its command: `run -- true`, and where the time goes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::Result;

use super::sample::testimony_run;
use super::stats::median;
use super::watch;
use super::workloads::Bench;

/// What a run may add, as the project promises.
const GOAL_MS: f64 = 250.0;

/// The table: the whole and each part of it, medians.
pub(super) fn measure(bench: &Bench, runs: usize) -> Result<String> {
    let dir = bench.dir.join("around");
    fs::create_dir_all(&dir)?;
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    let mut laps: BTreeMap<usize, (String, Vec<f64>)> = BTreeMap::new();
    // The first makes the key, and warms the caches; it does not count.
    for run in 0..=runs {
        let file = dir.join(format!("run-{run}"));
        let mut words = testimony_run(bench, &file);
        words.push("true".to_owned());
        let times = watch::run(bench, &file, &words)?;
        if run == 0 {
            continue;
        }
        walls.push(times.wall_s * 1e3);
        cpus.push(times.cpu_s * 1e3);
        for (index, (name, ms)) in laps_of(&fs::read_to_string(file.with_extension("log"))?).enumerate() {
            laps.entry(index).or_insert((name, Vec::new())).1.push(ms);
        }
    }
    let mut table = format!("| `testimony run -- true`, median of {runs} runs | ms |\n|---|---:|\n");
    let wall = median(&walls).unwrap_or_default();
    let outcome = if wall < GOAL_MS { "met" } else { "missed" };
    writeln!(table, "| whole (goal: under {GOAL_MS:.0}, {outcome}) | {wall:.1} |")?;
    for (name, times) in laps.values() {
        writeln!(table, "| of it: {name} | {:.1} |", median(times).unwrap_or_default())?;
    }
    writeln!(table, "| CPU time | {:.1} |", median(&cpus).unwrap_or_default())?;
    Ok(table)
}

/// `testimony: NAME: TIME ms`, as `--timings` prints them.
fn laps_of(said: &str) -> impl Iterator<Item = (String, f64)> {
    said.lines().filter_map(|line| {
        let (name, time) = line.strip_prefix("testimony: ")?.rsplit_once(": ")?;
        Some((name.to_owned(), time.strip_suffix(" ms")?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::laps_of;

    #[test]
    fn laps_are_read_and_other_lines_are_not() {
        let said = "testimony: load and attach: 12.5 ms\n{\"a\": 1}\ntestimony: x signed, COMPLETE at level object\n";
        assert_eq!(laps_of(said).collect::<Vec<_>>(), [("load and attach".to_owned(), 12.5)]);
    }
}
