//! What alerts are made of, and whom they are told.

use std::{net::SocketAddr, path::PathBuf};

use config::{Fault, Seconds, Validate};
use serde::Deserialize;

/// Alerts that a receiver may have missed, at most and at least.
const WAITING: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// The section `alerts`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The same of the same host is told once in this time, with how often it happened.
    pub(crate) period: Seconds,
    /// A host that no statement was kept of for so long is told as silent; without it, none is.
    pub(crate) silent_after: Option<Seconds>,
    /// Alerts that wait at most for who cannot be reached; the oldest are dropped, and counted.
    pub(crate) waiting_max: u64,
    /// Whether each image that nobody verified is told: nodes of this version verify none.
    pub(crate) unverified_images: bool,
    /// Lines of JSON to the standard output.
    pub(crate) stdout: bool,
    /// Lines of JSON at the end of a file.
    pub(crate) file: Option<PathBuf>,
    pub(crate) syslog: Option<Syslog>,
    pub(crate) webhook: Option<Webhook>,
}

/// Messages of RFC 5424.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Syslog {
    /// A socket of this host, such as /dev/log.
    pub(crate) unix: Option<PathBuf>,
    pub(crate) udp: Option<String>,
    /// With the length before each message (RFC 6587).
    pub(crate) tcp: Option<String>,
}

/// A POST of JSON each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    /// Certificates in PEM that the server's is held against, in place of the system's.
    pub(crate) authorities: Option<PathBuf>,
    /// A file with a token that is shown (`Authorization: Bearer`).
    pub(crate) token_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            period: Seconds::new(3600),
            silent_after: None,
            waiting_max: 10_000,
            unverified_images: false,
            stdout: false,
            file: None,
            syslog: None,
            webhook: None,
        }
    }
}

impl Validate for Settings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if !WAITING.contains(&self.waiting_max) {
            faults.push(Fault::new("waiting_max", format!("is not from {} to {}", WAITING.start(), WAITING.end())));
        }
        if self.file.as_ref().is_some_and(|file| !file.is_absolute()) {
            faults.push(Fault::new("file", "is no absolute path"));
        }
        if let Some(syslog) = &self.syslog {
            config::within("syslog", syslog, faults);
        }
        if let Some(webhook) = &self.webhook {
            config::within("webhook", webhook, faults);
        }
    }
}

impl Validate for Syslog {
    fn faults(&self, faults: &mut Vec<Fault>) {
        let named = [self.unix.is_some(), self.udp.is_some(), self.tcp.is_some()];
        if named.iter().filter(|named| **named).count() != 1 {
            faults.push(Fault::new("", "say one of unix, udp and tcp"));
        }
        for (name, address) in [("udp", &self.udp), ("tcp", &self.tcp)] {
            if address.as_ref().is_some_and(|address| address.parse::<SocketAddr>().is_err()) {
                faults.push(Fault::new(name, "no address and port, such as 192.0.2.1:514"));
            }
        }
    }
}

impl Validate for Webhook {
    fn faults(&self, faults: &mut Vec<Fault>) {
        let url = reqwest::Url::parse(&self.url).ok().filter(|url| url.scheme() == "https" && url.has_host());
        if url.as_ref().is_none_or(|url| !url.username().is_empty() || url.password().is_some()) {
            faults.push(Fault::new("url", "no https:// URL without a user in it"));
        }
    }
}
