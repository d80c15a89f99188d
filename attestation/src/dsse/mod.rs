//! DSSE 1.0.2 envelopes: the payload's bytes are signed with their type, and only verified bytes are handed out.
//!
//! The signature is ECDSA over P-256 and SHA-256 in DER, as cosign and securesystemslib make and take it. A `keyid` is a
//! hint and decides nothing. What a signature does not show: that what it signs is true, or when it was made.

mod attached;
mod key;
mod read;
mod stamped;
#[cfg(test)]
mod tests;
mod write;

pub use attached::{Certificates, TIMESTAMPS_MAX, Timestamps};
pub use key::{KeyError, KeyFile, PublicKey, SignError, Signer};
pub use read::{ENVELOPE_BYTES_MAX, Envelope, EnvelopeError, SIGNATURES_MAX, Signature, Verified, read};
pub use stamped::{AttachError, attach_timestamps};
pub use write::{WriteError, Written, write_envelope, write_stamped};

/// `payloadType` of in-toto statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Bytes of a payload at most: what base64 leaves of an envelope of [`ENVELOPE_BYTES_MAX`], less 1 MiB.
pub const PAYLOAD_BYTES_MAX: u64 = (ENVELOPE_BYTES_MAX as u64 / 4 * 3) - (1 << 20);

/// The beginning of DSSE's pre-authentication encoding; the payload's bytes follow.
#[must_use]
pub fn pae_prefix(payload_type: &str, payload_bytes: u64) -> Vec<u8> {
    format!("DSSEv1 {} {payload_type} {payload_bytes} ", payload_type.len()).into_bytes()
}
