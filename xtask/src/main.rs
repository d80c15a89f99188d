//! Every developer command of Testimony: `cargo xtask COMMAND`. One module a command; `main` is the list.

mod apt;
mod bench;
mod command;
mod demo;
mod dist;
mod ebpf;
mod fuzz;
mod lint;
mod place;
mod proto;
mod setup;
mod test;
mod threats;
mod tidy;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Testimony", disable_help_subcommand = true)]
enum Task {
    /// Find or install what the other commands need
    Setup(setup::Args),
    /// Build the kernel programs into target/ebpf/testimony-ebpf
    BuildEbpf(ebpf::Args),
    /// Build the kernel programs, the agent, and its helper for the TPM, all for release
    Build,
    /// Regenerate the evidence log's messages from their .proto file
    Proto(proto::Args),
    /// Check the sources: format, clippy, licences, generated code, and the rules of this repository
    Lint,
    /// Run every test: units, end to end on this kernel, and the same in each kernel of the matrix
    Test(test::Args),
    /// Run the tests of every way to hide on both paths, and write docs/threats.md of what they have shown
    Threats(threats::Args),
    /// Run writers against readers on five file systems, for as many rounds as said
    Races(test::Races),
    /// Flood sessions on all processors, for as long as said
    Flood(test::Flood),
    /// Feed hostile bytes to every reader of foreign ones, and keep what reaches something new
    Fuzz(fuzz::Args),
    /// Trace a real build, show what was seen, verify it, and see two forgeries refused
    Demo,
    /// Make what is handed out: programs for glibc 2.28 and newer, a tarball, Debian packages
    Dist(dist::Args),
    /// Measure what tracing costs, beside strace and bpftrace
    Bench(bench::Args),
    /// Run a command, or a shell, in a Debian kernel under emulation
    Vm(vm::Args),
}

fn main() -> ExitCode {
    match Task::parse().run() {
        Ok(status) => status,
        Err(fault) => {
            eprintln!("{fault:#}");
            ExitCode::FAILURE
        }
    }
}

impl Task {
    fn run(self) -> Result<ExitCode> {
        match self {
            Task::Setup(args) => setup::run(&args)?,
            Task::BuildEbpf(args) => ebpf::run(&args)?,
            Task::Build => {
                ebpf::build_agent()?;
                ebpf::build_tpm_helper()?;
            }
            Task::Proto(args) => proto::run(&args)?,
            Task::Lint => lint::run()?,
            Task::Test(args) => test::run(&args)?,
            Task::Threats(args) => threats::run(&args)?,
            Task::Races(args) => test::races(&args)?,
            Task::Flood(args) => test::flood(&args)?,
            Task::Fuzz(args) => fuzz::run(&args)?,
            Task::Bench(args) => bench::run(&args)?,
            Task::Demo => demo::run()?,
            Task::Dist(args) => dist::run(&args)?,
            Task::Vm(args) => return vm::run(&args),
        }
        Ok(ExitCode::SUCCESS)
    }
}
