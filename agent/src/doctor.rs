//! `testimony doctor`: what this host can observe, prove and sign, and what to do about the rest.
//!
//! It asks the host, and then it tries: the kernel side is loaded as `run` loads it, a session of the doctor's own is
//! traced, signed and verified, and every hook is held against the acts that were performed in it.

mod host;
mod keyless;
mod node;
mod report;
mod trial;

use std::{io, path::PathBuf};

use crate::{daemon, keyless as services, probe, sign, tpm};

/// What to try with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The signing key that `run` would use
    #[arg(long, value_name = "FILE", default_value = sign::DEFAULT)]
    key: PathBuf,
    /// The agent's configuration, if there is one
    #[arg(long, value_name = "FILE", default_value = daemon::DEFAULT)]
    config: PathBuf,
    #[command(flatten)]
    tpm: tpm::Args,
    #[command(flatten)]
    keyless: services::Args,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The answer could not be printed.
    #[error("the answer could not be printed")]
    Print(#[from] io::Error),
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    /// It holds.
    Ok,
    /// It could be better; `run` can still end complete.
    Warn,
    /// `run` would not start, or not end complete.
    Fail,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    name: String,
    status: Status,
    says: String,
    /// What to do about it.
    action: Option<String>,
}

impl Check {
    fn new(name: &str, status: Status, says: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status, says: says.into(), action: None }
    }

    fn action(self, action: impl Into<String>) -> Self {
        Self { action: Some(action.into()), ..self }
    }
}

/// Checks everything; 0 if `run` would be able to end complete here.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    let probe = probe::Probe::start(&probe::Limits::default()).map(drop);
    let mut checks = vec![
        host::kernel(&probe),
        host::btf(),
        host::privileges(),
        host::cgroup(),
        host::key(&args.key),
        host::svid(),
        host::tpm(&args.tpm),
        host::clock(),
    ];
    checks.extend(keyless::checks(&args.keyless));
    checks.extend(node::waiting(&args.config));
    match probe {
        Ok(()) => checks.extend(trial::checks()),
        Err(error) => checks.push(report::chain("tracing", &error)),
    }
    report::print(args.json, &checks)?;
    let worst = checks.iter().map(|check| check.status).max();
    Ok(u8::from(worst == Some(Status::Fail)))
}
