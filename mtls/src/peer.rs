//! Who is at the other end, and who may be.

use std::{fmt, net::SocketAddr};

use attestation::identity::{Pattern, SpiffeId};
use sha2::{Digest as _, Sha256};

/// Who connected: what a server's requests carry in their extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// By SPIFFE, if the certificate has one URI among its names, and that is a workload's SPIFFE ID.
    pub spiffe_id: Option<SpiffeId>,
    /// SHA-256 of the certificate, in DER.
    pub certificate_sha256: [u8; 32],
    /// From where.
    pub address: SocketAddr,
}

impl Peer {
    pub(crate) fn of(certificate: &[u8], address: SocketAddr) -> Self {
        let certificate_sha256 = Sha256::digest(certificate).into();
        Self { spiffe_id: spiffe_id(certificate), certificate_sha256, address }
    }
}

impl fmt::Display for Peer {
    /// By what is known of it: its SPIFFE ID, or its certificate.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.spiffe_id {
            Some(id) => write!(out, "{id}"),
            None => write!(out, "certificate {}", attestation::hex::encode(&self.certificate_sha256)),
        }
    }
}

/// Who may connect to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Whoever has a certificate of the authorities: with SVIDs, those of every trust domain that the Workload API has a
    /// bundle of.
    Any,
    /// Whose SPIFFE ID is one of these. Without one, nobody may.
    Ids(Vec<Pattern>),
}

impl Peers {
    /// Whether who has this SPIFFE ID, or none, may connect.
    #[must_use]
    pub fn allow(&self, id: Option<&SpiffeId>) -> bool {
        match self {
            Self::Any => true,
            Self::Ids(patterns) => id.is_some_and(|id| patterns.iter().any(|pattern| pattern.matches(id))),
        }
    }
}

/// The SPIFFE ID that a certificate names, if it names exactly one (X509-SVID, section 2), and a workload's.
pub(crate) fn spiffe_id(certificate: &[u8]) -> Option<SpiffeId> {
    let id = spiffe::cert::spiffe_id_from_der(certificate).ok()?;
    // By this project's own type too: patterns are of that.
    let id: SpiffeId = id.to_string().parse().ok()?;
    (!id.path().is_empty()).then_some(id)
}
