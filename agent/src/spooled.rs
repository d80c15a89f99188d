//! `testimony spool`: what waits for a collector, what was delivered, and what was not taken.

use std::{
    fs::File,
    io::{BufReader, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use attestation::{dsse, escape::escape, hex, receipt::Entry, time};
use serde::Serialize;
use spool::{Rule, Spool, State};

/// Where the spool is unless it is said.
pub(crate) const DEFAULT: &str = "/var/lib/testimony/spool";

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the spool
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT)]
    spool: PathBuf,
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
    bytes: u64,
    bytes_max: u64,
    age_max_seconds: u64,
    when_full: &'static str,
    put: u64,
    delivered: u64,
    refused: u64,
    refused_kept: u64,
    dropped: u64,
    refused_dropped: u64,
}

impl From<&State> for Json {
    fn from(state: &State) -> Self {
        Self {
            waiting: state.waiting,
            oldest: state.oldest_s.map(time::utc),
            bytes: state.bytes,
            bytes_max: state.limits.bytes_max,
            age_max_seconds: state.limits.age_max.as_secs(),
            when_full: match state.limits.rule {
                Rule::DropOldest => "drop-oldest",
                Rule::RefuseNew => "refuse-new",
            },
            put: state.put,
            delivered: state.acknowledged,
            refused: state.refused,
            refused_kept: state.refused_kept,
            dropped: state.dropped[0],
            refused_dropped: state.dropped[1],
        }
    }
}

/// Shows it.
///
/// # Errors
/// Why it cannot.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    anyhow::ensure!(args.spool.is_dir(), "{}: there is no spool", args.spool.display());
    let spool = Spool::open(&args.spool, None).with_context(|| args.spool.display().to_string())?;
    match &args.show {
        None | Some(Show::State { json: false }) => state(&spool.state()?),
        Some(Show::State { json: true }) => println!("{}", serde_json::to_string(&Json::from(&spool.state()?))?),
        Some(Show::List) => {
            let mut after = 0;
            // One after the other: all of them may be more than fits in memory.
            while let Some(held) = spool.waiting(after, 0)?.pop() {
                let (sha256, made) = (hex::encode(&held.item.payload_sha256), time::utc(held.made_s));
                let (name, bytes) = (escape(held.item.name.as_bytes()), held.item.content.len());
                println!("{}\t{made}\tsha256:{sha256}\t{bytes} bytes\t{name}", held.number);
                after = held.number;
            }
        }
        Some(Show::Refused) => {
            for refused in spool.refused()? {
                let (sha256, name) = (hex::encode(&refused.payload_sha256), escape(refused.name.as_bytes()));
                let (code, says) = (escape(refused.code.as_bytes()), escape(refused.says.as_bytes()));
                println!("{}\tsha256:{sha256}\t{name}\t{code}: {says}", refused.number);
            }
        }
        Some(Show::Receipt { statement }) => {
            let named = || statement.display().to_string();
            let envelope =
                dsse::read(BufReader::new(File::open(statement).with_context(named)?)).with_context(named)?;
            let receipt = spool.receipt_of(Entry::of(&envelope).payload_sha256())?;
            let receipt = receipt.with_context(|| format!("{}: the collector has not receipted it", named()))?;
            std::io::stdout().lock().write_all(&receipt)?;
        }
    }
    Ok(0)
}

fn state(state: &State) {
    let oldest = state.oldest_s.map(|oldest| format!(", since {}", time::utc(oldest))).unwrap_or_default();
    println!("{} wait{oldest}: {} of {} bytes", state.waiting, state.bytes, state.limits.bytes_max);
    let [dropped, refused_dropped] = state.dropped;
    let (put, delivered, refused) = (state.put, state.acknowledged, state.refused);
    println!("of {put} put: {delivered} delivered, {refused} refused by the collector, {dropped} dropped");
    println!("{} of those refused are kept, {refused_dropped} were dropped", state.refused_kept);
}
