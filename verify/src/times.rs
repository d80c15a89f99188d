//! As of when it is verified, and whose word on time is trusted.

use crate::{files, report};
use attestation::receipt::{LogKey, RECEIPT_BYTES_MAX, Receipt};
use attestation::time;
use attestation::timestamp::Authority;
use attestation::x509::{BUNDLE_BYTES_MAX, UnixSeconds};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Whose word on time is trusted.
#[derive(clap::Args, Debug, Clone, Default)]
#[group(id = "times")]
pub struct Args {
    /// Timestamp authority to trust (RFC 3161): its certificates in PEM, up to the root; repeatable
    #[arg(long = "timestamp-authority", value_name = "FILE")]
    pub authorities: Vec<PathBuf>,
    /// Key of a log whose receipts to trust (C2SP: NAME+ID+KEY); repeatable
    #[arg(long = "log-key", value_name = "FILE")]
    pub logs: Vec<PathBuf>,
    /// Receipt of a log (C2SP tlog-proof) that a signature was there; repeatable
    #[arg(long = "receipt", value_name = "FILE", requires = "logs")]
    pub receipts: Vec<PathBuf>,
    /// Verify as of this time, in UTC: 2026-11-23T14:00:00Z, or a day [default: now]
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    pub at: Option<UnixSeconds>,
}

/// Whose word on time is trusted, and the time that it is.
pub struct Read {
    pub(crate) authorities: Vec<Authority>,
    pub(crate) logs: Vec<LogKey>,
    pub(crate) receipts: Vec<Receipt>,
    /// As of when it is verified, and the time that it is.
    pub(crate) now: UnixSeconds,
    pub(crate) clock: UnixSeconds,
}

impl Args {
    /// Reads the authorities.
    ///
    /// # Errors
    /// What is wrong with which, in a sentence.
    pub fn read(&self) -> Result<Read, String> {
        let authority = |path: &Path, bytes: &[u8]| Authority::read(&path.to_string_lossy(), bytes);
        let authorities = each("--timestamp-authority", &self.authorities, BUNDLE_BYTES_MAX, authority)?;
        let log = |_: &Path, bytes: &[u8]| LogKey::read(&String::from_utf8_lossy(bytes));
        let logs = each("--log-key", &self.logs, RECEIPT_BYTES_MAX, log)?;
        let receipts = each("--receipt", &self.receipts, RECEIPT_BYTES_MAX, |_, bytes| Receipt::read(bytes))?;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?.as_secs();
        Ok(Read { authorities, logs, receipts, now: self.at.unwrap_or(clock), clock })
    }
}

/// What is in each file, or what is wrong with which.
fn each<T, E: std::error::Error>(
    option: &str,
    paths: &[PathBuf],
    bytes_max: usize,
    read: impl Fn(&Path, &[u8]) -> Result<T, E>,
) -> Result<Vec<T>, String> {
    let one = |path: &PathBuf| {
        let named = |problem: &dyn std::error::Error| format!("{option} {}: {problem}", report::path(path));
        // One byte more, so that what is too large is told from what is cut.
        let bytes = files::read_at_most(path, bytes_max as u64 + 1).map_err(|error| named(&error))?;
        read(path, &bytes).map_err(|error| named(&error))
    };
    paths.iter().map(one).collect()
}

fn read_time(text: &str) -> Result<UnixSeconds, String> {
    time::seconds(text).ok_or_else(|| "say it in UTC, as 2026-11-23T14:00:00Z or 2026-11-23".to_owned())
}
