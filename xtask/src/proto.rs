//! `proto`: regenerates the evidence log's messages from their .proto file, or checks that they are as generated. A
//! program of its own does it, because what it depends on takes longer to build than all other developer commands.

use anyhow::Result;

use crate::command;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compare with the file that is checked in instead of writing it
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check { check() } else { generate(&[]) }
}

/// Fails when the generated file is not what the .proto file gives.
pub(crate) fn check() -> Result<()> {
    generate(&["--check"])
}

fn generate(options: &[&str]) -> Result<()> {
    let run = ["run", "--quiet", "--profile", "xtask", "--package", "proto-generate", "--"];
    command::run(command::cargo().args(run).args(options))
}
