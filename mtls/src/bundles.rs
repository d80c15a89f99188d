//! The authorities that a Workload API gives beside an identity: those of its own trust domain and of those that it is federated with.

use attestation::identity::{Bundle, TrustDomain, pem};
use spiffe::{X509Source, X509SourceUpdates};

use crate::Error;

/// Trust bundles, always as the Workload API has them.
pub struct Bundles {
    source: X509Source,
    updates: X509SourceUpdates,
}

impl Bundles {
    pub(crate) fn of(source: X509Source) -> Self {
        let updates = source.updated();
        Self { source, updates }
    }

    /// Those of now.
    ///
    /// # Errors
    /// If the Workload API is followed no longer, or gave what is no bundle.
    pub fn now(&self) -> Result<Vec<Bundle>, Error> {
        let given = self.source.bundle_set().map_err(Error::Source)?;
        let read = |bundle: &spiffe::X509Bundle| {
            let domain: TrustDomain = bundle.trust_domain().to_string().parse().ok()?;
            let authorities: String = bundle.authorities().iter().map(|der| pem(der.as_bytes())).collect();
            Bundle::read(domain, authorities.as_bytes()).ok()
        };
        let bundle = |(domain, bundle): (&spiffe::TrustDomain, &std::sync::Arc<spiffe::X509Bundle>)| {
            read(bundle).ok_or_else(|| Error::Bundle(domain.to_string()))
        };
        given.iter().map(bundle).collect()
    }

    /// Waits until something else may be given than was. `false` if nothing will be any more.
    pub async fn changed(&mut self) -> bool {
        self.updates.changed().await.is_ok()
    }
}
