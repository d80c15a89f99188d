//! What certificates of any kind have in common here: authorities that were given, what they may sign with, PEM.
//!
//! Paths are built and signatures checked by webpki; DER is read by x509-cert. Nothing of either is made here again.

use der::Decode as _;
use der::pem::LineEnding;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor};
use thiserror::Error;
use webpki::aws_lc_rs as algorithms;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

/// Seconds since 1970, UTC.
pub type UnixSeconds = u64;

/// Bytes of a file of authorities at most.
pub const BUNDLE_BYTES_MAX: usize = 1 << 20;

/// What authorities may sign with: P-256, P-384, RSA of 2048 bits and more, Ed25519; SHA-2.
pub(crate) static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// Why a certificate is no authority's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RootError {
    /// It cannot be read.
    #[error("it is no certificate")]
    Malformed,
    /// It is another's.
    #[error("it is not that of an authority (basic constraints)")]
    NoAuthority,
}

/// An authority, and when it may be relied on.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    anchor: TrustAnchor<'static>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
}

impl Root {
    /// From a certificate in DER.
    pub(crate) fn read(der: &[u8]) -> Result<Self, RootError> {
        let certificate = Certificate::from_der(der).map_err(|_| RootError::Malformed)?;
        if !is_authority(&certificate) {
            return Err(RootError::NoAuthority);
        }
        let der = CertificateDer::from_slice(der);
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|_| RootError::Malformed)?.to_owned();
        let validity = certificate.tbs_certificate().validity();
        let [not_before, not_after] =
            [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
        Ok(Self { anchor, not_before, not_after })
    }

    /// To build paths to, if it is valid at a time: webpki does not ask that of an anchor.
    pub(crate) fn anchor(&self, time: UnixSeconds) -> Option<TrustAnchor<'static>> {
        (self.not_before..=self.not_after).contains(&time).then(|| self.anchor.clone())
    }
}

/// Whether a certificate says that it is an authority's.
pub(crate) fn is_authority(certificate: &Certificate) -> bool {
    let constraints = certificate.tbs_certificate().get_extension::<BasicConstraints>();
    constraints.ok().flatten().is_some_and(|(_, constraints)| constraints.ca)
}

/// Whether an authority's key is for certificates: webpki demands of a certificate between that it is an authority's, and
/// not what its key is for.
pub(crate) fn signs_certificates(certificate: &Certificate) -> bool {
    let usage = certificate.tbs_certificate().get_extension::<KeyUsage>();
    usage.ok().flatten().is_some_and(|(_, usage)| usage.key_cert_sign())
}

/// A certificate in PEM.
#[must_use]
pub fn pem(der: &[u8]) -> String {
    // It fails for labels that are none only, and over sizes that no certificate has.
    der::pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default()
}

/// All certificates of a text in PEM; none if there is none, or one that cannot be read.
pub(crate) fn of_pem(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let certificates = CertificateDer::pem_slice_iter(bytes).map(|der| der.map(|der| der.to_vec()));
    let certificates: Vec<Vec<u8>> = certificates.collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}
