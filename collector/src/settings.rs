//! The collector's configuration: what `testimony-collector --config FILE` reads.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use attestation::{identity::Pattern, receipt::LogSigner};
use config::{Bytes, Fault, Seconds, Validate, within};
use serde::Deserialize;
use testimony_verify::{Args, identity, keyless, platform, times};

use crate::{alerts, api, store};

/// Where the configuration is unless it is said.
pub(crate) const DEFAULT: &str = "/etc/testimony/collector.toml";
const STATE: &str = "/var/lib/testimony-collector";
const LISTEN: &str = "127.0.0.1:8443";
/// The registers that `run --seal-pcr` takes.
const CONNECTIONS: RangeInclusive<usize> = 1..=65_536;
const MEMORY: RangeInclusive<Bytes> = Bytes::new(160 << 20)..=Bytes::new(1 << 40);
const SEAL_PCRS: RangeInclusive<u8> = 11..=15;
/// How often it is looked at whether files of trust changed, unless it is said, and what may be said.
const REREAD: Duration = Duration::from_secs(10);
const REREAD_S: RangeInclusive<u64> = 1..=3600;

/// All of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address and port.
    pub(crate) listen: String,
    /// The folder of the store and of the log's key.
    pub(crate) state: PathBuf,
    pub(crate) log: Log,
    pub(crate) tls: mtls::Settings,
    pub(crate) peers: Peers,
    pub(crate) trust: Trust,
    pub(crate) enrolment: Enrolment,
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    /// Without it, nobody asks over the network.
    pub(crate) api: Option<api::Settings>,
    pub(crate) alerts: alerts::Settings,
    pub(crate) metrics: metrics::Settings,
}

/// The collector's own log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// Its name in keys and checkpoints, which is to be unique in the world: a domain, and a path if wanted.
    pub(crate) name: String,
}

/// Who may send.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Peers {
    /// Patterns of SPIFFE IDs, as `verify --spiffe-id` has them.
    pub(crate) spiffe_ids: Vec<String>,
    /// Whoever has a certificate of the authorities of `tls`, whatever its name.
    pub(crate) any: bool,
}

/// By what statements are verified: the options of `verify` of the same names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Trust {
    keys: Vec<PathBuf>,
    trust_bundles: Vec<String>,
    /// Whether the bundles that the Workload API of `tls` gives are trusted too, as it gives them.
    pub(crate) workload_api: bool,
    spiffe_ids: Vec<String>,
    svid_lifetime_max: Option<Seconds>,
    timestamp_authorities: Vec<PathBuf>,
    log_keys: Vec<PathBuf>,
    trusted_root: Option<PathBuf>,
    identity: Option<String>,
    issuer: Option<String>,
    insecure_ignore_sct: bool,
    boot_policy: Option<PathBuf>,
    /// How often it is looked at whether any of these files changed.
    reread: Option<Seconds>,
    /// Whether a statement without a quote of an enrolled machine is refused.
    pub(crate) quotes_required: bool,
}

/// How machines are enrolled.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Enrolment {
    /// Certificates of makers of TPMs, in PEM.
    pub(crate) makers: Vec<PathBuf>,
    /// Whether a TPM is believed that no maker vouches for.
    pub(crate) trust_on_first_use: bool,
    pub(crate) seal_pcr: u8,
    /// Whether a quote of the machine is good under the SPIFFE ID alone that its node showed: where nodes sign by their SVIDs. Where they
    /// sign by key files, that ID is the machine's name, and no more.
    pub(crate) bind_spiffe_id: bool,
    /// How long a challenge may be answered.
    pub(crate) lifetime: Seconds,
}

/// How much is kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Store {
    /// What the store may take; what is above waits on its nodes.
    bytes_max: Bytes,
    /// What it leaves of the file system.
    free_min: Bytes,
}

/// What all nodes together may take, and those of one name.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    /// Nodes may share one SPIFFE ID.
    pub(crate) connections_of_one: usize,
    /// Of submissions that are read and verified; those of one name take half of it at most.
    pub(crate) memory: Bytes,
}

