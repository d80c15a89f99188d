//! Timestamps of RFC 3161: an authority's signed word that a signature existed at a time.
//!
//! A token shows that who made the signature had it before the token's time. It does not show that what was signed is true,
//! nor how long before that time it was made. The room asks for tokens (a request and what is to be made of its answer, both as
//! bytes) and holds tokens against authorities that were given. Signatures and paths are checked by webpki, the messages
//! are those of the cms crate.
//!
//! Sources: RFC 3161, RFC 5816 (SigningCertificateV2), RFC 5652 (signed data).

mod authority;
mod request;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod wire;

pub use authority::{Authority, AuthorityError};
pub use request::{Request, ResponseError};
pub use token::{Token, TokenError};

/// Bytes of a token at most, as an envelope carries it: as many of them as a signature may have fit in the field that it has for
/// them.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
