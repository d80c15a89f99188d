//! Alerts: what somebody should know of soon. Each has a stable code, is told once per host and code in a period, with how often it happened
//! since, and is durable before it is told: what was told, and what was not, is known after a restart.

mod find;
mod line;
mod pending;
mod settings;
mod sinks;
mod state;
mod syslog;
#[cfg(test)]
mod tests;
mod webhook;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use find::{of_missing, of_silent, of_statement};
pub(crate) use pending::Pending;
pub(crate) use settings::Settings;
pub(crate) use sinks::{Sinks, check};
pub(crate) use state::{Periods, ended_badly, mark_running, mark_stopped, next_place, set_next_place};

/// What happened, as it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Alert {
    /// Its number: one higher than that of the one before.
    pub(crate) id: u64,
    /// When it was made.
    pub(crate) time: String,
    /// As `testimony explain` has it.
    pub(crate) code: String,
    /// How often it happened since `since`.
    pub(crate) count: u64,
    /// Since when: the time at which it was last told of this host and code, or at which it happened.
    pub(crate) since: String,
    /// In a sentence, of the last time that it happened.
    pub(crate) says: String,
    /// The host's id; none where nobody has proven one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// Who sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    /// SHA-256 of the payload that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload_sha256: Option<String>,
    /// The session's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    /// Whether it may have been told before: the collector was ended while it was.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) repeated: bool,
    /// Alerts before this one that were dropped, since whoever is to be told could not be reached.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) dropped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Alert {
    /// Whom it is about: what happens there is told once in a period.
    pub(crate) fn about(&self) -> &str {
        self.host.as_deref().or(self.peer.as_deref()).unwrap_or_default()
    }
}
