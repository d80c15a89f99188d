//! Who is let in to be asked who it is.

use crate::ALPN;

/// HTTP as others speak it.
const HTTP_1: &[u8] = b"http/1.1";

/// What a server's door is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Nobody without a certificate; gRPC inside.
    Mutual,
    /// Also who shows none, where the identity is in files; HTTP inside.
    Guests,
}

impl Door {
    /// What is spoken inside.
    pub(crate) fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Mutual => vec![ALPN.to_vec()],
            Self::Guests => vec![ALPN.to_vec(), HTTP_1.to_vec()],
        }
    }
}
