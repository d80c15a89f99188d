//! What makers of TPMs vouch for: an endorsement key, by a certificate that the TPM carries.
//!
//! Source: TCG EK Credential Profile for TPM Family 2.0 (2.6), sections 3 and 5. The names in a certificate (maker, model, version) say
//! nothing here; whose key it is, says the path to one of the authorities that were given.

use super::STRUCTURE_BYTES_MAX;
use super::credential::EndorsementKey;
use crate::x509::{ALGORITHMS, BUNDLE_BYTES_MAX, Root, UnixSeconds, of_pem, signs_certificates};
use der::{Decode as _, Encode as _, Header, Reader as _, SliceReader};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::time::Duration;
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// Certificates of a file at most.
const CERTIFICATES_MAX: usize = 1024;
/// tcg-kp-EKCertificate, 2.23.133.8.1, in DER without its header.
const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

/// Why no maker stands behind an endorsement key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MakerError {
    /// The makers' file.
    #[error("no certificates of authorities in PEM, or more than {CERTIFICATES_MAX}")]
    Format,
    /// One of them.
    #[error("certificate {0} is none")]
    Certificate(usize),
    /// The certificate of the key.
    #[error("the certificate of the endorsement key cannot be read")]
    Malformed,
    /// It is not for an endorsement key.
    #[error("the certificate is not for an endorsement key (extended key usage)")]
    Usage,
    /// It is that of another key.
    #[error("the certificate is that of another endorsement key")]
    OtherKey,
    /// No path leads to a maker.
    #[error("no maker that was given stands behind the certificate")]
    Unknown,
    /// It, or one above it, was not valid then.
    #[error("the certificate of the endorsement key, or one above it, was not valid then")]
    NotValidThen,
    /// The path does not hold for another reason: it is not for endorsement keys, or a signature is wrong.
    #[error("the certificate chain of the endorsement key does not hold")]
    Chain,
}

/// Makers of TPMs that are trusted: their authorities, and certificates between.
pub struct Makers {
    roots: Vec<Root>,
    between: Vec<Vec<u8>>,
}

impl Makers {
    /// Reads certificates in PEM. Those that sign themselves are relied on; others may stand between.
    ///
    /// # Errors
    /// Why they are none.
    pub fn read(pem: &[u8]) -> Result<Self, MakerError> {
        let all = of_pem(pem).filter(|all| pem.len() <= BUNDLE_BYTES_MAX && all.len() <= CERTIFICATES_MAX);
        let (mut roots, mut between) = (Vec::new(), Vec::new());
        for (index, der) in (1..).zip(all.ok_or(MakerError::Format)?) {
            let certificate = Certificate::from_der(&der).map_err(|_| MakerError::Certificate(index))?;
            let tbs = certificate.tbs_certificate();
            if tbs.issuer() == tbs.subject() {
                roots.push(Root::read(&der).map_err(|_| MakerError::Certificate(index))?);
            } else if signs_certificates(&certificate) {
                between.push(der);
            } else {
                return Err(MakerError::Certificate(index));
            }
        }
        if roots.is_empty() { Err(MakerError::Format) } else { Ok(Self { roots, between }) }
    }

    /// Whether one of them stands behind this key at `time`, by the certificate that its TPM carries: DER, with what may
    /// follow it in the TPM's memory.
    ///
    /// # Errors
    /// Why not.
    pub fn vouch(&self, key: &EndorsementKey, carried: &[u8], time: UnixSeconds) -> Result<(), MakerError> {
        let der = first(carried).ok_or(MakerError::Malformed)?;
        let certificate = Certificate::from_der(der).map_err(|_| MakerError::Malformed)?;
        let usage = certificate.tbs_certificate().get_extension::<ExtendedKeyUsage>();
        if !usage.ok().flatten().is_some_and(|(_, usage)| usage.0.iter().any(|oid| oid.as_bytes() == EK_CERTIFICATE)) {
            return Err(MakerError::Usage);
        }
        let own = certificate.tbs_certificate().subject_public_key_info().to_der();
        if own.ok() != key.to_der().ok() {
            return Err(MakerError::OtherKey);
        }
        let anchors: Vec<TrustAnchor<'static>> = self.roots.iter().filter_map(|root| root.anchor(time)).collect();
        if anchors.is_empty() {
            return Err(MakerError::NotValidThen);
        }
        let between: Vec<CertificateDer<'_>> = self.between.iter().map(|der| CertificateDer::from_slice(der)).collect();
        let der = CertificateDer::from_slice(der);
        let certificate = EndEntityCert::try_from(&der).map_err(|_| MakerError::Malformed)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        // Authorities may leave theirs out: webpki would demand it of them too.
        let usage = KeyUsage::required_if_present(EK_CERTIFICATE);
        let path = certificate.verify_for_usage(ALGORITHMS, &anchors, &between, time, usage, None, None);
        path.map(drop).map_err(|error| match error {
            webpki::Error::UnknownIssuer => MakerError::Unknown,
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => MakerError::NotValidThen,
            _ => MakerError::Chain,
        })
    }
}

/// The one value that these bytes begin with, and its header.
fn first(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(bytes.get(..bytes.len().min(4 * STRUCTURE_BYTES_MAX))?).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let whole = u32::from(reader.position()).checked_add(header.length().into())?;
    bytes.get(..usize::try_from(whole).ok()?)
}
