//! `test`: every test there is, from an empty machine: unit tests, a minute of each fuzz target, end-to-end tests on this
//! kernel, and the same binaries in each kernel of the matrix. All parts run, whatever the ones before said; the last line
//! counts all. Beside it the commands that run one suite for as long as it is told.

mod guests;
mod tally;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::setup::{self, Group};
use crate::{apt, command, dist, ebpf, fuzz, place, threats};
use tally::Tally;

/// Suites that have nothing to say where only the weakest hooks are, or that would disturb others on a shared machine.
const GUEST_ONLY_SUITES: [&str; 3] = ["judge", "hotplug", "machine"];

/// The variable that tells the tests of threats where to put what they have shown.
const SHOWN: &str = "TESTIMONY_SHOWN";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the virtual machines out
    #[arg(long)]
    no_vm: bool,
    /// Leave fuzzing out; the inputs that are kept of it are run by the unit tests all the same
    #[arg(long)]
    no_fuzz: bool,
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
    if args.no_fuzz {
        println!("== fuzz: left out");
    } else {
        part(&mut tally, "fuzz", fuzz_targets);
    }
    let mut suites = Suites::default();
    part(&mut tally, "build of the end-to-end tests", |_| {
        suites = Suites::build()?;
        Ok(())
    });
    if !suites.binaries.is_empty() {
        part(&mut tally, "end-to-end tests on this kernel", |tally| suites.run_here(&args.harness, tally));
        if !args.no_vm {
            guests::run(&args.kernels, &suites.binaries, &args.harness, &mut tally);
        }
    }
    println!("{tally}");
    if !tally.is_good() {
        bail!("failed: {}", tally.failed_parts().join(", "));
    }
    Ok(())
}

