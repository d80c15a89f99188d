//! The command line: what there is, and which room does it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::run;

/// Traces what a build really does, and swears to it with what it could not see.
#[derive(Debug, Parser)]
#[command(name = "testimony", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trace a command and sign what was seen
    Run(run::Args),
    #[command(hide = true)]
    Launch(run::Launch),
}

/// Wrong usage, sysexits(3).
const USAGE: u8 = 64;

/// Does what the command line says; the exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Run(args) => match run::run(&args) {
            Ok(status) => status.into(),
            Err(error) => {
                let status = error.status();
                complain(error.into());
                status.into()
            }
        },
        Command::Launch(args) => run::launch(&args).into(),
    }
}

/// Says what failed and why, the one place that prints the chain.
fn complain(error: anyhow::Error) {
    eprintln!("testimony: {error:#}");
}
