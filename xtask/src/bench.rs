//! `bench`: what tracing costs, beside its peers. Every workload runs bare, bare again and under each tracer, in random
//! order within a round; rounds are added until what is claimed is larger than the noise, or the time is up and the
//! figure is called not resolved. Every number of the tables comes from this command.

mod around;
mod hooks;
mod rounds;
mod sample;
mod scale;
mod stats;
mod subject;
mod table;
mod watch;
mod workloads;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::setup::{self, Group};
use crate::{apt, command, ebpf};
use rounds::Series;
use stats::Dice;
use workloads::{Bench, Sizes, Workload};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Small workloads and about three minutes of rounds, to see that it works
    #[arg(long)]
    quick: bool,
    /// How long rounds are added, in minutes [default: 60, or 3 with --quick]
    #[arg(long, value_name = "N")]
    limit_minutes: Option<u64>,
    /// Only the workloads with these names, or whose names contain such a text, and nothing of what a run adds around itself;
    /// rounds are added until their goals are decided too
    #[arg(long, value_delimiter = ',', value_name = "TEXTS")]
    only: Vec<String>,
    /// Instead: what each observation and each program costs, and what the evidence takes
    #[arg(long, conflicts_with = "only")]
    by_hook: bool,
    /// With --by-hook: how often each observation is left out [default: 8, or 2 with --quick]
    #[arg(long, value_name = "N", requires = "by_hook")]
    rounds: Option<usize>,
    /// With --by-hook: the programs of the strong path, in these kernels of the matrix
    #[arg(long, value_delimiter = ',', value_name = "KERNELS", requires = "by_hook")]
    kernels: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if !apt::is_root() {
        bail!("the benchmark loads programs into the kernel: run it as root");
    }
    setup::ensure(Group::Bench)?;
    ebpf::build_agent()?;
    let bench = Bench::prepare()?;
    if args.by_hook {
        return by_hook(args, &bench);
    }
    let sizes = if args.quick { Sizes::QUICK } else { Sizes::FULL };
    let mut series = chosen(bench.workloads(&sizes)?, &args.only)?;
    let mut report = vec![header(args)?];
    if args.only.is_empty() {
        say(&mut report, around::measure(&bench, if args.quick { 5 } else { 20 })?);
        let scale = if args.quick { scale::QUICK } else { scale::FULL };
        say(&mut report, scale::measure(&bench, &scale)?);
    }
    let minutes = args.limit_minutes.unwrap_or(if args.quick { 3 } else { 60 });
    add_rounds(&bench, &mut series, Duration::from_secs(minutes * 60))?;
    say(&mut report, table::workloads(&series));
    keep(&bench, report, "bench.md")
}

/// The workloads that were asked for: the one that is called so, or else all whose names contain the text.
fn chosen(workloads: Vec<Workload>, only: &[String]) -> Result<Vec<Series>> {
    let names: Vec<String> = workloads.iter().map(|workload| workload.name.clone()).collect();
    if let Some(text) = only.iter().find(|text| !names.iter().any(|name| name.contains(*text))) {
        bail!("--only {text}: no workload is called so; there are: {}", names.join("; "));
    }
    let asks = |text: &String, name: &String| name == text || !names.contains(text) && name.contains(text);
    let wanted = |workload: &Workload| only.is_empty() || only.iter().any(|text| asks(text, &workload.name));
    let series = |workload| Series::new(workload, !only.is_empty());
    Ok(workloads.into_iter().filter(wanted).map(series).collect())
}

fn by_hook(args: &Args, bench: &Bench) -> Result<()> {
    let mut report = vec![header(args)?];
    if !args.kernels.is_empty() {
        setup::ensure(Group::Vm)?;
    }
    for kernel in &args.kernels {
        say(&mut report, hooks::in_guest(bench, kernel)?);
    }
    let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 8 });
    let sizes = if args.quick { Sizes::QUICK } else { Sizes::FULL };
    say(&mut report, hooks::measure(bench, &hooks::Plan { sizes, rounds })?);
    keep(bench, report, "by-hook.md")
}

/// Prints the report, and keeps it in a file.
fn keep(bench: &Bench, mut report: Vec<String>, name: &str) -> Result<()> {
    report.push(format!("Load average at the end: {}.\n", load()?));
    let text = report.join("\n");
    let file = bench.dir.join(name);
    fs::write(&file, &text)?;
    println!("\n{text}\nKept in {}", file.display());
    Ok(())
}

/// Adds rounds to every series that is not resolved, until all are or the time is up.
fn add_rounds(bench: &Bench, series: &mut [Series], limit: Duration) -> Result<()> {
    let started = Instant::now();
    let mut dice = Dice::from_clock();
    while series.iter().any(|series| !series.is_resolved()) {
        for series in series.iter_mut() {
            for _ in 0..series.workload.weight {
                if started.elapsed() >= limit {
                    return Ok(());
                }
                if !series.is_resolved() {
                    series.add_round(bench, &mut dice)?;
                }
            }
        }
        eprintln!("{:.1} min: {}", started.elapsed().as_secs_f64() / 60.0, rounds::state(series));
    }
    Ok(())
}

fn say(report: &mut Vec<String>, part: String) {
    eprintln!("{part}");
    report.push(part);
}

fn header(args: &Args) -> Result<String> {
    let kernel = command::read(Command::new("uname").args(["-r", "-m"]))?;
    let cpus = std::thread::available_parallelism()?;
    let quick = if args.quick { " --quick: small workloads, to see that it works;" } else { "" };
    let version = |program: &str| {
        let said = command::read(Command::new(program).arg("--version")).unwrap_or_default();
        said.lines().next().unwrap_or_default().to_owned()
    };
    Ok(format!(
        "`cargo xtask bench`:{quick} kernel {}, {cpus} processors, {}, {}; load average at the start: {}.\n",
        kernel.trim(),
        version("strace"),
        version("bpftrace"),
        load()?
    ))
}

fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
