//! One measurement: a workload, run in one way. The workload's own time is taken inside the tracer, after it has loaded
//! and attached and before it settles and signs; the tracer's CPU time is taken around all of that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::subject::{BPFTRACE, STRACE_CALLS, Subject};
use super::watch::{self, NO_GATE, Times};
use super::workloads::{Bench, Workload, shown};
use crate::command;

/// How long a tracer may take until it is ready.
const READY_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// The workload's own wall time; of several at once, their mean.
    pub(super) wall_s: f64,
    /// CPU time of the workload and its children, the probes that ran inside them included.
    pub(super) session_cpu_s: f64,
    /// CPU time of the tracer, from its start to its end.
    pub(super) agent_cpu_s: f64,
    /// Whether the tracer says, or shows, that it lost events.
    pub(super) lost: bool,
}

/// Measures.
pub(super) fn take(bench: &Bench, workload: &Workload, subject: Subject) -> Result<Sample> {
    let dir = bench.dir.join("sample");
    for made in [Some(&dir), workload.makes.as_ref()].into_iter().flatten() {
        if made.exists() {
            fs::remove_dir_all(made)?;
        }
        fs::create_dir_all(made)?;
    }
    let take = Take { bench, workload, dir };
    match subject {
        Subject::Bare | Subject::BareAgain => take.inside(&|_, inner| inner),
        Subject::Testimony if workload.outside => take.outside(),
        Subject::Testimony => take.inside(&|number, inner| take.testimony(number, inner)),
        Subject::Strace => take.inside(&|number, inner| take.strace(number, inner)),
        Subject::Bpftrace => take.beside_bpftrace(),
    }
    .with_context(|| format!("{}, {}", workload.name, subject.name()))
}

struct Take<'a> {
    bench: &'a Bench,
    workload: &'a Workload,
    dir: PathBuf,
}

