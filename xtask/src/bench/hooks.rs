//! `bench --by-hook`: what each observation costs, and what the evidence of it takes.
//!
//! Three tables. Each observation left out in turn, held against all of them, paired by round: what it costs a workload. Each program
//! in the kernel: instructions, and the time of a run beside a program that does nothing, as the kernel counts it. And the evidence:
//! bytes for an event, and for a host and day that builds all the time, or does next to nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::sample::testimony_run;
use super::stats::{Dice, Estimate, median};
use super::watch::{self, NO_GATE, Times};
use super::workloads::{Bench, Sizes, shown};
use crate::demo::statement::Statement;
use crate::place;

/// With this the kernel counts runs of BPF programs and their time.
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// How long the quiet session lasts.
const QUIET_S: u32 = 30;
const DAY_S: f64 = 86_400.0;
/// Programs that do nothing have this before their hook.
const EMPTY: &str = "empty_";

/// What is to be measured.
pub(super) struct Plan {
    pub(super) sizes: Sizes,
    pub(super) rounds: usize,
}

struct Job {
    name: String,
    command: Vec<String>,
    makes: Option<std::path::PathBuf>,
}

/// All three tables.
pub(super) fn measure(bench: &Bench, plan: &Plan) -> Result<String> {
    let jobs: Vec<Job> = bench
        .workloads(&plan.sizes)?
        .into_iter()
        .filter(|workload| !workload.outside && workload.at_once == 1)
        .map(|workload| Job { name: workload.name, command: workload.command, makes: workload.makes })
        .collect();
    fs::create_dir_all(bench.dir.join("by-hook"))?;
    let evidence = evidence(bench, &jobs)?;
    let programs = programs(bench, &jobs)?;
    let observations = observations(bench, &jobs, plan.rounds)?;
    Ok(format!("{observations}\n{programs}\n{evidence}"))
}

/// Runs a workload in a session; the workload's own times.
fn run(bench: &Bench, job: &Job, options: &[String]) -> Result<(Times, String)> {
    let folder = bench.dir.join("by-hook/run");
    for made in [Some(&folder), job.makes.as_ref()].into_iter().flatten() {
        if made.exists() {
            fs::remove_dir_all(made)?;
        }
        fs::create_dir_all(made)?;
    }
    let inner = watch::words(bench, &folder.join("inner"), NO_GATE, &job.command);
    let words = traced(bench, &folder, options, inner)?;
    let outer = folder.join("outer");
    watch::run(bench, &outer, &words).with_context(|| job.name.clone())?;
    Ok((Times::read(&folder.join("inner"))?, fs::read_to_string(outer.with_extension("log"))?))
}

/// The words of a session, with more options before the command.
fn traced(bench: &Bench, folder: &Path, options: &[String], command: Vec<String>) -> Result<Vec<String>> {
    let mut words = testimony_run(bench, &folder.join("trace"));
    let end = words.pop().context("a command line ends with --")?;
    words.extend(options.iter().cloned());
    words.push(end);
    words.extend(command);
    Ok(words)
}

fn observations(bench: &Bench, jobs: &[Job], rounds: usize) -> Result<String> {
    let names = optional(bench)?;
    let mut dice = Dice::from_clock();
    let mut ratios: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); jobs.len()]; names.len()];
    for round in 0..rounds {
        for (at, job) in jobs.iter().enumerate() {
            // One with everything for all of the round, between those without.
            let mut order: Vec<Option<usize>> = (0..names.len()).map(Some).chain([None, None]).collect();
            dice.shuffle(&mut order);
            let (mut whole, mut without) = (Vec::new(), Vec::new());
            for left_out in order {
                let options: Vec<String> =
                    left_out.into_iter().map(|index| format!("--leave-out={}", names[index])).collect();
                let cpu_s = run(bench, job, &options)?.0.cpu_s;
                match left_out {
                    None => whole.push(cpu_s),
                    Some(index) => without.push((index, cpu_s)),
                }
            }
            let whole = whole.iter().sum::<f64>() / whole.len() as f64;
            for (index, cpu_s) in without {
                ratios[index][at].push(whole / cpu_s);
            }
            eprintln!("by hook: round {} of {rounds}, {}", round + 1, job.name);
        }
    }
    let mut table = format!(
        "CPU time of the workload with all observations, held against that without one; median of ratios paired by round ({rounds}\n\
         rounds), with the interval of the sign test (95 %, at least six rounds). Those below 1 are noise, and show its size.\n\n| without |"
    );
    for job in jobs {
        write!(table, " {} |", job.name)?;
    }
    table += "\n|---|";
    table += &"---:|".repeat(jobs.len());
    table.push('\n');
    for (name, ratios) in names.iter().zip(&ratios) {
        write!(table, "| {name} |")?;
        for ratios in ratios {
            match Estimate::of(ratios) {
                Some(Estimate { median, interval: Some((low, high)) }) => {
                    write!(table, " {median:.3}x [{low:.3}, {high:.3}] |")?;
                }
                Some(Estimate { median, interval: None }) => write!(table, " {median:.3}x |")?,
                None => table += " - |",
            }
        }
        table.push('\n');
    }
    Ok(table)
}

