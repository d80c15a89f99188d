//! An identity of a Workload API: followed as long as a configuration is in use, which then has the newest SVID at each
//! handshake. Chains and what SPIFFE asks of a certificate are checked by spiffe-rustls, by the bundle of the trust domain
//! that the certificate names.

use std::time::Duration;

use attestation::identity::SpiffeId;
use rustls::{ClientConfig, ServerConfig};
use spiffe::constants::SPIFFE_SOCKET_ENV;
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Source, X509SourceError};
use spiffe_rustls::{LocalOnly, TerminalSourcePolicy, TrustDomainPolicy, mtls_client, mtls_server};

use crate::{ALPN, Door, Error, Peers};

/// How long the Workload API may take to give the first SVID.
pub(crate) const FIRST_SECONDS_MAX: u64 = 30;
/// How long it may take to say why it gave none.
const WHY_SECONDS_MAX: u64 = 5;
/// Between two attempts to reach it, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

async fn source(socket: Option<&str>) -> Result<X509Source, Error> {
    let builder = X509Source::builder().reconnect_backoff(PAUSES.0, PAUSES.1);
    let builder = builder.initial_sync_timeout(Duration::from_secs(FIRST_SECONDS_MAX));
    let named = || std::env::var(SPIFFE_SOCKET_ENV).ok().filter(|socket| !socket.is_empty());
    let socket = socket.map(str::to_owned).or_else(named).ok_or(Error::NoSocket)?;
    match builder.endpoint(&socket).build().await {
        Ok(source) => Ok(source),
        Err(X509SourceError::InitialSyncTimeout) => Err(why(&socket).await.map_or(Error::NoSvid, Error::WorkloadApi)),
        Err(error) => Err(Error::Source(error)),
    }
}

/// The source tries until its time is over, and does not say what it heard. So one question more is asked.
async fn why(socket: &str) -> Option<WorkloadApiError> {
    let question = async { WorkloadApiClient::connect_to(socket).await?.fetch_x509_context().await };
    tokio::time::timeout(Duration::from_secs(WHY_SECONDS_MAX), question).await.ok()?.err()
}

/// What a server speaks TLS with, always as the Workload API has it.
pub(crate) async fn server(
    socket: Option<&str>,
    allowed: Peers,
    door: Door,
) -> Result<(ServerConfig, X509Source), Error> {
    let source = source(socket).await?;
    // By what is left of a source that ended, nobody is let in.
    let builder = mtls_server(source.clone()).terminal_source_policy(TerminalSourcePolicy::FailClosed);
    let allow = move |id: &spiffe::SpiffeId| allowed.allow(id.to_string().parse().ok().as_ref());
    let config = builder.authorize(allow).with_alpn_protocols(door.alpn()).build().map_err(Error::Svid)?;
    Ok((config, source))
}

/// The same of a client.
pub(crate) async fn client(socket: Option<&str>, expected: &SpiffeId) -> Result<ClientConfig, Error> {
    let builder = mtls_client(source(socket).await?).terminal_source_policy(TerminalSourcePolicy::FailClosed);
    let domain = spiffe::TrustDomain::new(expected.trust_domain().as_str());
    let policy = domain.map_or_else(|_| TrustDomainPolicy::AllowList(Default::default()), LocalOnly);
    let expected = expected.clone();
    let is_expected = move |id: &spiffe::SpiffeId| id.to_string().parse().is_ok_and(|id: SpiffeId| id == expected);
    let builder = builder.trust_domain_policy(policy).authorize(is_expected);
    builder.with_alpn_protocols([ALPN]).build().map_err(Error::Svid)
}
