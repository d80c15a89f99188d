//! `testimony-verify`: verifies statements, for people who do nothing else with them.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

/// Verifies runtime-trace statements and their evidence, offline.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: testimony_verify::Args,
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => testimony_verify::run_as("testimony-verify", &cli.args),
        Err(error) => testimony_verify::usage(&error),
    }
}
