//! `testimony-collector`: takes what nodes swear to, verifies it again, keeps it, and answers with receipts of its own log.
#![forbid(unsafe_code)]

mod alerts;
mod api;
mod beside;
mod chains;
mod clock;
mod confine;
mod counts;
mod enrol;
mod facts;
mod follow;
mod gate;
mod index;
mod intake;
mod judge;
mod keep;
mod key;
mod list;
mod observe;
mod orders;
mod peers;
mod query;
mod quiet;
mod receive;
mod serve;
mod settings;
mod store;
mod trusted;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser as _;
use settings::{DEFAULT, Settings};

/// Takes what nodes swear to: verifies each statement again, keeps it, and answers with a receipt of its own append-only log.
#[derive(clap::Parser)]
#[command(name = "testimony-collector", version)]
struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT)]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Receive statements until it is stopped [default]
    Serve,
    /// Say all that is wrong with the configuration, and end
    CheckConfig,
    /// Print the key of the log, for `verify --log-key`
    LogKey,
    /// Make the log's key, as its first start would, and print it; to be run by the user that runs the collector
    MakeLogKey,
    /// Print the log's last checkpoint: its size and root, signed with the time (C2SP tlog-checkpoint)
    Checkpoint,
    /// Print a proof that the log of one size begins with that of another: hashes in base64 (RFC 6962)
    Consistency {
        /// The older size
        #[arg(value_name = "OLD")]
        from: u64,
        /// The newer size
        #[arg(value_name = "NEW")]
        to: u64,
    },
    /// Print what was kept, a line of JSON each, in the order of the log
    Statements {
        /// From this place of the log on
        #[arg(long, value_name = "PLACE", default_value_t = 0)]
        from: u64,
    },
    /// Print the chains of statements, a line of JSON each, with what is missing or contradicts
    Chains,
    /// Print the envelope of a statement
    Envelope {
        /// SHA-256 of its payload
        #[arg(value_name = "SHA256")]
        payload: String,
    },
    /// Ask what statements say: by subject, content, host, peer, gap
    Query(query::Args),
    /// Make the index of what statements say again from the store, while no collector runs
    Reindex,
    /// Make a token for the API: the token is printed, and what stands in the configuration for it said beside
    Token,
    /// Print the API's document (OpenAPI)
    Openapi,
    /// Print the enrolments of machines, for `verify --enrolment`, a line of JSON each
    Machines,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return testimony_verify::usage(&error),
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testimony-collector: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Some(Command::Token) => return api::make_token(),
        Some(Command::Openapi) => {
            print!("{}", api::document());
            return Ok(());
        }
        _ => {}
    }
    let settings = Settings::read(&cli.config)?;
    confine::as_owner(&settings)?;
    match &cli.command {
        None | Some(Command::Serve) => serve::run(settings, &cli.config),
        Some(Command::CheckConfig) => serve::check(&settings),
        Some(Command::LogKey) => key::print(&settings),
        Some(Command::MakeLogKey) => key::make_and_print(&settings),
        Some(Command::Checkpoint) => key::checkpoint(&settings),
        Some(Command::Consistency { from, to }) => list::consistency(&settings, *from, *to),
        Some(Command::Statements { from }) => list::statements(&settings, *from),
        Some(Command::Chains) => chains::print(&settings),
        Some(Command::Envelope { payload }) => list::envelope(&settings, payload),
        Some(Command::Machines) => list::machines(&settings),
        Some(Command::Query(args)) => query::run(&settings, args),
        Some(Command::Reindex) => follow::reindex(&settings.state),
        Some(Command::Token | Command::Openapi) => Ok(()),
    }
}
