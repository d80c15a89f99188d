//! What is said to the log at a limited rate, since others can bring it about as often as they like.

use attestation::escape::escape;
use mtls::Rate;

use crate::gate::{LINES_MAX, LINES_PER};

/// What lines are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Refused statements.
    Refusal,
    /// Alerts that cannot be told.
    Alert,
    /// What could not be followed or answered.
    Fault,
}

static RATES: [Rate; 3] = [const { Rate::new(LINES_MAX, LINES_PER) }; 3];

/// Says it, unless that was said too often.
pub(crate) fn say(kind: Kind, line: impl FnOnce() -> String) {
    if let Some(rate) = RATES.get(kind as usize) {
        rate.tell(|more| eprintln!("testimony-collector: {}{more}", escape(line().as_bytes())));
    }
}
