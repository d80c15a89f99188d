//! Who a certificate chain says that it is: X.509-SVIDs of SPIFFE, held against trust bundles at a given time.
//!
//! A chain proves nothing by itself: it names a workload by the word of a trust domain, while it is valid. When something was
//! signed it does not say; the caller brings the time. Paths are built and signatures checked by webpki; what SPIFFE asks
//! of a certificate besides is checked here.
//!
//! Sources: SPIFFE X509-SVID (sections 2 to 5), SPIFFE Trust Domain and Bundle (section 4), RFC 5280.

mod bundle;
mod chain;
mod id;
mod pattern;
mod svid;
#[cfg(test)]
pub(crate) mod tests;

pub use crate::x509::{BUNDLE_BYTES_MAX, UnixSeconds, pem};
pub use bundle::{Bundle, BundleError};
pub use chain::{CERTIFICATE_BYTES_MAX, Chain, ChainError, INTERMEDIATES_MAX};
pub use id::{IdError, SpiffeId, TrustDomain};
pub use pattern::{Pattern, PatternError};
pub use svid::{Svid, SvidError};

/// Whose signatures are accepted: identities by name, and the bundles that may give them.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// What the trust domains' authorities were; several of one domain are one, as old ones are kept for old statements.
    pub bundles: Vec<Bundle>,
    /// Which SPIFFE IDs may sign. Without one, none may: every workload of a trust domain has an SVID.
    pub patterns: Vec<Pattern>,
    /// Seconds that an SVID may be valid for at most, where that is limited.
    pub lifetime_max: Option<u64>,
}

/// Why an SVID is not accepted at a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The certificate is no SVID.
    #[error("the certificate is no X.509-SVID")]
    Svid(#[from] SvidError),
    /// Its name is not accepted.
    #[error("{0} is none of the SPIFFE IDs that may sign")]
    Name(SpiffeId),
    /// No bundle of its trust domain.
    #[error("no trust bundle of {0} was given")]
    NoBundle(String),
    /// It lives for longer than is accepted.
    #[error("the SVID is valid for {seconds} s, and {max} s are accepted")]
    Lifetime {
        /// For how long.
        seconds: u64,
        /// For how long it may be.
        max: u64,
    },
    /// Its chain does not hold at that time.
    #[error("the certificate chain does not hold")]
    Chain(#[from] ChainError),
}

impl Identities {
    /// The SVID of a chain, if it is accepted at `time`.
    ///
    /// # Errors
    /// Why not.
    pub fn accept(&self, chain: &Chain, time: UnixSeconds) -> Result<Svid, Refused> {
        let svid = Svid::read(chain.leaf())?;
        if !self.patterns.iter().any(|pattern| pattern.matches(svid.id())) {
            return Err(Refused::Name(svid.id().clone()));
        }
        let seconds = svid.lifetime();
        if let Some(max) = self.lifetime_max.filter(|max| seconds > *max) {
            return Err(Refused::Lifetime { seconds, max });
        }
        let domain = svid.id().trust_domain();
        let bundles: Vec<&Bundle> = self.bundles.iter().filter(|bundle| bundle.trust_domain() == domain).collect();
        if bundles.is_empty() {
            return Err(Refused::NoBundle(domain.as_str().to_owned()));
        }
        chain.verify(&bundles, time)?;
        Ok(svid)
    }
}
