//! The time that it is.

use std::time::{SystemTime, UNIX_EPOCH};

use attestation::x509::UnixSeconds;

/// Seconds since 1970; 0 before that, by which no identity is valid.
pub(crate) fn now() -> UnixSeconds {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
