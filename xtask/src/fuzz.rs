//! `fuzz`: every reader of foreign bytes against hostile ones, two targets at once. libFuzzer bends the inputs that are kept in
//! `fuzz/seeds`, in the golden files and in the corpus that earlier runs found, and keeps what reaches something new; what
//! must hold of each is in `fuzz/properties`. An ordinary compiler builds it: only the crates that are fuzzed are instrumented.
//!
//! No sanitizer is linked: the crates contain no unsafe code, and how much they allocate is counted by the targets themselves.

mod finding;
mod run;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::setup::{self, Group};
use crate::{command, place};
use run::Ended;

/// How long each target runs unless it is said.
pub(crate) const SECONDS: u64 = 60;
/// Targets that run at once.
const AT_ONCE: usize = 2;
/// Crates whose branches and comparisons the fuzzer follows: ours, and the readers below them. One with a build script cannot
/// be among them, since the script would be instrumented too.
const FOLLOWED: [&str; 10] =
    ["agent-ebpf", "attestation", "base64", "cms", "der", "fuzz", "prost", "proto", "tpm2-protocol", "x509-cert"];
/// What makes the compiler do so, as cargo-fuzz sets it.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// What is fuzzed: a binary of the package below `fuzz/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Records of the ring
    Decode,
    /// Segments of an evidence log, its messages, and their fold
    Log,
    /// DSSE envelopes
    Envelope,
    /// Payloads
    Statement,
    /// Proofs of single frames, and the tree
    Proof,
    /// What machines say: structures of TPMs, logs of boots, quotes, enrolments
    Machine,
    /// Whom to believe: certificates, timestamps, receipts, names
    Trust,
}

impl Target {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Target::Decode => "decode",
            Target::Log => "log",
            Target::Envelope => "envelope",
            Target::Statement => "statement",
            Target::Proof => "proof",
            Target::Machine => "machine",
            Target::Trust => "trust",
        }
    }

    fn binary(self) -> PathBuf {
        target_dir().join("release").join(self.name())
    }

    /// Inputs that are under version control: those by which something was once found are among them.
    fn seeds(self) -> PathBuf {
        place::root().join("fuzz/seeds").join(self.name())
    }
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Targets to fuzz; all of them when none is named
    targets: Vec<Target>,
    /// How long each is fuzzed
    #[arg(long, value_name = "N", default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Run the target on this input alone, as often as is asked, and fuzz nothing
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(input) = &args.input {
        let [target] = args.targets[..] else { bail!("--input needs the one target that it is for") };
        build()?;
        return command::run(Command::new(target.binary()).arg(input));
    }
    let mut failed = Vec::new();
    fuzz(&args.targets, args.seconds, &mut |target, holds| {
        if !holds {
            failed.push(target.name());
        }
    })?;
    if !failed.is_empty() {
        bail!("fuzzing found something: {}", failed.join(", "));
    }
    Ok(())
}

/// Fuzzes these targets, or all, and tells of each whether everything held.
pub(crate) fn fuzz(targets: &[Target], seconds: u64, tell: &mut dyn FnMut(Target, bool)) -> Result<()> {
    build()?;
    let targets = if targets.is_empty() { Target::value_variants() } else { targets };
    let queue: Mutex<VecDeque<Target>> = Mutex::new(targets.iter().copied().collect());
    let (send, ended) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (send, queue) = (send.clone(), &queue);
            scope.spawn(move || {
                while let Some(target) = next(queue) {
                    if send.send((target, run::run(target, seconds))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        for (target, ended) in ended {
            let holds = matches!(ended, Ok(Ended { finding: None, .. }));
            match ended {
                Ok(ended) => println!("{}: {ended}", target.name()),
                Err(fault) => println!("{}: {fault:#}", target.name()),
            }
            tell(target, holds);
        }
    });
    Ok(())
}

fn next(queue: &Mutex<VecDeque<Target>>) -> Option<Target> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Where the targets are built, apart from all else: nothing else is instrumented.
fn target_dir() -> PathBuf {
    place::target().join("fuzz")
}

fn build() -> Result<()> {
    setup::ensure(Group::Fuzz)?;
    let target_dir = target_dir();
    if !target_dir.is_dir() {
        println!("fuzz targets: built with coverage, some minutes the first time.");
    }
    let mut cargo = command::cargo();
    cargo.args(["build", "--quiet", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"]);
    cargo.arg(&target_dir);
    // Flags for single crates are unstable in Cargo; those themselves are not.
    cargo.arg("-Zprofile-rustflags").env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTFLAGS");
    let flags = FLAGS.map(|flag| format!("\"{flag}\"")).join(",");
    for followed in FOLLOWED {
        cargo.arg("--config").arg(format!("profile.release.package.{followed}.rustflags=[{flags}]"));
    }
    command::run(&mut cargo)
}

/// The path as it is best typed: from the workspace's root where it is below it.
fn typed(path: &Path) -> String {
    path.strip_prefix(place::root()).unwrap_or(path).display().to_string()
}
