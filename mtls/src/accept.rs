//! Accepting: many handshakes at a time, of which none can hold up or end the others.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use rustls::ProtocolVersion;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::{Door, Guest, Peer, Refusal, Refused, Server};

/// Handshakes at a time at most. Who connects and says nothing takes one of them for as long as it may take.
pub const HANDSHAKES_MAX: usize = 64;
/// Seconds that a handshake may take.
pub const HANDSHAKE_SECONDS_MAX: u64 = 10;
/// After the system gave no connection, as it does not while there are no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Acceptor {
    server: Server,
    taken: mpsc::Sender<Guest>,
}

impl Acceptor {
    pub(crate) fn start(server: Server, listener: TcpListener) -> impl Stream<Item = io::Result<Guest>> + Send + use<> {
        let (taken, receiver) = mpsc::channel(1);
        tokio::spawn(Arc::new(Self { server, taken }).run(listener));
        stream::unfold(receiver, |mut receiver| async move { Some((Ok(receiver.recv().await?), receiver)) })
    }

    async fn run(self: Arc<Self>, listener: TcpListener) {
        // Dropped, it ends those that run.
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                () = self.taken.closed() => return,
                Some(ended) = handshakes.join_next() => {
                    if let Err(error) = ended {
                        self.server.refuse(Refused { from: None, why: Refusal::BrokeOff(error) });
                    }
                }
                accepted = listener.accept(), if handshakes.len() < HANDSHAKES_MAX => match accepted {
                    Ok((stream, from)) => drop(handshakes.spawn(Arc::clone(&self).handshake(stream, from))),
                    Err(error) => {
                        self.server.refuse(Refused { from: None, why: Refusal::Accept(error) });
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    async fn handshake(self: Arc<Self>, stream: TcpStream, from: SocketAddr) {
        let limit = Duration::from_secs(HANDSHAKE_SECONDS_MAX);
        let accepted = within(limit, self.take(stream, from)).await;
        match accepted {
            // Who drops the stream meanwhile wants no more connections.
            Ok(accepted) => drop(self.taken.send(accepted).await),
            Err(why) => self.server.refuse(Refused { from: Some(from), why }),
        }
    }

    async fn take(&self, stream: TcpStream, from: SocketAddr) -> Result<Guest, Refusal> {
        let config = self.server.config().await?;
        stream.set_nodelay(true).map_err(Refusal::Accept)?;
        let stream = TlsAcceptor::from(config).accept(stream).await.map_err(Refusal::Handshake)?;
        let (_, session) = stream.get_ref();
        // Whether rustls speaks anything else is decided by whoever else is built in.
        if session.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Err(Refusal::Version);
        }
        // Its verifier saw to both already.
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let peer = certificate.map(|certificate| Peer::of(certificate, from));
        match &peer {
            None if self.server.door() == Door::Guests => {}
            None => return Err(Refusal::Peer("who has no certificate".to_owned())),
            Some(peer) if self.server.allowed().allow(peer.spiffe_id.as_ref()) => {}
            Some(peer) => return Err(Refusal::Peer(peer.to_string())),
        }
        Ok(Guest { stream, peer, address: from })
    }
}

async fn within<T>(limit: Duration, future: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tokio::time::timeout(limit, future).await.unwrap_or(Err(Refusal::Late))
}
