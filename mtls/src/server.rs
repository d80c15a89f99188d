//! The server's end: its identity, and who may connect.

use std::sync::Arc;
use std::{fmt, io};

use futures_util::{Stream, StreamExt as _};
use rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::accept::Acceptor;
use crate::{Accepted, Bundles, Door, Error, Files, Guest, Identity, Peers, Refusal, Refused, svid};

/// Takes connections by mutual TLS.
pub struct Server {
    identity: Source,
    allowed: Peers,
    door: Door,
    refused: Box<dyn Fn(Refused) + Send + Sync>,
}

enum Source {
    /// Follows the Workload API by itself.
    Spiffe(Arc<ServerConfig>, spiffe::X509Source),
    Files(Files),
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Server {
    /// A server of this identity, which is obtained before anything listens. By the Workload API it needs a Tokio runtime,
    /// which follows it from then on.
    ///
    /// # Errors
    /// If the identity cannot be had.
    pub async fn new(identity: &Identity, allowed: Peers) -> Result<Self, Error> {
        Self::with_door(identity, allowed, Door::Mutual).await
    }

    /// The same that lets in guests, for [`Self::accept_guests`]: who shows a certificate of the authorities, whoever that is, and, where the
    /// identity is in files, who shows none. By X.509-SVIDs of a Workload API everybody has to show one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn for_guests(identity: &Identity) -> Result<Self, Error> {
        Self::with_door(identity, Peers::Any, Door::Guests).await
    }

    async fn with_door(identity: &Identity, allowed: Peers, door: Door) -> Result<Self, Error> {
        let identity = match identity {
            Identity::Spiffe { socket } => {
                let (config, source) = svid::server(socket.as_deref(), allowed.clone(), door).await?;
                Source::Spiffe(Arc::new(config), source)
            }
            Identity::Files(files) => {
                files.server(&allowed, door)?;
                Source::Files(files.clone())
            }
        };
        Ok(Self { identity, allowed, door, refused: Box::new(drop) })
    }

    /// The trust bundles of the Workload API that the identity is of; none where it is of files.
    #[must_use]
    pub fn bundles(&self) -> Option<Bundles> {
        match &self.identity {
            Source::Spiffe(_, source) => Some(Bundles::of(source.clone())),
            Source::Files(_) => None,
        }
    }

    /// Calls this for each connection that is not taken, to count it, and to log it at a limited rate: anybody who reaches
    /// the port can cause it.
    #[must_use]
    pub fn on_refused(mut self, refused: impl Fn(Refused) + Send + Sync + 'static) -> Self {
        self.refused = Box::new(refused);
        self
    }

    /// Connections that were taken, for `serve_with_incoming`. It has no errors, and ends only if the task behind it does,
    /// which panics alone can bring about; that task ends when the stream is dropped.
    ///
    /// At most [`HANDSHAKES_MAX`](crate::HANDSHAKES_MAX) handshakes run at a time, each for at most
    /// [`HANDSHAKE_SECONDS_MAX`](crate::HANDSHAKE_SECONDS_MAX). While so many run, others wait in the listener's backlog. How
    /// many connections that were taken stand at a time is not limited here: whoever serves them knows what they cost.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn accept(self, listener: TcpListener) -> impl Stream<Item = io::Result<Accepted>> + Send + use<> {
        Acceptor::start(self, listener).map(|guest| {
            let Guest { stream, peer, address } = guest?;
            let peer = peer.ok_or_else(|| io::Error::other(format!("{address} has no certificate")))?;
            Ok(Accepted::new(stream, peer))
        })
    }

    /// The same of guests.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn accept_guests(self, listener: TcpListener) -> impl Stream<Item = io::Result<Guest>> + Send + use<> {
        Acceptor::start(self, listener)
    }

    /// What the next connection is made with.
    pub(crate) async fn config(&self) -> Result<Arc<ServerConfig>, Refusal> {
        match &self.identity {
            Source::Spiffe(config, _) => Ok(Arc::clone(config)),
            Source::Files(files) => {
                let (files, allowed, door) = (files.clone(), self.allowed.clone(), self.door);
                let config = tokio::task::spawn_blocking(move || files.server(&allowed, door));
                let config = config.await.map_err(Refusal::BrokeOff)?;
                Ok(Arc::new(config.map_err(Refusal::Identity)?))
            }
        }
    }

    pub(crate) fn door(&self) -> Door {
        self.door
    }

    pub(crate) fn allowed(&self) -> &Peers {
        &self.allowed
    }

    pub(crate) fn refuse(&self, refused: Refused) {
        (self.refused)(refused);
    }
}