impl Default for Store {
    fn default() -> Self {
        Self { bytes_max: Bytes::new(64 << 30), free_min: Bytes::new(512 << 20) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, connections_of_one: 256, memory: Bytes::new(512 << 20) }
    }
}

impl Store {
    /// The same as the store has them.
    pub(crate) fn limits(&self) -> store::Limits {
        store::Limits { bytes_max: self.bytes_max.get(), free_min: self.free_min.get() }
    }
}

impl Validate for Limits {
    fn faults(&self, faults: &mut Vec<Fault>) {
        for (name, count) in [("connections", self.connections), ("connections_of_one", self.connections_of_one)] {
            if !CONNECTIONS.contains(&count) {
                faults.push(Fault::new(name, "1 to 65536"));
            }
        }
        if !MEMORY.contains(&self.memory) {
            let (least, most) = (MEMORY.start(), MEMORY.end());
            faults.push(Fault::new("memory", format!("{least} to {most}: half of it is to hold one submission twice")));
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: LISTEN.to_owned(),
            state: STATE.into(),
            log: Log::default(),
            tls: mtls::Settings::default(),
            peers: Peers::default(),
            trust: Trust::default(),
            enrolment: Enrolment::default(),
            store: Store::default(),
            limits: Limits::default(),
            api: None,
            alerts: alerts::Settings::default(),
            metrics: metrics::Settings::default(),
        }
    }
}

impl Default for Enrolment {
    fn default() -> Self {
        Self {
            makers: Vec::new(),
            trust_on_first_use: false,
            seal_pcr: 12,
            bind_spiffe_id: true,
            lifetime: Seconds::new(3600),
        }
    }
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, config::Refused> {
        config::read(path)
    }
}

impl Validate for Settings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.listen.parse::<std::net::SocketAddr>().is_err() {
            faults.push(Fault::new("listen", "no address and port, such as 0.0.0.0:8443 or [::]:8443"));
        }
        within("log", &self.log, faults);
        within("tls", &self.tls, faults);
        within("peers", &self.peers, faults);
        within("trust", &self.trust, faults);
        if self.trust.workload_api && self.tls.workload_api.is_none() {
            let says = "there is none: [tls] workload_api names it";
            faults.push(Fault::new("trust.workload_api", says));
        }
        within("enrolment", &self.enrolment, faults);
        within("limits", &self.limits, faults);
        if let Some(api) = &self.api {
            within("api", api, faults);
        }
        within("alerts", &self.alerts, faults);
        within("metrics", &self.metrics, faults);
    }
}

impl Validate for Log {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.name.is_empty() {
            faults.push(Fault::new("name", "missing: name the log, as \"collector.example.org/log\""));
        } else if !LogSigner::is_name(&self.name) {
            faults.push(Fault::new("name", "a log's name has no blanks and no +"));
        }
    }
}

impl Validate for Peers {
    fn faults(&self, faults: &mut Vec<Fault>) {
        for (index, id) in self.spiffe_ids.iter().enumerate() {
            if let Err(error) = id.parse::<Pattern>() {
                faults.push(Fault::new(format!("spiffe_ids[{index}]"), error.to_string()));
            }
        }
        if self.spiffe_ids.is_empty() && !self.any {
            faults
                .push(Fault::new("spiffe_ids", "missing: say who may send, or any = true for all with a certificate"));
        }
    }
}

impl Peers {
    /// Who is let in. To be called for what had no faults.
    pub(crate) fn allowed(&self) -> mtls::Peers {
        if self.any {
            return mtls::Peers::Any;
        }
        mtls::Peers::Ids(self.spiffe_ids.iter().filter_map(|id| id.parse().ok()).collect())
    }
}

