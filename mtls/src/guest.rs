//! A connection that was taken of somebody who may have shown no certificate.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::Peer;

/// A connection whose other end may not be known.
#[derive(Debug)]
pub struct Guest {
    /// What is said.
    pub stream: TlsStream<TcpStream>,
    /// Who is at the other end; none who showed no certificate. One that does not hold ends the handshake.
    pub peer: Option<Peer>,
    /// From where.
    pub address: SocketAddr,
}