impl Take<'_> {
    /// Runs the workload as often as it is to run at once, each wrapped, and adds up what was measured.
    fn inside(&self, wrap: &dyn Fn(usize, Vec<String>) -> Vec<String>) -> Result<Sample> {
        let count = self.workload.at_once;
        let gate = self.dir.join("gate");
        let gate_word = if count > 1 { shown(&gate) } else { NO_GATE.to_owned() };
        let mut children = Vec::new();
        for number in 0..count {
            let inner = watch::words(self.bench, &self.file("inner", number), &gate_word, &self.workload.command);
            let log = self.file("log", number);
            children.push((watch::start(&wrap(number, inner), &log, Stdio::null())?, log));
        }
        if count > 1 {
            // All start together, once the last of them is traced.
            for number in 0..count {
                wait_for(&self.file("inner", number).with_extension("ready"))?;
            }
            fs::write(&gate, "")?;
        }
        children.into_iter().try_for_each(|(child, log)| watch::finish(child, &log))?;
        self.sum(count)
    }

    fn sum(&self, count: usize) -> Result<Sample> {
        let mut sample = Sample { wall_s: 0.0, session_cpu_s: 0.0, agent_cpu_s: 0.0, lost: false };
        for number in 0..count {
            let inner = Times::read(&self.file("inner", number))?;
            sample.wall_s += inner.wall_s / count as f64;
            sample.session_cpu_s += inner.cpu_s;
            let outer = self.file("outer", number);
            if outer.exists() {
                sample.agent_cpu_s += (Times::read(&outer)?.cpu_s - inner.cpu_s).max(0.0);
            }
            sample.lost |= says_lost(&self.file("log", number))?;
        }
        Ok(sample)
    }

    fn testimony(&self, number: usize, inner: Vec<String>) -> Vec<String> {
        let words = testimony_run(self.bench, &self.file("trace", number));
        let words: Vec<String> = words.into_iter().chain(inner).collect();
        watch::words(self.bench, &self.file("outer", number), NO_GATE, &words)
    }

    fn strace(&self, number: usize, inner: Vec<String>) -> Vec<String> {
        let out = shown(&self.file("strace", number));
        let head = ["strace", "-f", "--seccomp-bpf", "-o", &out, "-e", STRACE_CALLS].map(str::to_owned);
        let words: Vec<String> = head.into_iter().chain(inner).collect();
        watch::words(self.bench, &self.file("outer", number), NO_GATE, &words)
    }

    /// The workload in no session, while one is open that does nothing.
    fn outside(&self) -> Result<Sample> {
        let ready = self.dir.join("ready");
        let script = ": > \"$0\"; read line; true";
        let mut words = testimony_run(self.bench, &self.file("trace", 0));
        words.extend(["sh", "-c", script, &shown(&ready)].map(str::to_owned));
        let outer = self.file("outer", 0);
        let log = self.file("session-log", 0);
        let mut session = watch::start(&watch::words(self.bench, &outer, NO_GATE, &words), &log, Stdio::piped())?;
        wait_for(&ready)?;
        let inner = watch::run(self.bench, &self.file("inner", 0), &self.workload.command)?;
        // A line of input ends the session's command.
        drop(session.stdin.take());
        watch::finish(session, &log)?;
        let agent_cpu_s = Times::read(&outer)?.cpu_s;
        let lost = says_lost(&log)?;
        Ok(Sample { wall_s: inner.wall_s, session_cpu_s: inner.cpu_s, agent_cpu_s, lost })
    }

    /// The workload while bpftrace prints what the host does.
    fn beside_bpftrace(&self) -> Result<Sample> {
        let (outer, out, log) = (self.file("outer", 0), self.dir.join("bpftrace"), self.file("bpftrace-log", 0));
        let words = ["unshare", "--mount", "sh", "-c", BPFTRACE, "sh", &shown(&out)].map(str::to_owned);
        let tracer = watch::start(&watch::words(self.bench, &outer, NO_GATE, &words), &log, Stdio::null())?;
        let measured = self.wait_until_printed(&out).and_then(|()| self.inside(&|_, inner| inner));
        let ended = interrupt(tracer);
        let measured = measured.with_context(|| command::tail(&fs::read_to_string(&log).unwrap_or_default()))?;
        ended?;
        let printed = String::from_utf8_lossy(&fs::read(&out)?).into_owned();
        let lost = printed.contains("Lost ") || fs::read_to_string(&log)?.contains("Lost ");
        Ok(Sample { agent_cpu_s: Times::read(&outer)?.cpu_s, lost, ..measured })
    }

    /// Opens a file of a name of its own until bpftrace prints it: then all its probes are attached.
    fn wait_until_printed(&self, out: &Path) -> Result<()> {
        let marker = self.dir.join("is-bpftrace-ready");
        let started = Instant::now();
        while started.elapsed() < READY_MAX {
            let _ = fs::read(&marker);
            sleep(LOOK_EVERY * 10);
            if fs::read(out).is_ok_and(|printed| String::from_utf8_lossy(&printed).contains("is-bpftrace-ready")) {
                return Ok(());
            }
        }
        bail!("bpftrace printed nothing in {} s", READY_MAX.as_secs())
    }

    fn file(&self, name: &str, number: usize) -> PathBuf {
        self.dir.join(format!("{name}-{number}"))
    }
}

/// `testimony run` up to the command.
pub(super) fn testimony_run(bench: &Bench, name: &Path) -> Vec<String> {
    let (testimony, key) = (shown(&bench.testimony), shown(&bench.dir.join("key")));
    [&testimony, "run", "--json", "--timings", "--key", &key, "-o", &shown(name), "--"].map(str::to_owned).to_vec()
}

/// Whether the line of JSON that `testimony run` ends with denies losslessness; other tracers print none.
fn says_lost(log: &Path) -> Result<bool> {
    let said = fs::read_to_string(log)?;
    let result = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(Value::is_object);
    Ok(result.is_some_and(|result| result["lossless"] != true))
}

fn wait_for(file: &Path) -> Result<()> {
    let started = Instant::now();
    while !file.exists() {
        if started.elapsed() > READY_MAX {
            bail!("{} did not appear in {} s", file.display(), READY_MAX.as_secs());
        }
        sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Ends a tracer as a person would.
fn interrupt(mut child: Child) -> Result<()> {
    command::quiet(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
    child.wait()?;
    Ok(())
}