impl Validate for Trust {
    fn faults(&self, faults: &mut Vec<Fault>) {
        for (index, id) in self.spiffe_ids.iter().enumerate() {
            if let Err(error) = id.parse::<Pattern>() {
                faults.push(Fault::new(format!("spiffe_ids[{index}]"), error.to_string()));
            }
        }
        if self.spiffe_ids.is_empty() == self.has_bundles() {
            faults.push(Fault::new(
                "spiffe_ids",
                "trust_bundles or workload_api, and spiffe_ids go together: whose bundle, and who of it",
            ));
        }
        let keyless = [self.trusted_root.is_some(), self.identity.is_some(), self.issuer.is_some()];
        if keyless.contains(&true) && keyless.contains(&false) {
            faults.push(Fault::new("trusted_root", "trusted_root, identity and issuer go together"));
        }
        if self.keys.is_empty() && !self.has_bundles() && self.trusted_root.is_none() {
            let says = "missing: nobody is trusted; name keys, trust_bundles or workload_api with spiffe_ids, or a trusted_root";
            faults.push(Fault::new("keys", says));
        }
        if self.reread.is_some_and(|every| !REREAD_S.contains(&every.get())) {
            faults.push(Fault::new("reread", "1s to 1h"));
        }
    }
}

impl Trust {
    fn has_bundles(&self) -> bool {
        !self.trust_bundles.is_empty() || self.workload_api
    }

    /// How often files are looked at.
    pub(crate) fn reread(&self) -> Duration {
        self.reread.map_or(REREAD, Seconds::duration)
    }

    /// Files and folders that it is read from.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let bundles = self.trust_bundles.iter().filter_map(|bundle| Some(Path::new(bundle.split_once('=')?.1)));
        let lists = [&self.keys, &self.timestamp_authorities, &self.log_keys].into_iter().flatten();
        let single = [&self.trusted_root, &self.boot_policy].into_iter().flatten();
        lists.chain(single).map(PathBuf::as_path).chain(bundles)
    }

    /// The same as options of `verify`. To be called for what had no faults.
    pub(crate) fn args(&self) -> Args {
        Args {
            keys: self.keys.clone(),
            identity: identity::Args {
                bundles: self.trust_bundles.clone(),
                spiffe_ids: self.spiffe_ids.iter().filter_map(|id| id.parse().ok()).collect(),
                svid_lifetime_max: self.svid_lifetime_max.map(Seconds::get),
            },
            keyless: keyless::Args {
                trusted_root: self.trusted_root.clone(),
                identity: self.identity.clone(),
                issuer: self.issuer.clone(),
                bundle: None,
                insecure_ignore_sct: self.insecure_ignore_sct,
            },
            times: times::Args {
                authorities: self.timestamp_authorities.clone(),
                logs: self.log_keys.clone(),
                ..times::Args::default()
            },
            platform: platform::Args { boot_policy: self.boot_policy.clone(), ..platform::Args::default() },
            ..Args::default()
        }
    }
}

impl Validate for Enrolment {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if !SEAL_PCRS.contains(&self.seal_pcr) {
            faults.push(Fault::new("seal_pcr", "a register of 11 to 15"));
        }
        if !self.makers.is_empty() && self.trust_on_first_use {
            faults.push(Fault::new("trust_on_first_use", "with makers every TPM needs one of theirs: leave one out"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let refused = config::parse::<Settings>("c.toml", text).expect_err("faults");
        refused.faults.iter().map(|fault| format!("{}:{}", fault.line.unwrap_or(0), fault.path)).collect()
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let text = "listen = \"here\"\nlisten_on = 1\n[log]\nname = \"a b\"\n[trust]\nspiffe_ids = [\"spiffe://a/b\", \"x\"]\n\
                    [enrolment]\nseal_pcr = 9\nlifetime = 5\n";
        let said = faults(text);
        for wanted in [
            "1:listen",
            "2:listen_on",
            "4:log.name",
            "6:trust.spiffe_ids[1]",
            "8:enrolment.seal_pcr",
            "9:enrolment.lifetime",
        ] {
            assert!(said.iter().any(|fault| fault == wanted), "{wanted}: {said:?}");
        }
    }

    #[test]
    fn nobody_to_trust_and_nobody_to_let_in_are_faults() {
        let said = faults("[log]\nname = \"log\"\n");
        assert!(said.iter().any(|fault| fault.ends_with("peers.spiffe_ids")), "{said:?}");
        assert!(said.iter().any(|fault| fault.ends_with("trust.keys")), "{said:?}");
    }

    /// The example as it is, and with everything in it that is left out.
    #[test]
    fn the_example_that_is_installed_can_be_used() {
        let text = include_str!("../../systemd/collector.toml.example");
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
