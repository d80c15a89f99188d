//! Canaries: known acts, performed to see whether the hooks see them.
//!
//! A process of the agent's own performs them in every session, in rounds at random times, and reports each round with what it
//! did. Its events are numbered with all others and stand in the log, never in the trace; a hook that does not tell them is
//! silent, and the statement says for how long at most nobody would have known. `doctor` performs most of them, as a
//! command that is traced.

mod acts;
mod asked;
mod beside;
mod entered;
mod rounds;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

pub(crate) use acts::{ACTS, Act, INPUT, MOVED};
pub(crate) use beside::Beside;
pub(crate) use entered::{Canaries, Into};
pub(crate) use rounds::{MEAN_MS, QUIET_MEAN_MS};

/// The hidden subcommand's arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory to act in; without rounds, with the input file
    directory: PathBuf,
    /// Perform the acts in rounds, until standard input ends
    #[arg(long)]
    rounds: bool,
    /// Cut a file by its name too
    #[arg(long)]
    cut: bool,
    /// Count a connection to a unix socket twice: as it is asked for, and where it arrives
    #[arg(long)]
    reach: bool,
    /// Do what the kernel asks its security modules about
    #[arg(long)]
    ask: bool,
    /// Mean time between two rounds that nobody asked for, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = rounds::MEAN_MS)]
    mean: u64,
    /// Enter this cgroup in some rounds
    #[arg(long, value_name = "CGROUP", requires = "home")]
    enter: Option<PathBuf>,
    /// Return to this one
    #[arg(long, value_name = "CGROUP")]
    home: Option<PathBuf>,
}

/// What rounds have besides, where the hooks in place ask for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Besides {
    /// Files cut: by descriptor, and by name.
    pub(crate) cut: bool,
    /// Connections to unix sockets: asked for, and where they arrive.
    pub(crate) reach: bool,
    /// Acts that the kernel asks its security modules about.
    pub(crate) ask: bool,
    /// Mean time between two rounds that nobody asked for, in milliseconds.
    pub(crate) mean_ms: u64,
}

/// What one round did, a line of JSON on the process's standard output.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Round {
    /// 0, 1, 2 ...
    pub(crate) number: u64,
    /// CLOCK_BOOTTIME, before the first act and after the last.
    pub(crate) began_ns: u64,
    pub(crate) ended_ns: u64,
    /// Observations, and how many acts of each were performed.
    pub(crate) acts: Vec<(String, u32)>,
    /// Whether it was asked for.
    pub(crate) asked: bool,
}

/// Performs the acts: in rounds, or once, saying which the host refused: a line each, its name and why.
pub(crate) fn perform(args: &Args) -> io::Result<u8> {
    if args.rounds {
        let cgroups = args.enter.clone().zip(args.home.clone());
        return rounds::perform(
            &args.directory,
            Besides { cut: args.cut, reach: args.reach, ask: args.ask, mean_ms: args.mean },
            cgroups,
        )
        .map(|()| 0);
    }
    let mut out = io::stdout().lock();
    for act in ACTS {
        if let Err(error) = (act.perform)(&args.directory) {
            writeln!(out, "{}\t{error}", act.name)?;
        }
    }
    out.flush()?;
    Ok(0)
}
