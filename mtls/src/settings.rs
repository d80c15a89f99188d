//! Which identity one end has, as a configuration says it.

use std::path::PathBuf;

use config::{Fault, Validate};
use serde::Deserialize;
use spiffe::transport::Endpoint;

use crate::Files;

/// In place of the Workload API's address: as `SPIFFE_ENDPOINT_SOCKET` says.
pub const FROM_ENVIRONMENT: &str = "environment";

/// What one end shows of itself, and holds the other against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// What a Workload API gives, and gives anew.
    Spiffe {
        /// Where it is, as `unix:/run/spire/agent/public/api.sock`; as `SPIFFE_ENDPOINT_SOCKET` says where it is not said.
        socket: Option<String>,
    },
    /// Files, read again for each connection.
    Files(Files),
}

/// A section of a configuration that says which: `workload_api`, or the other three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A file of certificates in PEM: one's own first, then those between it and an authority.
    pub certificate: Option<PathBuf>,
    /// A file with the certificate's key, in PEM, that its owner alone may read.
    pub key: Option<PathBuf>,
    /// A file of the authorities' certificates, in PEM.
    pub authorities: Option<PathBuf>,
    /// A Workload API's address, or [`FROM_ENVIRONMENT`].
    pub workload_api: Option<String>,
}

impl Settings {
    /// Whether any of it was said.
    #[must_use]
    pub fn is_said(&self) -> bool {
        self.certificate.is_some() || self.key.is_some() || self.authorities.is_some() || self.workload_api.is_some()
    }

    /// The identity that is meant.
    ///
    /// # Errors
    /// What is wrong, as [`Validate`] says it.
    pub fn identity(&self) -> Result<Identity, Vec<Fault>> {
        let files = [&self.certificate, &self.key, &self.authorities];
        let Some(address) = &self.workload_api else { return self.files() };
        if files.iter().any(|file| file.is_some()) {
            let says = "stands beside files, and only one of both can be the identity";
            return Err(vec![Fault::new("workload_api", says)]);
        }
        if address == FROM_ENVIRONMENT {
            return Ok(Identity::Spiffe { socket: None });
        }
        match Endpoint::parse(address) {
            Ok(_) => Ok(Identity::Spiffe { socket: Some(address.clone()) }),
            Err(error) => {
                let says = format!("is no address, as unix:/run/spire/agent/public/api.sock is one: {error}");
                Err(vec![Fault::new("workload_api", says)])
            }
        }
    }

    fn files(&self) -> Result<Identity, Vec<Fault>> {
        if let (Some(certificate), Some(key), Some(authorities)) = (&self.certificate, &self.key, &self.authorities) {
            let (certificate, key, authorities) = (certificate.clone(), key.clone(), authorities.clone());
            return Ok(Identity::Files(Files { certificate, key, authorities }));
        }
        let named = [("certificate", &self.certificate), ("key", &self.key), ("authorities", &self.authorities)];
        if named.iter().all(|(_, file)| file.is_none()) {
            let says = "no identity: it takes workload_api, or certificate, key and authorities";
            return Err(vec![Fault::new("", says)]);
        }
        let missing = named.iter().filter(|(_, file)| file.is_none());
        Err(missing
            .map(|(name, _)| Fault::new(*name, "is missing: files are an identity all three together"))
            .collect())
    }
}

impl Validate for Settings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        faults.extend(self.identity().err().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let refused = config::parse::<Settings>("x", text).expect_err("faults");
        refused.faults.into_iter().map(|fault| format!("{}: {}", fault.path, fault.says)).collect()
    }

    #[test]
    fn an_identity_is_one_of_both_kinds() {
        let identity = |text: &str| config::parse::<Settings>("x", text).unwrap().identity().unwrap();
        let files = Files { certificate: "a".into(), key: "b".into(), authorities: "c".into() };
        assert_eq!(identity("certificate = 'a'\nkey = 'b'\nauthorities = 'c'"), Identity::Files(files));
        assert_eq!(identity("workload_api = 'environment'"), Identity::Spiffe { socket: None });
        let socket = "unix:/run/spire/agent/public/api.sock";
        let spiffe = Identity::Spiffe { socket: Some(socket.to_owned()) };
        assert_eq!(identity(&format!("workload_api = '{socket}'")), spiffe);
    }

    #[test]
    fn neither_both_and_half_of_one_are_faults() {
        assert_eq!(said(""), [": no identity: it takes workload_api, or certificate, key and authorities"]);
        let both = said("workload_api = 'environment'\nkey = 'b'");
        assert_eq!(both, ["workload_api: stands beside files, and only one of both can be the identity"]);
        let half = said("key = 'b'");
        assert_eq!(half.len(), 2);
        assert!(half.iter().all(|fault| fault.contains("is missing")), "{half:?}");
    }

    #[test]
    fn addresses_that_are_none_are_faults() {
        for address in ["", "/run/api.sock", "unix:", "http://a/b", "tcp://a.example:1", "tcp:1.2.3.4"] {
            let faults = said(&format!("workload_api = '{address}'"));
            assert!(
                faults.iter().all(|fault| fault.starts_with("workload_api: is no address")),
                "{address}: {faults:?}"
            );
        }
    }
}