/// The observations that can be left out, as the agent names them where it is given none of them.
fn optional(bench: &Bench) -> Result<Vec<String>> {
    let said = Command::new(&bench.testimony).args(["run", "--leave-out", "nothing", "--", "true"]).output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let names = said.split_once("none of ").and_then(|(_, rest)| rest.lines().next());
    let names: Vec<String> = names
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        bail!("the agent names no observation that can be left out: {said}");
    }
    Ok(names)
}

/// The kernel's setting, put back at the end.
struct Counting(String);

impl Counting {
    fn start() -> Result<Self> {
        let before = fs::read_to_string(STATS).with_context(|| format!("{STATS} cannot be read"))?;
        fs::write(STATS, "1").with_context(|| format!("{STATS} cannot be set"))?;
        Ok(Self(before))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(STATS, &self.0);
    }
}

/// What the agent says of a program.
struct Cost {
    program: String,
    translated: String,
    verified: String,
    runs: f64,
    ns: f64,
}

/// `testimony: program NAME: N instructions, N verified, N runs, N ns`, as `--program-costs` prints them.
fn costs_of(said: &str) -> Vec<Cost> {
    let cost = |line: &str| {
        let (program, rest) = line.strip_prefix("testimony: program ")?.split_once(": ")?;
        let mut numbers = rest.split(", ").filter_map(|part| part.split(' ').next());
        let mut next = || numbers.next().map(str::to_owned);
        let (translated, verified) = (next()?, next()?);
        let (runs, ns) = (next()?.parse().ok()?, next()?.parse().ok()?);
        Some(Cost { program: program.to_owned(), translated, verified, runs, ns })
    };
    said.lines().filter_map(cost).collect()
}

fn programs(bench: &Bench, jobs: &[Job]) -> Result<String> {
    let _counting = Counting::start()?;
    let mut table = "What the kernel counts of each program that ran: instructions as translated and as walked by its verifier, runs on the\n\
                     whole host, nanoseconds of a run, and these beside a program that does nothing at the most used hook.\n"
        .to_owned();
    for job in jobs {
        let (_, said) = run(bench, job, &["--program-costs".to_owned()])?;
        let costs = costs_of(&said);
        let per_run = |cost: &Cost| cost.ns / cost.runs.max(1.0);
        let empty: Vec<f64> =
            costs.iter().filter(|cost| cost.program.starts_with(EMPTY) && cost.runs > 0.0).map(per_run).collect();
        let empty = median(&empty).context("no program that does nothing has run")?;
        write!(table, "\n| {} | instructions | verified | runs | ns a run | beside an empty one |\n", job.name)?;
        table += "|---|---:|---:|---:|---:|---:|\n";
        for cost in costs.iter().filter(|cost| cost.runs > 0.0) {
            let Cost { program, translated, verified, runs, .. } = cost;
            let ns = per_run(cost);
            writeln!(table, "| `{program}` | {translated} | {verified} | {runs} | {ns:.0} | {:.1}x |", ns / empty)?;
        }
    }
    Ok(table)
}

