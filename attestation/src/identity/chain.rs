//! A certificate with those between it and an authority, and whether one of a bundle's authorities stands behind it.

use super::{Bundle, UnixSeconds};
use crate::x509::{ALGORITHMS, pem, signs_certificates};
use der::Decode as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::time::Duration;
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;

/// Certificates between a workload's and an authority's at most. All of one name they are so many paths to try, as there are
/// ways to order some of them.
pub const INTERMEDIATES_MAX: usize = 4;
/// Bytes of a certificate at most, in the form that an envelope has it in.
pub const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// Why a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChainError {
    /// Not exactly one certificate where one is to be, or none that can be read.
    #[error("certificate {0} of the chain is not one certificate in PEM, of at most {CERTIFICATE_BYTES_MAX} bytes")]
    Certificate(usize),
    /// Too many between.
    #[error("{0} certificates stand between, and at most {INTERMEDIATES_MAX} may")]
    TooLong(usize),
    /// A certificate between may not sign others.
    #[error("certificate {0} of the chain may not sign certificates (key usage)")]
    KeyUsage(usize),
    /// No authority of the bundle was valid then.
    #[error("the trust bundle has no authority that was valid then")]
    NoAuthority,
    /// Expired then.
    #[error("the certificate or one above it had expired")]
    Expired,
    /// Not valid yet then.
    #[error("the certificate or one above it was not valid yet")]
    NotYet,
    /// None of the authorities gave it.
    #[error("no authority of the trust bundle gave it")]
    UnknownIssuer,
    /// Something else, as webpki says it.
    #[error("{0}")]
    Other(String),
}

/// The certificates of a signature, in DER: the workload's, and those between it and an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    leaf: Vec<u8>,
    intermediates: Vec<Vec<u8>>,
}

impl Chain {
    /// From certificates in PEM, as an envelope carries them: one in each.
    ///
    /// # Errors
    /// If one of them is none, or there are too many.
    pub fn from_pem(certificate: &[u8], intermediates: &[impl AsRef<[u8]>]) -> Result<Self, ChainError> {
        let leaf = one(0, certificate)?;
        let between = intermediates.iter().zip(1..).map(|(pem, index)| one(index, pem.as_ref()));
        Self::from_der(leaf, between.collect::<Result<_, _>>()?)
    }

    /// From certificates in DER.
    ///
    /// # Errors
    /// If there are too many.
    pub fn from_der(leaf: Vec<u8>, intermediates: Vec<Vec<u8>>) -> Result<Self, ChainError> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(ChainError::TooLong(intermediates.len()));
        }
        Ok(Self { leaf, intermediates })
    }

    /// Each in PEM, the workload's first, as an envelope carries them.
    #[must_use]
    pub fn to_pem(&self) -> Vec<Vec<u8>> {
        std::iter::once(&self.leaf).chain(&self.intermediates).map(|der| pem(der).into_bytes()).collect()
    }

    /// The workload's certificate.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// The certificates between.
    #[must_use]
    pub fn intermediates(&self) -> &[Vec<u8>] {
        &self.intermediates
    }

    /// Whether an authority of the bundles stands behind the workload's certificate at `time`.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, bundles: &[&Bundle], time: UnixSeconds) -> Result<(), ChainError> {
        for (index, der) in (1..).zip(&self.intermediates) {
            may_stand_between(index, der)?;
        }
        let mut anchors: Vec<TrustAnchor<'static>> = bundles.iter().flat_map(|bundle| bundle.anchors(time)).collect();
        // Kept bundles repeat them, and each is tried.
        anchors.sort_by(|one, other| key(one).cmp(&key(other)));
        anchors.dedup();
        if anchors.is_empty() {
            return Err(ChainError::NoAuthority);
        }
        let leaf = CertificateDer::from_slice(&self.leaf);
        let between: Vec<CertificateDer<'_>> =
            self.intermediates.iter().map(|der| CertificateDer::from_slice(der)).collect();
        let leaf = EndEntityCert::try_from(&leaf).map_err(|error| ChainError::of(&error))?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        let usage = KeyUsage::client_auth();
        let path = leaf.verify_for_usage(ALGORITHMS, &anchors, &between, time, usage, None, None);
        path.map(drop).map_err(|error| ChainError::of(&error))
    }
}

fn key<'a>(anchor: &'a TrustAnchor<'_>) -> (&'a [u8], &'a [u8]) {
    (&anchor.subject, &anchor.subject_public_key_info)
}

impl ChainError {
    fn of(error: &webpki::Error) -> Self {
        match error {
            webpki::Error::CertExpired { .. } => Self::Expired,
            webpki::Error::CertNotValidYet { .. } => Self::NotYet,
            webpki::Error::UnknownIssuer => Self::UnknownIssuer,
            other => Self::Other(format!("{other:?}")),
        }
    }
}

fn one(index: usize, pem: &[u8]) -> Result<Vec<u8>, ChainError> {
    let refused = ChainError::Certificate(index);
    if pem.len() > CERTIFICATE_BYTES_MAX {
        return Err(refused);
    }
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    match (certificates.next(), certificates.next()) {
        (Some(Ok(der)), None) => Ok(der.to_vec()),
        _ => Err(refused),
    }
}

fn may_stand_between(index: usize, der: &[u8]) -> Result<(), ChainError> {
    let certificate = Certificate::from_der(der).map_err(|_| ChainError::Certificate(index))?;
    if signs_certificates(&certificate) { Ok(()) } else { Err(ChainError::KeyUsage(index)) }
}
