//! What the node's agent has to do still: statements that wait for their signer.

use std::path::Path;

use attestation::time;

use super::{Check, Status, report};
use crate::daemon::Settings;

/// How many wait and since when; nothing where no agent is configured.
pub(super) fn waiting(config: &Path) -> Option<Check> {
    const NAME: &str = "waiting";
    if !config.exists() {
        return None;
    }
    let settings: Settings = match config::read(config) {
        Ok(settings) => settings,
        Err(error) => return Some(report::chain(NAME, &error).action("see testimony check-config")),
    };
    if !settings.waiting_folder().exists() {
        return Some(Check::new(NAME, Status::Ok, "no statement waits for its signer"));
    }
    Some(match settings.open_waiting().and_then(|waiting| waiting.state()) {
        Ok(state) if state.waiting == 0 => Check::new(NAME, Status::Ok, "no statement waits for its signer"),
        Ok(state) => {
            let since = state.oldest_s.map(|oldest| format!(", since {}", time::utc(oldest))).unwrap_or_default();
            let says = format!("{} of {} wait for their signer{since}", state.waiting, settings.waiting.runs_max);
            Check::new(NAME, Status::Warn, says)
                .action("see that `testimony agent` runs, and in its journal for whom they wait")
        }
        Err(error) => Check { status: Status::Warn, ..report::chain(NAME, &error) },
    })
}
