//! Connections that were taken, as many as there may be: each takes a place until it ends.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use attestation::escape::escape;
use futures_util::{Stream, StreamExt as _};
use mtls::{Accepted, Peer, Rate};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::peers::{Peers, Place};

/// Lines of a kind that strangers can cause, in a time.
pub(crate) const LINES_MAX: u32 = 5;
pub(crate) const LINES_PER: Duration = Duration::from_secs(60);

/// A connection that has a place.
pub(crate) struct Admitted {
    stream: Accepted,
    _place: Place,
}

/// Those that find a place; others end at once, which is said at a limited rate.
pub(crate) fn admit(
    connections: impl Stream<Item = io::Result<Accepted>> + Send,
    peers: Arc<Peers>,
) -> impl Stream<Item = io::Result<Admitted>> + Send {
    let full = Arc::new(Rate::new(LINES_MAX, LINES_PER));
    connections.filter_map(move |accepted| {
        let admitted = accepted.map(|stream| {
            let peer = stream.peer().to_string();
            match peers.connection(&peer) {
                Ok(place) => Some(Admitted { stream, _place: place }),
                Err(why) => {
                    let peer = escape(peer.as_bytes());
                    full.tell(|more| {
                        eprintln!("testimony-collector: a connection of {peer} was not taken: {why}{more}")
                    });
                    None
                }
            }
        });
        std::future::ready(admitted.transpose())
    })
}

impl Connected for Admitted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.stream.connect_info()
    }
}

impl AsyncRead for Admitted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
