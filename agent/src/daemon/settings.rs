//! The agent's configuration: what `testimony agent --config FILE` reads.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::PathBuf, time::Duration};

use attestation::identity::SpiffeId;
use config::{Bytes, Fault, Seconds, Validate, within};
use serde::Deserialize;
use spool::Spool;

use super::SessionSettings;
use crate::{control, sign};

/// Where the configuration is unless it is said.
pub(crate) const DEFAULT: &str = "/etc/testimony/agent.toml";

const SPOOL: &str = "/var/lib/testimony/spool";
/// In the spool's folder.
const WAITING: &str = "waiting";
/// Receipts that are kept beside what waits.
const RECEIPTS_MAX: u64 = 100_000;
const RECEIPTS_AGE_MAX: Duration = Duration::from_secs(400 * 86_400);

/// All of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) sign: sign::Settings,
    pub(crate) spool: SpoolSettings,
    pub(crate) waiting: WaitingSettings,
    pub(crate) collector: Collector,
    pub(crate) tls: mtls::Settings,
    pub(crate) sessions: SessionSettings,
    /// By which sessions are asked for; without it, by nobody.
    pub(crate) control: Option<control::Settings>,
    pub(crate) metrics: metrics::Settings,
}

/// What is kept until the collector has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SpoolSettings {
    pub(crate) folder: PathBuf,
    /// How much of the disk it may take.
    pub(crate) bytes_max: Bytes,
    /// What is older is dropped, and counted.
    pub(crate) age_max: Seconds,
    /// What is given up when it is full.
    pub(crate) when_full: WhenFull,
}

/// What waits for its signer: in a folder of the spool's.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WaitingSettings {
    /// How many runs may; with none a run that nobody can sign is left to `testimony recover`.
    pub(crate) runs_max: u64,
    /// How much of the disk that may take.
    pub(crate) bytes_max: Bytes,
}

/// What is given up when the spool is full; the next statement says how many were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenFull {
    /// The oldest.
    DropOldest,
    /// What comes.
    RefuseNew,
}

/// Whom it is delivered to.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Collector {
    /// A name or an address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Who that has to be, by SPIFFE.
    pub(crate) spiffe_id: Option<String>,
    /// Who that has to be, by the name in its certificate [default: the host].
    pub(crate) name: Option<String>,
    /// A file with the key of its log, by which its receipts are held.
    pub(crate) log_key: Option<PathBuf>,
    /// How far the log's clock may be from this node's before its receipts are not taken.
    pub(crate) clock_difference_max: Seconds,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            folder: SPOOL.into(),
            bytes_max: Bytes::new(1 << 30),
            age_max: Seconds::new(30 * 86_400),
            when_full: WhenFull::DropOldest,
        }
    }
}

impl Default for WaitingSettings {
    fn default() -> Self {
        Self { runs_max: 1000, bytes_max: Bytes::new(1 << 30) }
    }
}

impl Default for Collector {
    fn default() -> Self {
        let clock_difference_max = Seconds::new(3600);
        Self { host: String::new(), port: 8443, spiffe_id: None, name: None, log_key: None, clock_difference_max }
    }
}

impl Settings {
    /// Whether there is a collector. Without one the statements wait for it.
    pub(crate) fn delivers(&self) -> bool {
        !self.collector.host.is_empty()
    }

    /// Whether it has sessions: those that are asked for, or those that nobody asks for.
    pub(crate) fn traces(&self) -> bool {
        self.control.is_some() || self.sessions.has_rules()
    }

    /// Where statements wait for their signer.
    pub(crate) fn waiting_folder(&self) -> PathBuf {
        self.spool.folder.join(WAITING)
    }

    /// Opens that. It is a queue of the same kind: for its owner alone, durable, and in order.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open_waiting(&self) -> Result<Spool, spool::Error> {
        drop(self.spool.open()?);
        let limits = spool::Limits {
            bytes_max: self.waiting.bytes_max.get(),
            items_max: self.waiting.runs_max,
            // Nothing is ever too old to be signed.
            age_max: Duration::MAX,
            rule: spool::Rule::RefuseNew,
            receipts_max: RECEIPTS_MAX,
            receipts_age_max: RECEIPTS_AGE_MAX,
        };
        Spool::open(&self.waiting_folder(), limits)
    }
}

impl SpoolSettings {
    /// Opens it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(&self) -> Result<Spool, spool::Error> {
        if let Some(parent) = self.folder.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
            made.map_err(|source| spool::Error::Place { path: parent.to_owned(), source })?;
        }
        Spool::open(&self.folder, self.limits())
    }

    /// The same as the spool has them.
    fn limits(&self) -> spool::Limits {
        spool::Limits {
            bytes_max: self.bytes_max.get(),
            items_max: u64::MAX,
            age_max: self.age_max.duration(),
            rule: match self.when_full {
                WhenFull::DropOldest => spool::Rule::DropOldest,
                WhenFull::RefuseNew => spool::Rule::RefuseNew,
            },
            receipts_max: RECEIPTS_MAX,
            receipts_age_max: RECEIPTS_AGE_MAX,
        }
    }
}

