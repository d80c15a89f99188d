//! Where the API is, and who may ask it what.

use std::net::SocketAddr;

use attestation::{hex, identity::Pattern};
use config::{Fault, Validate, within};
use serde::Deserialize;

/// Readers at most.
const READERS_MAX: usize = 1000;

/// The section `api`; without it, there is none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address and port.
    pub(crate) listen: String,
    /// Who it is [default: as nodes know the collector].
    pub(crate) tls: Option<mtls::Settings>,
    pub(crate) readers: Vec<Reader>,
}

/// Who may ask, and what.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reader {
    /// A pattern, as `verify --spiffe-id` has it.
    pub(crate) spiffe_id: Option<String>,
    /// SHA-256 of a token, as `testimony-collector token` prints it.
    pub(crate) token_sha256: Option<String>,
    pub(crate) rights: Vec<Right>,
}

/// What may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Right {
    /// What the index answers.
    Facts,
    /// Whole statements.
    Statements,
    /// Metrics.
    Metrics,
}

impl Validate for Settings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.listen.parse::<SocketAddr>().is_err() {
            faults.push(Fault::new("listen", "no address and port, such as 0.0.0.0:8444 or [::]:8444"));
        }
        if let Some(tls) = &self.tls {
            within("tls", tls, faults);
        }
        if self.readers.is_empty() {
            faults.push(Fault::new("readers", "missing: nobody may ask; say who, by [[api.readers]]"));
        }
        if self.readers.len() > READERS_MAX {
            faults.push(Fault::new("readers", format!("more than {READERS_MAX}")));
        }
        for (index, reader) in self.readers.iter().enumerate() {
            let mut own = Vec::new();
            reader.faults(&mut own);
            let place = |fault: &Fault| if fault.path.is_empty() { String::new() } else { format!(".{}", fault.path) };
            faults.extend(
                own.iter().map(|fault| Fault::new(format!("readers[{index}]{}", place(fault)), fault.says.clone())),
            );
        }
    }
}

impl Validate for Reader {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.spiffe_id.is_some() == self.token_sha256.is_some() {
            faults.push(Fault::new("", "say either spiffe_id or token_sha256"));
        }
        if let Some(Err(error)) = self.spiffe_id.as_ref().map(|id| id.parse::<Pattern>()) {
            faults.push(Fault::new("spiffe_id", error.to_string()));
        }
        if self.token_sha256.as_ref().is_some_and(|sha256| hex::decode_sha256(sha256).is_none()) {
            faults.push(Fault::new(
                "token_sha256",
                "no SHA-256 in lowercase hexadecimal, as `testimony-collector token` prints it",
            ));
        }
        if self.rights.is_empty() {
            faults.push(Fault::new("rights", "missing: some of facts, statements, metrics"));
        }
    }
}
