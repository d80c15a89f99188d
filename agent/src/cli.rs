//! The command line: what there is, and which room does it.

use std::{io::Write as _, process::ExitCode};

use attestation::escape::escape;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{canary, daemon, doctor, enrol, explain, keygen, pack, recover, run, sessions, show, spooled, stamp};

/// Traces what a build really does, and swears to it with what it could not see.
#[derive(Debug, Parser)]
#[command(name = "testimony", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trace a command and sign what was seen
    Run(run::Args),
    /// Check a statement's signature, and everything that follows from its evidence
    Verify(testimony_verify::Args),
    /// Show what a statement says: gaps first, then processes, files and peers
    Show(show::Args),
    /// Sign what a run that died left behind, as incomplete
    Recover(recover::Args),
    /// Have the signatures of a statement timestamped, so that their identities outlive their certificates
    Timestamp(stamp::Args),
    /// Put all that a verifier needs of a run into one file
    Pack(pack::Args),
    /// Bind a machine's TPM to who signs there, so that its quotes can be relied on
    Enrol(enrol::Args),
    /// Be the node's service: deliver what was put into the spool to a collector
    Agent(daemon::Args),
    /// Say all that is wrong with the configuration of the agent
    CheckConfig(daemon::CheckArgs),
    /// Show the sessions that the node's agent traces, hear one, or close it
    Sessions(sessions::Args),
    /// Show what waits in the spool, what was delivered, and what was not taken
    Spool(spooled::Args),
    /// Say what a code means and what to do about it
    Explain(explain::Args),
    /// Try what this host can observe, prove and sign
    Doctor(doctor::Args),
    /// Make a signing key and its public half
    Keygen(keygen::Args),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, of testimony or of one of its commands
    Man {
        /// The command
        command: Option<String>,
    },
    #[command(hide = true)]
    Launch(run::Launch),
    #[command(hide = true)]
    Canary(canary::Args),
}

/// Wrong usage, sysexits(3).
const USAGE: u8 = 64;
/// Something was refused or failed.
const REFUSED: u8 = 1;

/// Does what the command line says; the exit status.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return testimony_verify::usage(&error),
    };
    match cli.command {
        Command::Run(args) => ended(run::run(&args), run::Error::status),
        Command::Verify(args) => testimony_verify::run(&args),
        Command::Show(args) => ended(show::run(&args), show::Error::status),
        Command::Recover(args) => ended(recover::run(&args), recover::Error::status),
        Command::Timestamp(args) => ended(stamp::run(&args), stamp::Error::status),
        Command::Pack(args) => ended(pack::run(&args), pack::Error::status),
        Command::Enrol(args) => ended(enrol::run(&args), enrol::Error::status),
        Command::Agent(args) => ended(daemon::run(&args), |_| REFUSED),
        Command::CheckConfig(args) => ended(daemon::check(&args), |_| REFUSED),
        Command::Sessions(args) => ended(sessions::run(&args), |_| REFUSED),
        Command::Spool(args) => ended(spooled::run(&args), |_| REFUSED),
        Command::Explain(args) => ended(explain::run(&args), explain::Error::status),
        Command::Doctor(args) => ended(doctor::run(&args), |_| REFUSED),
        Command::Keygen(args) => ended(keygen::run(&args), keygen::Error::status),
        Command::Completions { shell } => completions(shell),
        Command::Man { command } => ended(manual(command.as_deref()), |_| USAGE),
        Command::Launch(args) => run::launch(&args).into(),
        Command::Canary(args) => ended(canary::perform(&args), |_| REFUSED),
    }
}

/// The status of a command that came to its end, or what it says of its error.
fn ended<E: Into<anyhow::Error>>(result: Result<u8, E>, status: impl Fn(&E) -> u8) -> ExitCode {
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            let status = status(&error);
            complain(&error.into());
            status.into()
        }
    }
}

/// Says what failed and why, the one place that prints the chain. Names in it may be a stranger's.
fn complain(error: &anyhow::Error) {
    eprintln!("testimony: {}", escape(format!("{error:#}").as_bytes()));
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "testimony", &mut script);
    print(&script)
}

/// Prints a manual page as roff; `man -l -` reads it.
fn manual(name: Option<&str>) -> anyhow::Result<u8> {
    let mut command = Cli::command();
    command.build();
    let page = match name {
        None => clap_mangen::Man::new(command),
        Some(name) => {
            let found = command.find_subcommand(name).filter(|found| !found.is_hide_set());
            let found = found.ok_or_else(|| anyhow::anyhow!("there is no command {name}: see testimony --help"))?;
            clap_mangen::Man::new(found.clone()).title(format!("testimony-{name}"))
        }
    };
    let mut roff = Vec::new();
    page.render(&mut roff)?;
    print(&roff);
    Ok(0)
}

/// A reader that went away wants no more.
fn print(bytes: &[u8]) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_contradicts_nothing() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_is_shown_has_a_manual_page() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert_eq!(manual(Some(command.get_name())).unwrap(), 0);
        }
        assert!(manual(Some("launch")).is_err());
        assert!(manual(Some("nothing")).is_err());
    }

    #[test]
    fn every_argument_says_what_it_is() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
