//! The client's end: its identity, and whom it expects.

use std::future::Future;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use attestation::identity::SpiffeId;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::{DnsName, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::{Error, Files, Identity, svid};

/// Seconds that a connection may take, with its handshake.
pub const CONNECT_SECONDS_MAX: u64 = 10;
/// Between two questions whether the other end is still there, and how long it may take to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Whom a client expects: one workload, or one name. Nobody else of the same authorities will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// The one with this SPIFFE ID, wherever it was reached.
    SpiffeId(SpiffeId),
    /// One whose certificate has this name, wherever it was reached.
    Name(DnsName<'static>),
}

/// Connects by mutual TLS.
#[derive(Clone)]
pub struct Client {
    identity: Source,
    expected: Expected,
}

#[derive(Clone)]
enum Source {
    /// Follows the Workload API by itself.
    Spiffe(Arc<ClientConfig>),
    Files(Files),
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of this identity, which is obtained before anything is sent. By the Workload API it needs a Tokio runtime,
    /// which follows it from then on.
    ///
    /// # Errors
    /// If the identity cannot be had, or who is expected could never be found by it.
    pub async fn new(identity: &Identity, expected: Expected) -> Result<Self, Error> {
        let identity = match (identity, &expected) {
            (Identity::Spiffe { socket }, Expected::SpiffeId(id)) => {
                Source::Spiffe(Arc::new(svid::client(socket.as_deref(), id).await?))
            }
            (Identity::Spiffe { .. }, Expected::Name(name)) => {
                return Err(Error::NameAmongSvids(name.as_ref().to_owned()));
            }
            (Identity::Files(files), expected) => {
                files.client(expected)?;
                Source::Files(files.clone())
            }
        };
        Ok(Self { identity, expected })
    }

    /// A channel to a host. It connects anew where a connection ends, each time with the identity as it is then.
    ///
    /// # Errors
    /// If the first connection fails.
    pub async fn connect(&self, host: &str, port: u16) -> Result<Channel, Error> {
        let (endpoint, name) = (endpoint(host, port)?, self.name(host)?);
        let connector = { self.clone() }.connector(host.to_owned(), port, name);
        let connected = endpoint.connect_with_connector(tower::service_fn(connector)).await;
        connected.map_err(|source| Error::Connect { host: host.to_owned(), port, source })
    }

    /// The same, without a connection yet: each request that finds none tries to make one.
    ///
    /// # Errors
    /// If the host is none.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn channel(&self, host: &str, port: u16) -> Result<Channel, Error> {
        let (endpoint, name) = (endpoint(host, port)?, self.name(host)?);
        let connector = { self.clone() }.connector(host.to_owned(), port, name);
        Ok(endpoint.connect_with_connector_lazy(tower::service_fn(connector)))
    }

    /// What is said of the host in the handshake, and looked for in the certificate where a name is expected.
    fn name(&self, host: &str) -> Result<ServerName<'static>, Error> {
        match &self.expected {
            Expected::Name(name) => Ok(ServerName::DnsName(name.clone())),
            Expected::SpiffeId(_) => ServerName::try_from(host.to_owned()).map_err(|_| Error::Host(host.to_owned())),
        }
    }

    fn connector<U>(
        self,
        host: String,
        port: u16,
        name: ServerName<'static>,
    ) -> impl FnMut(U) -> futures_util::future::BoxFuture<'static, io::Result<TokioIo<TlsStream<TcpStream>>>> + Send + 'static
    {
        let target = Arc::new((self, host, name));
        move |_| {
            let target = Arc::clone(&target);
            Box::pin(within(async move {
                let (client, host, name) = &*target;
                let config = client.config().await?;
                let stream = TcpStream::connect((host.as_str(), port)).await?;
                stream.set_nodelay(true)?;
                let stream = TlsConnector::from(config).connect(name.clone(), stream).await?;
                let version = stream.get_ref().1.protocol_version();
                // Whether rustls speaks anything else is decided by whoever else is built in.
                let modern = version == Some(ProtocolVersion::TLSv1_3);
                if modern { Ok(TokioIo::new(stream)) } else { Err(io::Error::other("it is not TLS 1.3")) }
            }))
        }
    }

    /// What the next connection is made with.
    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        match &self.identity {
            Source::Spiffe(config) => Ok(Arc::clone(config)),
            Source::Files(files) => {
                let (files, expected) = (files.clone(), self.expected.clone());
                let config = tokio::task::spawn_blocking(move || files.client(&expected)).await?;
                Ok(Arc::new(config.map_err(io::Error::other)?))
            }
        }
    }
}

async fn within<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let limit = Duration::from_secs(CONNECT_SECONDS_MAX);
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("nothing came of it within {CONNECT_SECONDS_MAX} s"));
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| Err(late()))
}

/// Plain HTTP to tonic, which does not know that the connector makes it TLS; what the server sees says so.
fn endpoint(host: &str, port: u16) -> Result<Endpoint, Error> {
    let no_host = || Error::Host(host.to_owned());
    // What else an address may have would be read as part of one.
    ServerName::try_from(host).map_err(|_| no_host())?;
    let authority =
        if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let origin = format!("https://{authority}").parse().map_err(|_| no_host())?;
    let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|_| no_host())?;
    let (interval, timeout) = KEEP_ALIVE;
    let endpoint = endpoint.origin(origin).http2_keep_alive_interval(interval).keep_alive_timeout(timeout);
    Ok(endpoint.keep_alive_while_idle(true))
}
