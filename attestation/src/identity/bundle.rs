//! Trust bundles: the certificates of a trust domain's authorities, as PEM or in SPIFFE's own format (a JWK set).

use super::{TrustDomain, UnixSeconds};
use crate::json::Object;
use crate::x509::{BUNDLE_BYTES_MAX, Root, RootError, of_pem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::TrustAnchor;
use serde::Deserialize;
use thiserror::Error;

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
        Self::of(trust_domain, &if json { of_json(bytes)? } else { of_pem(bytes).ok_or(BundleError::Format(None))? })
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
        let root = |(index, der): (usize, &_)| {
            Root::read(AsRef::<[u8]>::as_ref(der)).map_err(|error| match error {
                RootError::Malformed => BundleError::Certificate(index),
                RootError::NoAuthority => BundleError::NoAuthority(index),
            })
        };
        let roots = numbered.map(root).collect::<Result<_, _>>()?;
        Ok(Self { trust_domain, roots })
    }

    /// Whose it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The authorities that are valid at a time.
    pub(super) fn anchors(&self, time: UnixSeconds) -> impl Iterator<Item = TrustAnchor<'static>> {
        self.roots.iter().filter_map(move |root| root.anchor(time))
    }
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