fn evidence(bench: &Bench, jobs: &[Job]) -> Result<String> {
    let mut table = "| evidence | events delivered | folded | bytes | bytes for an event delivered | GB for a host and day |\n|---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let quiet = Job {
        name: format!("a quiet session: a shell that looks at its load every second, {QUIET_S} s"),
        command: [
            "sh",
            "-c",
            &format!("i=0; while [ $i -lt {QUIET_S} ]; do read a < /proc/loadavg; sleep 1; i=$((i+1)); done"),
        ]
        .map(str::to_owned)
        .to_vec(),
        makes: None,
    };
    for job in jobs.iter().chain([&quiet]) {
        let (times, _) = run(bench, job, &[])?;
        let trace = bench.dir.join("by-hook/run/trace");
        let statement = Statement::read(&trace.with_extension("intoto.jsonl"))?;
        let sum = |name: &str| statement.coverage().filter_map(|hook| hook[name].as_u64()).sum::<u64>();
        let bytes = size_of(&trace.with_extension("evidence"))?;
        let (delivered, folded) = (sum("delivered"), sum("coalesced"));
        let day_gb = bytes as f64 / times.wall_s * DAY_S / 1e9;
        writeln!(
            table,
            "| {} | {delivered} | {folded} | {bytes} | {:.1} | {day_gb:.3} |",
            job.name,
            bytes as f64 / delivered.max(1) as f64
        )?;
    }
    table += "\nA host and day: the same work without a pause, on both processors or as said.\n";
    Ok(table)
}

fn size_of(folder: &Path) -> Result<u64> {
    let entries = fs::read_dir(folder).with_context(|| shown(folder))?;
    entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// The second table in the guest of a kernel, where the strong hooks are.
pub(super) fn in_guest(bench: &Bench, kernel: &str) -> Result<String> {
    let sizes = Sizes { compile_s: 1.0, opens: 20_000, execs: 20, at_once: 1 };
    let opens = bench.workloads(&sizes)?.into_iter().nth(1).context("the workload of opens")?;
    let testimony = place::target().join("release/testimony");
    let command: Vec<String> = opens.command.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "echo 1 > {STATS}; cd /tmp; '{}' run --program-costs --key key -o out -- {} 2>&1",
        testimony.display(),
        command.join(" ")
    );
    let mut said = String::new();
    // The folder that the workload opens goes along, by the name that `workloads` gives it.
    let files = [testimony.clone(), bench.opens.clone(), bench.dir.join("files")];
    let words = ["bash", "-c", &script].map(str::to_owned).to_vec();
    let limit = std::time::Duration::from_secs(600);
    let ran = crate::vm::run_command(kernel, &files, words, Vec::new(), limit, &mut |line| {
        said.push_str(line);
        said.push('\n');
    })?;
    if ran.status != 0 {
        bail!("the session in the guest ended with {}: {said}", ran.status);
    }
    let costs = costs_of(&said);
    let empty = costs.iter().find(|cost| cost.program == "empty_file_open" && cost.runs > 0.0);
    let empty = empty.with_context(|| format!("the program that does nothing did not run: {said}"))?;
    let empty_ns = empty.ns / empty.runs;
    let mut table = format!(
        "| {}, kernel {kernel}, emulated | instructions | verified | runs | beside an empty one |\n|---|---:|---:|---:|---:|\n",
        opens.name
    );
    for Cost { program, translated, verified, runs, ns } in &costs {
        let beside = if *runs > 0.0 { format!("{:.1}x", ns / runs / empty_ns) } else { "-".to_owned() };
        writeln!(table, "| `{program}` | {translated} | {verified} | {runs} | {beside} |")?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::costs_of;

    #[test]
    fn costs_are_read_and_other_lines_are_not() {
        let said = "testimony: load: 1.0 ms\ntestimony: program exec: 80 instructions, - verified, 12 runs, 600 ns\nprogram x\n";
        let costs = costs_of(said);
        assert_eq!(costs.len(), 1);
        assert_eq!((costs[0].program.as_str(), costs[0].verified.as_str()), ("exec", "-"));
        assert!((costs[0].ns / costs[0].runs - 50.0).abs() < 1e-9);
    }
}
