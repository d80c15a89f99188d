//! What SPIFFE asks of the certificate of a workload, whoever gave it.

use super::{SpiffeId, UnixSeconds};
use crate::dsse::PublicKey;
use crate::hex;
use der::{Decode as _, Encode as _};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

/// Why a certificate is no SVID that signs statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SvidError {
    /// It cannot be read.
    #[error("it is no certificate")]
    Malformed,
    /// An extension stands twice or cannot be read.
    #[error("its extension {0} is malformed")]
    Extension(&'static str),
    /// It names no URI, or several.
    #[error("it has {0} URIs as its name, not one")]
    Names(usize),
    /// Its URI is no SPIFFE ID of a workload.
    #[error("its name is no SPIFFE ID of a workload")]
    Id,
    /// It is an authority's.
    #[error("it is the certificate of an authority")]
    Authority,
    /// Its key is not for signatures, or for certificates too.
    #[error(
        "its key usage is not that of a workload: digital signatures, and neither certificates nor revocation lists"
    )]
    KeyUsage,
    /// Its key is of another kind.
    #[error("its key is not on P-256")]
    Key,
}

/// A workload's certificate: who, which key, and from when until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    id: SpiffeId,
    key: PublicKey,
    serial: String,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
}

impl Svid {
    /// Reads a certificate in DER. Who gave it is not looked at.
    ///
    /// # Errors
    /// Why it is no SVID.
    pub fn read(der: &[u8]) -> Result<Self, SvidError> {
        let certificate = Certificate::from_der(der).map_err(|_| SvidError::Malformed)?;
        let tbs = certificate.tbs_certificate();
        let constraints =
            tbs.get_extension::<BasicConstraints>().map_err(|_| SvidError::Extension("basicConstraints"))?;
        if constraints.is_some_and(|(_, constraints)| constraints.ca) {
            return Err(SvidError::Authority);
        }
        let usage = tbs.get_extension::<KeyUsage>().map_err(|_| SvidError::Extension("keyUsage"))?;
        let signs = |usage: KeyUsage| usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign();
        if !usage.is_some_and(|(critical, usage)| critical && signs(usage)) {
            return Err(SvidError::KeyUsage);
        }
        let names = tbs.get_extension::<SubjectAltName>().map_err(|_| SvidError::Extension("subjectAltName"))?;
        let id = id_of(&names.map(|(_, names)| names.0).unwrap_or_default())?;
        let key = tbs.subject_public_key_info().to_der().map_err(|_| SvidError::Key)?;
        let key = PublicKey::from_der(&key).map_err(|_| SvidError::Key)?;
        let validity = tbs.validity();
        let [not_before, not_after] =
            [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
        Ok(Self { id, key, serial: hex::encode(tbs.serial_number().as_bytes()), not_before, not_after })
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The key that it is given for.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its serial number, in hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// From when it is valid.
    #[must_use]
    pub fn not_before(&self) -> UnixSeconds {
        self.not_before
    }

    /// The last second that it is valid in.
    #[must_use]
    pub fn not_after(&self) -> UnixSeconds {
        self.not_after
    }

    /// Seconds that it is valid for.
    #[must_use]
    pub fn lifetime(&self) -> u64 {
        self.not_after.saturating_sub(self.not_before)
    }
}

/// Exactly one URI; names of other kinds are not looked at (X509-SVID, section 2).
fn id_of(names: &[GeneralName]) -> Result<SpiffeId, SvidError> {
    let uri = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
        _ => None,
    };
    let uris: Vec<String> = names.iter().filter_map(uri).collect();
    let [uri] = uris.as_slice() else { return Err(SvidError::Names(uris.len())) };
    let id: SpiffeId = uri.parse().map_err(|_| SvidError::Id)?;
    // Of an authority, not of a workload (section 2).
    if id.path().is_empty() { Err(SvidError::Id) } else { Ok(id) }
}