impl Collector {
    /// Whom a connection is to lead to.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn expected(&self) -> Result<mtls::Expected, Fault> {
        match (&self.spiffe_id, &self.name) {
            (Some(_), Some(_)) => Err(Fault::new("name", "stands beside spiffe_id: it is known by one of both")),
            (Some(id), None) => {
                let id = id.parse::<SpiffeId>().map_err(|error| Fault::new("spiffe_id", error.to_string()))?;
                Ok(mtls::Expected::SpiffeId(id))
            }
            (None, name) => {
                let (key, name) = name.as_ref().map_or(("host", &self.host), |name| ("name", name));
                let says =
                    "is no name that a certificate could have: say name or spiffe_id, by which the collector is known";
                let name = mtls::DnsName::try_from(name.clone()).map_err(|_| Fault::new(key, says))?;
                Ok(mtls::Expected::Name(name))
            }
        }
    }
}

impl Validate for Settings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        within("sign", &self.sign, faults);
        within("spool", &self.spool, faults);
        within("waiting", &self.waiting, faults);
        within("collector", &self.collector, faults);
        if self.delivers() || self.tls.is_said() {
            within("tls", &self.tls, faults);
        }
        if !self.delivers() && (!self.traces() || self.tls.is_said() || self.collector.log_key.is_some()) {
            faults.push(Fault::new("collector.host", "missing: say where the collector is"));
        }
        within("sessions", &self.sessions, faults);
        within("metrics", &self.metrics, faults);
        if let Some(control) = &self.control {
            within("control", control, faults);
        }
        if self.tls.workload_api.is_some() && self.collector.spiffe_id.is_none() && !self.collector.host.is_empty() {
            faults.push(Fault::new(
                "collector.spiffe_id",
                "missing: among SVIDs the collector is known by its SPIFFE ID",
            ));
        }
    }
}

impl Validate for WaitingSettings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        const BYTES_MIN: Bytes = Bytes::new(8 << 20);
        if self.bytes_max < BYTES_MIN {
            faults.push(Fault::new(
                "bytes_max",
                format!("less than {BYTES_MIN}, of which one statement may take a quarter"),
            ));
        }
    }
}

impl Validate for SpoolSettings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        const BYTES_MIN: Bytes = Bytes::new(64 << 20);
        if self.bytes_max < BYTES_MIN {
            faults.push(Fault::new("bytes_max", format!("less than {BYTES_MIN}, which one statement may take")));
        }
        if !self.folder.is_absolute() {
            faults.push(Fault::new("folder", "is no absolute path"));
        }
    }
}

impl Validate for Collector {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if !self.host.is_empty()
            && let Err(fault) = self.expected()
        {
            faults.push(fault);
        }
        if self.port == 0 {
            faults.push(Fault::new("port", "is no port"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let refused = config::parse::<Settings>("agent.toml", text).expect_err("faults");
        refused.faults.iter().map(|fault| format!("{}:{}", fault.line.unwrap_or(0), fault.path)).collect()
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let text = "[spool]\nfolder = \"here\"\nbytes_max = \"1KiB\"\nage_max = 5\nfull = 1\n[collector]\nport = 0\n\
                    [tls]\nworkload_api = \"environment\"\nkey = \"k\"\n";
        let said = said(text);
        for wanted in ["2:spool.folder", "3:spool.bytes_max", "4:spool.age_max", "5:spool.full", "7:collector.port"] {
            assert!(said.iter().any(|fault| fault == wanted), "{wanted}: {said:?}");
        }
        assert!(said.iter().any(|fault| fault.ends_with("collector.host")), "{said:?}");
        assert!(said.iter().any(|fault| fault.ends_with("tls.workload_api")), "{said:?}");
    }

    #[test]
    fn a_collector_is_known_by_one_thing() {
        let files = "[tls]\ncertificate = 'c'\nkey = 'k'\nauthorities = 'a'\n";
        let read = |collector: &str| config::parse::<Settings>("a", &format!("[collector]\n{collector}\n{files}"));
        assert!(read("host = 'collector.example.org'").is_ok());
        assert!(read("host = '10.0.0.1'\nspiffe_id = 'spiffe://example.org/collector'").is_ok());
        assert!(read("host = '10.0.0.1'\nname = 'collector'").is_ok());
        assert!(read("host = '10.0.0.1'").is_err());
        assert!(read("host = 'c'\nname = 'c'\nspiffe_id = 'spiffe://example.org/collector'").is_err());
        assert!(read("host = 'c'\nspiffe_id = 'example.org'").is_err());
        let svid = "[tls]\nworkload_api = 'environment'\n[collector]\nhost = 'c'\n";
        assert_eq!(said(svid), ["3:collector.spiffe_id"]);
    }

    /// The example as it is, and with everything in it that is left out.
    #[test]
    fn the_example_that_is_installed_can_be_used() {
        let text = include_str!("../../../systemd/agent.toml.example");
        // What is left out has no blank behind its #.
        let is_setting =
            |line: &&str| line.strip_prefix('#').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '));
        let whole: Vec<&str> = text.lines().map(|line| if is_setting(&line) { &line[1..] } else { line }).collect();
        assert!(whole.iter().filter(|line| !line.starts_with('#') && !line.is_empty()).count() > 5);
        for text in [text, &whole.join("\n")] {
            if let Err(refused) = config::parse::<Settings>("example", text) {
                panic!("{refused}");
            }
        }
    }
}
