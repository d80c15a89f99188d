//! Quotes of a TPM 2.0: what a key that never leaves its TPM says of registers, under bytes that the asker chose; and the logs of
//! what registers were extended with by firmware and kernel.
//!
//! A quote shows that the TPM with this key had these values at some time after the asker's bytes were known. Which machine that
//! is, the key's enrolment says; that its registers were extended by the kernel that ran, nothing here.
//!
//! Structures are read by tpm2-protocol, signatures checked by webpki's algorithms.
//!
//! Sources: TPM 2.0 Library, part 1 (sections 16, 17 and 31) and part 2 (TPMS_ATTEST, TPMT_PUBLIC, TPMT_SIGNATURE).

mod credential;
pub mod event_log;
pub mod ima;
mod key;
mod maker;
mod public;
mod quote;
mod registers;
#[cfg(test)]
mod tests;

pub use credential::{Credential, CredentialError, EndorsementKey, SECRET_BYTES};
pub use ima::IMA_PCR;
pub use key::{AttestationKey, KeyError, SigningKey, signature_to_der};
pub use maker::{MakerError, Makers};
pub use quote::{Quote, QuoteError, Quoted};
pub use registers::{PCRS, PcrValues, extended};

/// Bytes of a structure of a TPM's at most: what fits in one of its commands.
pub const STRUCTURE_BYTES_MAX: usize = 4096;

/// A structure that takes all of its bytes.
fn whole<T: tpm2_protocol::TpmUnmarshal>(bytes: &[u8]) -> Option<T> {
    if bytes.len() > STRUCTURE_BYTES_MAX {
        return None;
    }
    T::unmarshal(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}
