//! An identity in files: a certificate, its key, and the authorities that the other end is held against.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{ALPN, Door, Error, Expected, Peers, verifier};

/// Bytes of a file at most.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Bits of a key's mode that let others than its owner do anything with it.
const OTHERS: u32 = 0o077;

/// An identity in files, and the authorities of the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Certificates in PEM: one's own first, then those between it and an authority.
    pub certificate: PathBuf,
    /// The certificate's key, in PEM. Its owner alone may read it.
    pub key: PathBuf,
    /// The authorities' certificates, in PEM.
    pub authorities: PathBuf,
}

impl Files {
    /// What a server speaks TLS with, as the files are now; with guests, also to who shows no certificate.
    pub(crate) fn server(&self, allowed: &Peers, door: Door) -> Result<ServerConfig, Error> {
        let authorities = Arc::new(self.authorities()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider());
        let verifier = if door == Door::Guests { verifier.allow_unauthenticated() } else { verifier }.build();
        let verifier =
            Arc::new(verifier::Clients { chain: verifier.map_err(Error::Verifier)?, allowed: allowed.clone() });
        let unfit = |source| Error::Unfit { certificate: self.certificate.clone(), source };
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(unfit)?.with_client_cert_verifier(verifier);
        let mut config = builder.with_single_cert(self.chain()?, self.key()?).map_err(unfit)?;
        config.alpn_protocols = door.alpn();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// What a client speaks TLS with, as the files are now.
    pub(crate) fn client(&self, expected: &Expected) -> Result<ClientConfig, Error> {
        let authorities = Arc::new(self.authorities()?);
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::clone(&authorities), provider()).build();
        let chain = chain.map_err(Error::Verifier)?;
        let unfit = |source| Error::Unfit { certificate: self.certificate.clone(), source };
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(unfit)?;
        let builder = match expected {
            Expected::Name(_) => builder.with_webpki_verifier(chain),
            Expected::SpiffeId(id) => {
                let algorithms = provider().signature_verification_algorithms;
                let verifier = verifier::Server { signatures: chain, authorities, algorithms, id: id.clone() };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let mut config = builder.with_client_auth_cert(self.chain()?, self.key()?).map_err(unfit)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        certificates(&self.certificate, "certificate")
    }

    fn authorities(&self) -> Result<RootCertStore, Error> {
        let mut authorities = RootCertStore::empty();
        for certificate in certificates(&self.authorities, "authority's certificate")? {
            let added = authorities.add(certificate);
            added.map_err(|source| Error::Authority { path: self.authorities.clone(), source })?;
        }
        Ok(authorities)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let (bytes, mode) = read(&self.key)?;
        if mode & OTHERS != 0 {
            return Err(Error::KeyIsOpen { path: self.key.clone(), mode });
        }
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| none(&self.key, "private key", error))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let (bytes, _) = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| none(path, what, error))?;
    let missing = || Error::Pem { path: path.to_owned(), what, source: None };
    if certificates.is_empty() { Err(missing()) } else { Ok(certificates) }
}

fn none(path: &Path, what: &'static str, error: pem::Error) -> Error {
    let source = (!matches!(error, pem::Error::NoItemsFound)).then_some(error);
    Error::Pem { path: path.to_owned(), what, source }
}

/// What is in a file, and its mode: of what was opened, which whoever renews it may have put there a moment ago.
fn read(path: &Path) -> Result<(Vec<u8>, u32), Error> {
    let cannot = |source| Error::Read { path: path.to_owned(), source };
    // Whoever names a pipe is told so, and not waited for.
    if !path.metadata().map_err(cannot)?.is_file() {
        return Err(cannot(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")));
    }
    let file = File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.mode() & 0o7777;
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > FILE_BYTES_MAX { Err(Error::TooLarge(path.to_owned())) } else { Ok((bytes, mode)) }
}
