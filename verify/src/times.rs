//! As of when it is verified, and whose word on time is trusted.

use crate::{files, report};
use attestation::time;
use attestation::timestamp::Authority;
use attestation::x509::{BUNDLE_BYTES_MAX, UnixSeconds};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whose word on time is trusted.
#[derive(clap::Args, Debug, Clone, Default)]
#[group(id = "times")]
pub struct Args {
    /// Timestamp authority to trust (RFC 3161): its certificates in PEM, up to the root; repeatable
    #[arg(long = "timestamp-authority", value_name = "FILE")]
    pub authorities: Vec<PathBuf>,
    /// Verify as of this time, in UTC: 2026-11-23T14:00:00Z, or a day [default: now]
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    pub at: Option<UnixSeconds>,
}

/// Whose word on time is trusted, and the time that it is.
pub struct Read {
    pub(crate) authorities: Vec<Authority>,
    pub(crate) now: UnixSeconds,
}

impl Args {
    /// Reads the authorities.
    ///
    /// # Errors
    /// What is wrong with which, in a sentence.
    pub fn read(&self) -> Result<Read, String> {
        let mut authorities = Vec::new();
        for path in &self.authorities {
            let name = report::path(path);
            let named = |problem: &str| format!("--timestamp-authority {name}: {problem}");
            let bytes = files::read_at_most(path, BUNDLE_BYTES_MAX as u64 + 1);
            let bytes = bytes.map_err(|error| named(&error.to_string()))?;
            let shown = path.to_string_lossy();
            authorities.push(Authority::read(&shown, &bytes).map_err(|error| named(&error.to_string()))?);
        }
        let now = match self.at {
            Some(at) => at,
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?.as_secs(),
        };
        Ok(Read { authorities, now })
    }
}

fn read_time(text: &str) -> Result<UnixSeconds, String> {
    time::seconds(text).ok_or_else(|| "say it in UTC, as 2026-11-23T14:00:00Z or 2026-11-23".to_owned())
}
