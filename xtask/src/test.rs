//! `test`: every test there is, from an empty machine: unit tests, end-to-end tests on this kernel, and the same
//! binaries in each kernel of the matrix. All parts run, whatever the ones before said; the last line counts all.

mod tally;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::setup::{self, Group};
use crate::{apt, command, ebpf, place, vm};
use tally::Tally;

/// Suites that run in every guest.
const GUEST_SUITES: [&str; 1] = ["hooks"];
/// Suites of many sessions: in a guest, whose processor is software, each loads its programs for seconds. Without a choice
/// of kernels they run in the oldest and the newest; in every kernel that is named with `--kernels` they run.
const LONG_SUITES: [&str; 1] = ["run"];
const LONG_KERNELS: [&str; 2] = ["6.1", "7.3"];
/// Suites that are of most use with the strongest hooks, and take long: they run in these guests, where 6.18 costs the least.
const STRONG_SUITES: [&str; 2] = ["judge", "oracle"];
const STRONG_KERNELS: [&str; 1] = ["6.18"];
/// Those of them that have nothing to say where only the weakest hooks are.
const GUEST_ONLY_SUITES: [&str; 1] = ["judge"];
/// The suite of the kernel that is refused: all others would only find that nothing starts there.
const REFUSED_KERNEL_SUITES: [&str; 1] = ["hooks"];
/// The kernel of the matrix that is too old.
const REFUSED_KERNEL: &str = "5.10";
/// How long all end-to-end tests may take in one guest.
const GUEST_TIME_MAX: Duration = Duration::from_secs(1800);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the virtual machines out
    #[arg(long)]
    no_vm: bool,
    /// Only these kernels of the matrix, separated by commas, and in them every suite, also those that take long
    #[arg(long, value_delimiter = ',', value_name = "KERNELS", conflicts_with = "no_vm")]
    kernels: Vec<String>,
    /// Given to each end-to-end test binary, as a filter or an option of the test harness
    #[arg(last = true)]
    harness: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    apt::prefix_as_root("the end-to-end tests load programs into the kernel")?;
    setup::require_tracing_host()?;
    setup::ensure(Group::Build)?;
    setup::ensure(Group::Tests)?;
    let mut tally = Tally::default();
    part(&mut tally, "unit tests", unit_tests);
    let mut suites = Suites::default();
    part(&mut tally, "build of the end-to-end tests", |_| {
        suites = Suites::build()?;
        Ok(())
    });
    if !suites.binaries.is_empty() {
        part(&mut tally, "end-to-end tests on this kernel", |tally| suites.run_here(&args.harness, tally));
        for kernel in kernels(args) {
            let name = format!("end-to-end tests in kernel {kernel}");
            let whole = !args.kernels.is_empty() || LONG_KERNELS.contains(&kernel.as_str());
            part(&mut tally, &name, |tally| suites.run_in_guest(&kernel, whole, &args.harness, tally));
        }
    }
    println!("{tally}");
    if !tally.is_good() {
        bail!("failed: {}", tally.failed_parts().join(", "));
    }
    Ok(())
}

fn kernels(args: &Args) -> Vec<String> {
    match (args.no_vm, args.kernels.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => vm::KERNELS.map(str::to_owned).to_vec(),
        (false, false) => args.kernels.clone(),
    }
}

/// Runs one part and says how long it took; an error of its own, beside failed tests, is kept for the end.
fn part(tally: &mut Tally, name: &str, run: impl FnOnce(&mut Tally) -> Result<()>) {
    println!("== {name}");
    let started = Instant::now();
    let before = tally.failed();
    match run(tally) {
        Ok(()) => {}
        Err(fault) => {
            println!("{name}: {fault:#}");
            tally.part_failed(name, before);
        }
    }
    println!("== {name}: {:.0} s", started.elapsed().as_secs_f64());
}

