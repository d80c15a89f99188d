//! What goes wrong, at the start and at each connection.

use std::{io, net::SocketAddr, path::PathBuf};

use rustls_pki_types::pem;
use spiffe::constants::SPIFFE_SOCKET_ENV;
use spiffe::{WorkloadApiError, X509SourceError};
use thiserror::Error;

use crate::svid::FIRST_SECONDS_MAX;
use crate::{FILE_BYTES_MAX, HANDSHAKE_SECONDS_MAX};

/// Why there is no identity to connect with, or no connection.
#[derive(Debug, Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is too large.
    #[error("{} is over the limit of {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// The key is not a secret.
    #[error(
        "others than its owner may read the key {} (mode {mode:03o}): take that from them, `chmod go-rwx`",
        path.display()
    )]
    KeyIsOpen {
        /// Which.
        path: PathBuf,
        /// The bits of its mode.
        mode: u32,
    },
    /// What a file should have is not in it.
    #[error("{} has no {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
        /// Why it cannot be read; none if it was not there.
        source: Option<pem::Error>,
    },
    /// An authority that cannot be one.
    #[error("{} has a certificate that cannot be an authority's", path.display())]
    Authority {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Certificate, key and authorities do not go together.
    #[error("no TLS can be spoken with the certificate {} and its key", certificate.display())]
    Unfit {
        /// Which.
        certificate: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The authorities cannot be held against.
    #[error("no certificate can be held against the authorities")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    /// Nobody said where the Workload API is.
    #[error("{SPIFFE_SOCKET_ENV} is not set: name the Workload API, as unix:/run/spire/agent/public/api.sock")]
    NoSocket,
    /// The Workload API gave none in time, and this is what it says to who asks.
    #[error("the Workload API gave no X.509-SVID within {FIRST_SECONDS_MAX} s")]
    WorkloadApi(#[source] WorkloadApiError),
    /// The Workload API gave none in time, nor an answer.
    #[error("the Workload API gave no X.509-SVID within {FIRST_SECONDS_MAX} s, and does not say why")]
    NoSvid,
    /// The Workload API cannot be followed.
    #[error("the Workload API cannot be followed")]
    Source(#[source] X509SourceError),
    /// Authorities that cannot be some.
    #[error("what the Workload API gave of {0} is no trust bundle")]
    Bundle(String),
    /// What it gave is of no use.
    #[error("no TLS can be spoken with the X.509-SVID")]
    Svid(#[source] spiffe_rustls::Error),
    /// A name where SPIFFE IDs are.
    #[error("who connects by X.509-SVIDs expects a SPIFFE ID, not the name {0}")]
    NameAmongSvids(String),
    /// Nothing to connect to.
    #[error("{0:?} is neither a host's name nor an address")]
    Host(String),
    /// No connection.
    #[error("no connection to {host}:{port}")]
    Connect {
        /// To which host.
        host: String,
        /// On which port.
        port: u16,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// A connection that a server did not take.
#[derive(Debug, Error)]
#[error("a connection{} was not taken", from.map(|from| format!(" from {from}")).unwrap_or_default())]
pub struct Refused {
    /// Whose; none where it could not even be accepted.
    pub from: Option<SocketAddr>,
    /// Why.
    #[source]
    pub why: Refusal,
}

/// Why a server did not take a connection.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The system gave none.
    #[error("it could not be accepted")]
    Accept(#[source] io::Error),
    /// The server's own identity cannot be had any more.
    #[error("the server's own identity cannot be read")]
    Identity(#[source] Error),
    /// A task of its own panicked.
    #[error("its handshake broke off")]
    BrokeOff(#[source] tokio::task::JoinError),
    /// No TLS came of it: another protocol, no certificate, or one that does not hold.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// It took too long.
    #[error("the TLS handshake was not over within {HANDSHAKE_SECONDS_MAX} s")]
    Late,
    /// An old version of TLS.
    #[error("it is not TLS 1.3")]
    Version,
    /// It is none of those that may connect.
    #[error("{0} may not connect")]
    Peer(String),
}