#[derive(clap::Args)]
pub(crate) struct Races {
    /// How many rounds, all file systems together
    #[arg(long, default_value_t = 1_000_000)]
    rounds: u32,
    /// Given to the test binary, as a filter or an option of the test harness
    #[arg(last = true)]
    harness: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct Flood {
    /// How long each flood lasts
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Given to the test binary, as a filter or an option of the test harness
    #[arg(last = true)]
    harness: Vec<String>,
}

pub(crate) fn races(args: &Races) -> Result<()> {
    long("races", ("TESTIMONY_RACE_ROUNDS", args.rounds), &args.harness)
}

pub(crate) fn flood(args: &Flood) -> Result<()> {
    long("flood", ("TESTIMONY_FLOOD_SECONDS", args.seconds), &args.harness)
}

/// Runs one suite on this kernel, which a variable tells how long to go on.
fn long(suite: &str, (variable, amount): (&str, u32), harness: &[String]) -> Result<()> {
    apt::prefix_as_root("the end-to-end tests load programs into the kernel")?;
    setup::require_tracing_host()?;
    setup::ensure(Group::Build)?;
    setup::ensure(Group::Tests)?;
    let suites = Suites::build()?;
    let binary = suites.binaries.iter().find(|binary| is_one_of(binary, &[suite]));
    let binary = binary.with_context(|| format!("the suite {suite} was not built"))?;
    let mut tally = Tally::default();
    let counted = count(here(binary, harness).env(variable, amount.to_string()), &mut tally);
    println!("{tally}");
    counted
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

/// Each target for a minute, counted as a test.
fn fuzz_targets(tally: &mut Tally) -> Result<()> {
    let mut failed = Vec::new();
    fuzz::fuzz(&[], fuzz::SECONDS, &mut |target, holds| {
        tally.count(holds);
        if !holds {
            failed.push(target.name());
        }
    })?;
    if !failed.is_empty() {
        bail!("found something in {}", failed.join(", "));
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
        ebpf::build_tpm_helper()?;
        // What tests install is what they test, and not built for another C library.
        dist::for_tests(&place::target().join("release"), &debs())?;
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
        let findings = Findings::begin()?;
        println!("in guests only: {}", GUEST_ONLY_SUITES.join(", "));
        for binary in self.binaries.iter().filter(|binary| !is_one_of(binary, &GUEST_ONLY_SUITES)) {
            if let Err(fault) = count(here(binary, harness).env(SHOWN, &findings.0), tally) {
                faults.push(format!("{fault:#}"));
            }
        }
        // A filter of the user's own leaves some out.
        if harness.is_empty()
            && let Err(fault) = findings.lines().and_then(|found| threats::compare(&found, threats::Path::Weak))
        {
            faults.push(format!("{fault:#}"));
        }
        if !faults.is_empty() {
            bail!("{}", faults.join("; "));
        }
        Ok(())
    }
}

/// The file that takes what the tests of threats have shown on this kernel.
struct Findings(PathBuf);

impl Findings {
    fn begin() -> Result<Self> {
        let folder = place::target().join("tmp");
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let file = folder.join("shown");
        std::fs::write(&file, "").with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(Self(file))
    }

    fn lines(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(&self.0).with_context(|| format!("{} is gone", self.0.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// What all tests of threats show here, on the weak path, and in a kernel that has the strong one.
pub(crate) fn shown(strong: &str) -> Result<Vec<String>> {
    apt::prefix_as_root("the end-to-end tests load programs into the kernel")?;
    setup::require_tracing_host()?;
    setup::ensure(Group::Build)?;
    setup::ensure(Group::Tests)?;
    let suites = Suites::build()?;
    let binary = suites.binaries.iter().find(|binary| is_one_of(binary, &["threats"]));
    let binary = binary.context("the suite threats was not built")?;
    let findings = Findings::begin()?;
    // The controls rest on what is being found.
    let harness = ["--skip", "controls::"].map(str::to_owned);
    count(here(binary, &harness).env(SHOWN, &findings.0), &mut Tally::default())?;
    let found = findings.lines()?.into_iter().chain(guests::shown(strong, &suites.binaries)?);
    Ok(threats::sorted(found))
}

/// A test binary on this kernel, as root.
fn here(binary: &Path, harness: &[String]) -> Command {
    let mut run = if apt::is_root() || command::find("sudo").is_none() {
        Command::new(binary)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("--preserve-env").arg(binary);
        sudo
    };
    run.current_dir(place::root().join("tests")).args(harness).envs(environment("host"));
    run
}

/// Whether a test binary, `NAME-HASH`, is one of these suites.
fn is_one_of(binary: &Path, suites: &[&str]) -> bool {
    let name = binary.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.rsplit_once('-').is_some_and(|(suite, _)| suites.contains(&suite))
}

/// The programs under test, by the variable that tells the tests where they are.
fn shipped() -> impl Iterator<Item = (&'static str, PathBuf)> {
    let programs = [
        ("TESTIMONY_BIN", "testimony"),
        ("TESTIMONY_VERIFY_BIN", "testimony-verify"),
        ("TESTIMONY_TPM_BIN", "testimony-tpm"),
        ("TESTIMONY_COLLECTOR_BIN", "testimony-collector"),
    ];
    programs.into_iter().map(|(variable, program)| (variable, place::target().join("release").join(program)))
}

/// The packages that tests install.
fn debs() -> PathBuf {
    place::target().join("debs")
}

/// What the end-to-end tests are told: the programs, the peers' folder, and the kernel of the matrix or `host`.
fn environment(kernel: &str) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> =
        shipped().map(|(variable, path)| (variable.to_owned(), path.display().to_string())).collect();
    environment.push(("TESTIMONY_KERNEL".to_owned(), kernel.to_owned()));
    environment.push(("TESTIMONY_TOOLS".to_owned(), place::tools().display().to_string()));
    environment.push(("TESTIMONY_DEBS".to_owned(), debs().display().to_string()));
    if let Ok(root) = setup::debian::root() {
        environment.push(("TESTIMONY_DEBIAN".to_owned(), root.display().to_string()));
    }
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