/// The tests of every crate. The developer commands are tested in the profile they are built in, and the ABI in its own
/// workspace.
fn unit_tests(tally: &mut Tally) -> Result<()> {
    ebpf::build(true)?;
    let abi_target = place::target().join("abi").display().to_string();
    let runs: [&[&str]; 3] = [
        &["test", "--workspace", "--exclude=tests", "--exclude=xtask", "--exclude=proto-generate", "--no-fail-fast"],
        &["test", "--package=xtask", "--profile=xtask", "--no-fail-fast"],
        &["test", "--manifest-path", "agent-ebpf/Cargo.toml", "--lib", "--target-dir", &abi_target],
    ];
    let mut faults = Vec::new();
    for run in runs {
        if let Err(fault) = count(command::cargo().args(run), tally) {
            faults.push(format!("{fault:#}"));
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

/// The end-to-end tests, built.
#[derive(Default)]
struct Suites {
    binaries: Vec<PathBuf>,
}

impl Suites {
    /// Builds what is tested and what tests it, both as they ship.
    fn build() -> Result<Self> {
        ebpf::build_agent()?;
        let mut build = command::cargo();
        build.args(["test", "--package", "tests", "--release", "--no-run", "--message-format=json-render-diagnostics"]);
        let messages = command::read_loud(&mut build)?;
        let binaries: Vec<PathBuf> = messages.lines().filter_map(test_binary).collect();
        if binaries.is_empty() {
            bail!("no test binary was built");
        }
        Ok(Suites { binaries })
    }

    fn run_here(&self, harness: &[String], tally: &mut Tally) -> Result<()> {
        let mut faults = Vec::new();
        println!("in guests only: {}", GUEST_ONLY_SUITES.join(", "));
        for binary in self.binaries.iter().filter(|binary| !is_one_of(binary, &GUEST_ONLY_SUITES)) {
            let mut run = if apt::is_root() || command::find("sudo").is_none() {
                Command::new(binary)
            } else {
                let mut sudo = Command::new("sudo");
                sudo.arg("--preserve-env").arg(binary);
                sudo
            };
            run.current_dir(place::root().join("tests")).args(harness).envs(environment("host"));
            if let Err(fault) = count(&mut run, tally) {
                faults.push(format!("{fault:#}"));
            }
        }
        if !faults.is_empty() {
            bail!("{}", faults.join("; "));
        }
        Ok(())
    }

    /// The same binaries, one boot for all of them.
    fn run_in_guest(&self, kernel: &str, whole: bool, harness: &[String], tally: &mut Tally) -> Result<()> {
        let suites = guest_suites(kernel, whole);
        println!("suites: {}", suites.join(", "));
        let binaries: Vec<&PathBuf> = self.binaries.iter().filter(|binary| is_one_of(binary, &suites)).collect();
        let mut files: Vec<PathBuf> = binaries.iter().copied().cloned().collect();
        files.extend(shipped().map(|(_, path)| path));
        let script = binaries.iter().fold("cd tests; status=0".to_owned(), |script, binary| {
            format!("{script}; '{}' \"$@\" || status=1", binary.display())
        });
        let mut words = ["bash", "-c", &format!("{script}; exit $status"), "bash"].map(str::to_owned).to_vec();
        words.extend(harness.iter().cloned());
        let environment = environment(kernel);
        let ran = vm::run_command(kernel, &files, words, environment, GUEST_TIME_MAX, &mut |line| {
            println!("{line}");
            tally.read(line);
        })?;
        if ran.status != 0 {
            bail!("the tests in the guest ended with {}", ran.status);
        }
        Ok(())
    }
}

/// What runs in the guest of a kernel.
fn guest_suites(kernel: &str, whole: bool) -> Vec<&'static str> {
    if kernel == REFUSED_KERNEL {
        return REFUSED_KERNEL_SUITES.to_vec();
    }
    let strong: &[&str] = if STRONG_KERNELS.contains(&kernel) { &STRONG_SUITES } else { &[] };
    let long: &[&str] = if whole { &LONG_SUITES } else { &[] };
    [&GUEST_SUITES, long, strong].concat()
}

/// Whether a test binary, `NAME-HASH`, is one of these suites.
fn is_one_of(binary: &Path, suites: &[&str]) -> bool {
    let name = binary.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.rsplit_once('-').is_some_and(|(suite, _)| suites.contains(&suite))
}

/// The programs under test, by the variable that tells the tests where they are.
fn shipped() -> impl Iterator<Item = (&'static str, PathBuf)> {
    [("TESTIMONY_BIN", "testimony"), ("TESTIMONY_VERIFY_BIN", "testimony-verify")]
        .into_iter()
        .map(|(variable, program)| (variable, place::target().join("release").join(program)))
}

/// What the end-to-end tests are told: the programs, the peers' folder, and the kernel of the matrix or `host`.
fn environment(kernel: &str) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> =
        shipped().map(|(variable, path)| (variable.to_owned(), path.display().to_string())).collect();
    environment.push(("TESTIMONY_KERNEL".to_owned(), kernel.to_owned()));
    environment.push(("TESTIMONY_TOOLS".to_owned(), place::tools().display().to_string()));
    environment
}

/// The binary that a message of cargo's says was built for testing.
fn test_binary(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    is_test.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
}

/// Runs a test harness, showing what it prints and counting the results in it.
fn count(command: &mut Command, tally: &mut Tally) -> Result<()> {
    let status = command::each_line(command, &mut |line| {
        println!("{line}");
        tally.read(line);
    })
    .context("the tests did not run")?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().to_string_lossy());
    }
    Ok(())
}
