//! Mutual TLS for gRPC, at both ends (and, for an API that knows tokens as well, a server that takes guests without a certificate): each shows a certificate and holds the other's against authorities, by SPIFFE's
//! X.509-SVIDs of a Workload API or by files.
//!
//! - TLS 1.3 alone, and no resumption: a session that is resumed is not held against the authorities again.
//! - What is renewed is used by the next connection, without a restart. A connection that stands outlives the certificates
//!   that it was made with: a server ends connections at an age (`max_connection_age`) where that matters.
//! - A client names whom it expects. Whoever else has a certificate of the same authorities is refused.
//! - Where an identity cannot be had any more, new connections fail; none is made by what was read before.
//!
//! What a handshake does not prove: that a certificate was not revoked, which nobody is asked about, nor that an authority
//! itself has not expired, which TLS asks of no anchor of trust.
#![forbid(unsafe_code)]

mod accept;
mod accepted;
mod bundles;
mod client;
mod door;
mod error;
mod files;
mod guest;
mod peer;
mod rate;
mod server;
mod settings;
mod svid;
mod verifier;

pub use accept::{HANDSHAKE_SECONDS_MAX, HANDSHAKES_MAX};
pub use accepted::Accepted;
pub use bundles::Bundles;
pub use client::{CONNECT_SECONDS_MAX, Client, Expected};
pub use error::{Error, Refusal, Refused};
pub use files::{FILE_BYTES_MAX, Files};
pub use guest::Guest;
pub use peer::{Peer, Peers};
pub use rate::Rate;
pub use rustls_pki_types::DnsName;
pub use server::Server;
pub use settings::{FROM_ENVIRONMENT, Identity, Settings};

pub(crate) use door::Door;

/// What is spoken inside: HTTP/2.
const ALPN: &[u8] = b"h2";
