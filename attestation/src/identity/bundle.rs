//! Trust bundles: the certificates of a trust domain's authorities, as PEM or in SPIFFE's own format (a JWK set).

use super::{TrustDomain, UnixSeconds};
use crate::json::Object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use serde::Deserialize;
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Bytes of a bundle's file at most.
pub const BUNDLE_BYTES_MAX: usize = 1 << 20;
/// Authorities of a bundle at most.
const ROOTS_MAX: usize = 256;
/// What a key of a JWK set is for, where it is an authority of X.509-SVIDs.
const X509_SVID: &str = "x509-svid";

/// Why a file is no trust bundle.
#[derive(Debug, Error)]
pub enum BundleError {
    /// It is too large.
    #[error("the bundle is over the limit of {BUNDLE_BYTES_MAX} bytes")]
    TooLarge,
    /// Neither format.
    #[error("neither certificates in PEM nor a SPIFFE bundle in JSON")]
    Format(#[source] Option<serde_json::Error>),
    /// An authority that cannot be read.
    #[error("authority {0} is no certificate")]
    Certificate(usize),
    /// An authority that is none.
    #[error("certificate {0} is not that of an authority (basic constraints)")]
    NoAuthority(usize),
    /// No authority, or too many.
    #[error("a bundle has 1 to {ROOTS_MAX} authorities, not {0}")]
    Count(usize),
}

/// The authorities of a trust domain.
#[derive(Debug, Clone)]
pub struct Bundle {
    trust_domain: TrustDomain,
    roots: Vec<Root>,
}

/// An authority, and when it may be relied on.
#[derive(Debug, Clone)]
pub(super) struct Root {
    anchor: TrustAnchor<'static>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Object<Key>>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default, rename = "use")]
    purpose: String,
    #[serde(default)]
    x5c: Vec<String>,
}

impl Bundle {
    /// Reads the bundle of a trust domain, which its file does not name: certificates in PEM, or SPIFFE's JWK set.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(trust_domain: TrustDomain, bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLarge);
        }
        let json = bytes.trim_ascii_start().starts_with(b"{");
        Self::of(trust_domain, &if json { of_json(bytes)? } else { of_pem(bytes)? })
    }

    /// The bundle of these authorities, in DER.
    ///
    /// # Errors
    /// If one of them is none, or there are too many or none.
    pub fn of(trust_domain: TrustDomain, authorities: &[impl AsRef<[u8]>]) -> Result<Self, BundleError> {
        if authorities.is_empty() || authorities.len() > ROOTS_MAX {
            return Err(BundleError::Count(authorities.len()));
        }
        let numbered = authorities.iter().enumerate();
        let roots = numbered.map(|(index, der)| Root::read(index, der.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { trust_domain, roots })
    }

    /// Whose it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The authorities that are valid at a time.
    pub(super) fn anchors(&self, time: UnixSeconds) -> impl Iterator<Item = TrustAnchor<'static>> {
        let valid = move |root: &&Root| (root.not_before..=root.not_after).contains(&time);
        self.roots.iter().filter(valid).map(|root| root.anchor.clone())
    }
}

impl Root {
    fn read(index: usize, der: &[u8]) -> Result<Self, BundleError> {
        let no_certificate = |_| BundleError::Certificate(index);
        let certificate = Certificate::from_der(der).map_err(no_certificate)?;
        let constraints = certificate.tbs_certificate().get_extension::<x509_cert::ext::pkix::BasicConstraints>();
        if !constraints.ok().flatten().is_some_and(|(_, constraints)| constraints.ca) {
            return Err(BundleError::NoAuthority(index));
        }
        let der = CertificateDer::from_slice(der);
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|_| BundleError::Certificate(index))?.to_owned();
        let validity = certificate.tbs_certificate().validity();
        let [not_before, not_after] =
            [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
        Ok(Self { anchor, not_before, not_after })
    }
}

fn of_pem(bytes: &[u8]) -> Result<Vec<Vec<u8>>, BundleError> {
    let certificates = CertificateDer::pem_slice_iter(bytes).map(|der| der.map(|der| der.to_vec()));
    let certificates: Vec<Vec<u8>> = certificates.collect::<Result<_, _>>().map_err(|_| BundleError::Format(None))?;
    if certificates.is_empty() { Err(BundleError::Format(None)) } else { Ok(certificates) }
}

/// Each key for X.509-SVIDs has exactly one certificate, in plain base64 (RFC 7517, section 4.7).
fn of_json(bytes: &[u8]) -> Result<Vec<Vec<u8>>, BundleError> {
    let Object(set) =
        serde_json::from_slice::<Object<Keys>>(bytes).map_err(|error| BundleError::Format(Some(error)))?;
    let authorities = set.keys.into_iter().map(|Object(key)| key).filter(|key| key.purpose == X509_SVID);
    let der = |(index, key): (usize, Key)| match key.x5c.as_slice() {
        [one] => STANDARD.decode(one).map_err(|_| BundleError::Certificate(index)),
        _ => Err(BundleError::Certificate(index)),
    };
    authorities.enumerate().map(der).collect()
}
