//! What is asked of a certificate besides a chain to the authorities, where the identity is in files.
//!
//! rustls builds the chains and checks signatures and names; a SPIFFE ID it does not know. So a client's certificate passes
//! rustls' verifier first and is then held against those that may connect, and a server's passes the same check of its chain
//! that rustls' verifier makes, with its SPIFFE ID in place of a host's name.

use std::sync::Arc;

use attestation::identity::SpiffeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::Peers;
use crate::peer::spiffe_id;

/// It is somebody, and not who it should be.
#[derive(Debug, thiserror::Error)]
enum Other {
    #[error("the certificate of {0} is not one that may connect")]
    NotAllowed(SpiffeId),
    #[error("the certificate is {0}'s, not {1}'s")]
    Another(SpiffeId, SpiffeId),
    #[error("the certificate has no SPIFFE ID")]
    NoId,
}

impl From<Other> for Error {
    fn from(other: Other) -> Self {
        // Not as an error of a certificate, which rustls would say in Rust.
        OtherError(Arc::new(other)).into()
    }
}

/// Holds clients against those that may connect.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) chain: Arc<dyn ClientCertVerifier>,
    pub(crate) allowed: Peers,
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(certificate, intermediates, now)?;
        let id = spiffe_id(certificate);
        if self.allowed.allow(id.as_ref()) {
            Ok(verified)
        } else {
            Err(id.map_or(Other::NoId, Other::NotAllowed).into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Holds a server against a SPIFFE ID. What host was connected to does not matter.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) signatures: Arc<WebPkiServerVerifier>,
    pub(crate) authorities: Arc<RootCertStore>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
    pub(crate) id: SpiffeId,
}

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.authorities, intermediates, now, algorithms)?;
        match spiffe_id(certificate) {
            Some(id) if id == self.id => Ok(ServerCertVerified::assertion()),
            Some(id) => Err(Other::Another(id, self.id.clone()).into()),
            None => Err(Other::NoId.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}
