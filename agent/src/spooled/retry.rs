//! What the collector does not take for now, or never would: shown, and put back.

use anyhow::Context as _;
use attestation::{escape::escape, hex, time};
use spool::{Error, Retried, Spool};

use crate::daemon::now_s;

/// What is put back.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Numbers, as `spool refused` and `spool deferred` show them
    #[arg(value_name = "NUMBER", required_unless_present = "all", conflicts_with = "all")]
    numbers: Vec<u64>,
    /// All that was refused or put off
    #[arg(long)]
    all: bool,
}

/// Shows what was put off, until when, and why.
///
/// # Errors
/// Of the spool.
pub(super) fn deferred(spool: &Spool) -> anyhow::Result<()> {
    for deferred in spool.deferred()? {
        let (sha256, name) = (hex::encode(&deferred.sha256), escape(deferred.name.as_bytes()));
        let (code, says) = (escape(deferred.code.as_bytes()), escape(deferred.says.as_bytes()));
        let (again, tries) = (time::utc(deferred.again_s), deferred.tries);
        println!("{}\tsha256:{sha256}\t{name}\tagain {again}, after {tries}\t{code}: {says}", deferred.number);
    }
    Ok(())
}

/// Puts them back, each by itself: what cannot be put back keeps no other one.
///
/// # Errors
/// If one of them could not be, after the others were.
pub(super) fn retry(spool: &mut Spool, args: &Args) -> anyhow::Result<()> {
    let numbers = if args.all { all(spool)? } else { args.numbers.clone() };
    let (mut put_back, mut failed) = (0, None);
    for number in numbers {
        match spool.retry(number, now_s()) {
            Ok(Retried::Refused | Retried::Deferred) => put_back += 1,
            // It was delivered, or dropped, a moment ago.
            Err(Error::NotRefused(_)) if args.all => {}
            Err(error) => {
                eprintln!("testimony: statement {number}: {error}");
                failed = Some(error);
            }
        }
    }
    println!("{put_back} wait to be sent again");
    failed.map_or(Ok(()), |error| Err(error).context("not all were put back"))
}

fn all(spool: &Spool) -> Result<Vec<u64>, Error> {
    let refused = spool.refused()?.into_iter().map(|refused| refused.number);
    Ok(refused.chain(spool.deferred()?.into_iter().map(|deferred| deferred.number)).collect())
}
