//! `testimony spool`: what waits for a collector, what was delivered, and what was not taken.

mod put;
mod retry;

use std::{
    fs::File,
    io::{BufReader, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use attestation::{dsse, escape::escape, hex, receipt::Entry, time};
use serde::Serialize;
use spool::{Kind, State};

use crate::daemon;

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent's configuration, which says where the spool is
    #[arg(long, global = true, value_name = "FILE", default_value = daemon::DEFAULT)]
    config: PathBuf,
    #[command(subcommand)]
    show: Option<Show>,
}

#[derive(Debug, clap::Subcommand)]
enum Show {
    /// How much waits and since when, and what became of the rest [default]
    State {
        /// Say it as one object of JSON
        #[arg(long)]
        json: bool,
    },
    /// What waits, in its order
    List,
    /// What the collector will never take, and why
    Refused,
    /// Put a statement that is signed already, with what stands beside it; once more is harmless
    Put {
        /// The statement
        #[arg(value_name = "FILE", required = true)]
        statements: Vec<PathBuf>,
    },
    /// What the collector does not take for now, why, and when it is asked again
    Deferred,
    /// Put back what was refused or put off: it is sent again, at once
    Retry(retry::Args),
    /// The collector's receipt for a statement, for `verify --receipt`
    Receipt {
        /// The statement
        #[arg(value_name = "FILE")]
        statement: PathBuf,
    },
}

/// What there is, in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    waiting: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
    deferred: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<String>,
    bytes: u64,
    file_bytes: u64,
    file_bytes_max: u64,
    put: u64,
    delivered: u64,
    receipts: u64,
    refused: u64,
    refused_kept: u64,
    dropped: u64,
    /// Not signed yet.
    unsigned: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsigned_since: Option<String>,
    /// That had no room to wait, ever.
    unsigned_turned_away: u64,
}

impl Json {
    fn new(state: &State, unsigned: Option<&State>, file_bytes_max: u64) -> Self {
        Self {
            waiting: state.waiting,
            oldest: state.oldest_s.map(time::utc),
            deferred: state.deferred,
            again: state.again_s.map(time::utc),
            bytes: state.bytes,
            file_bytes: state.file_bytes,
            file_bytes_max,
            put: state.newest,
            delivered: state.acknowledged_total,
            receipts: state.receipts,
            refused: state.refused_total,
            refused_kept: state.refused,
            dropped: state.dropped_total.sum(),
            unsigned: unsigned.map_or(0, |unsigned| unsigned.waiting),
            unsigned_since: unsigned.and_then(|unsigned| unsigned.oldest_s).map(time::utc),
            unsigned_turned_away: unsigned.map_or(0, |unsigned| unsigned.turned_away_total),
        }
    }
}

/// Shows it.
///
/// # Errors
/// Why it cannot.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let all = config::read::<daemon::Settings>(&args.config)?;
    let settings = &all.spool;
    let (folder, bytes_max) = (&settings.folder, settings.bytes_max.get());
    if let Some(Show::Put { statements }) = &args.show {
        let mut spool = settings.open()?;
        statements.iter().try_for_each(|statement| put::put(&mut spool, statement))?;
        return Ok(0);
    }
    anyhow::ensure!(folder.is_dir(), "{}: nothing was put into a spool there yet", folder.display());
    let mut spool = settings.open()?;
    match &args.show {
        None | Some(Show::State { json: false }) => {
            state(&spool.state()?, bytes_max);
            unsigned(&all)?.iter().for_each(wait_for_signer);
        }
        Some(Show::State { json: true }) => {
            let json = Json::new(&spool.state()?, unsigned(&all)?.as_ref(), bytes_max);
            println!("{}", serde_json::to_string(&json)?)
        }
        // It was put above.
        Some(Show::Put { .. }) => {}
        Some(Show::List) => {
            let mut after = 0;
            // One after the other: all of them may be more than fits in memory.
            while let Some(held) = spool.waiting(after, 0)?.pop() {
                let (sha256, made) = (hex::encode(&held.sha256), time::utc(held.made_s));
                let (name, bytes) = (escape(held.name.as_bytes()), held.envelope.len());
                println!("{}\t{made}\tsha256:{sha256}\t{bytes} bytes\t{name}", held.number);
                after = held.number;
            }
        }
        Some(Show::Refused) => {
            for refused in spool.refused()? {
                let (sha256, name) = (hex::encode(&refused.sha256), escape(refused.name.as_bytes()));
                let (code, says) = (escape(refused.code.as_bytes()), escape(refused.says.as_bytes()));
                println!("{}\tsha256:{sha256}\t{name}\t{code}: {says}", refused.number);
            }
        }
        Some(Show::Deferred) => retry::deferred(&spool)?,
        Some(Show::Retry(args)) => retry::retry(&mut spool, args)?,
        Some(Show::Receipt { statement }) => {
            let named = || statement.display().to_string();
            let envelope =
                dsse::read(BufReader::new(File::open(statement).with_context(named)?)).with_context(named)?;
            let receipt = spool.receipt_of(Kind::Statement, Entry::of(&envelope).payload_sha256())?;
            let receipt = receipt.with_context(|| format!("{}: the collector has not receipted it", named()))?;
            std::io::stdout().lock().write_all(&receipt)?;
        }
    }
    Ok(0)
}

/// Of those that wait for their signer, if any ever did.
fn unsigned(settings: &daemon::Settings) -> Result<Option<State>, spool::Error> {
    settings.waiting_folder().exists().then(|| settings.open_waiting()?.state()).transpose()
}

fn wait_for_signer(state: &State) {
    let oldest = state.oldest_s.map(|oldest| format!(", since {}", time::utc(oldest))).unwrap_or_default();
    let (waits, away) = (state.waiting, state.turned_away_total);
    println!("{waits} more wait for their signer{oldest}; {away} had no room to, ever");
}

fn state(state: &State, bytes_max: u64) {
    let oldest = state.oldest_s.map(|oldest| format!(", since {}", time::utc(oldest))).unwrap_or_default();
    println!("{} wait{oldest}; the spool has {} of {bytes_max} bytes", state.waiting, state.file_bytes);
    if let Some(again_s) = state.again_s {
        let (deferred, again) = (state.deferred, time::utc(again_s));
        println!("{deferred} of them the collector does not take for now; the next is sent again at {again}");
    }
    let (put, delivered, refused) = (state.newest, state.acknowledged_total, state.refused_total);
    println!("of {put} put {delivered} were delivered, and {refused} refused by the collector");
    let spool::Counts { full, old, refused } = state.dropped_total;
    println!(
        "dropped: {full} for want of room, {old} for their age, {refused} of those refused; {} refused are kept",
        state.refused
    );
}
