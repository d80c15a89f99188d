//! What a log has of an envelope: the digest of its payload and those of its signatures, as lines of text.

use crate::dsse::{Envelope, SIGNATURES_MAX, Signature};
use crate::hex;
use crate::merkle::Hash;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

const HEADER: &str = "testimony-receipt/v1";
const PAYLOAD: &str = "payload sha256:";
const SIGNATURE: &str = "signature sha256:";

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    payload: Hash,
    signatures: Vec<Hash>,
}

impl Entry {
    /// The entry of an envelope: SHA-256 of its payload, and the bytes of each signature.
    #[must_use]
    pub fn new<'a>(payload_sha256: Hash, signatures: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let digest = |signature: &'a [u8]| Hash::from(Sha256::digest(signature));
        Self { payload: payload_sha256, signatures: signatures.into_iter().map(digest).collect() }
    }

    /// The entry of this envelope, whoever signed it.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        Self::new(envelope.payload_sha256(), envelope.signatures().iter().map(Signature::bytes))
    }

    /// The entry of the signatures at these places, which is the same in whatever order they stand there, how often each, and beside
    /// whatever others. Without any, that of all.
    #[must_use]
    pub fn of_places(envelope: &Envelope, places: &[usize]) -> Self {
        if places.is_empty() {
            return Self::of(envelope);
        }
        let signatures = places.iter().filter_map(|place| envelope.signatures().get(*place));
        let mut entry = Self::new(envelope.payload_sha256(), signatures.map(Signature::bytes));
        entry.signatures.sort_unstable();
        entry.signatures.dedup();
        entry
    }

    /// The bytes that are the log's leaf.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n{PAYLOAD}{}\n", hex::encode(&self.payload));
        for signature in &self.signatures {
            let _ = writeln!(text, "{SIGNATURE}{}", hex::encode(signature));
        }
        text.into_bytes()
    }

    /// Reads an entry in its one form.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split('\n');
        if lines.next()? != HEADER {
            return None;
        }
        let digest = |line: &str, field: &str| hex::decode_sha256(line.strip_prefix(field)?);
        let payload = digest(lines.next()?, PAYLOAD)?;
        let signatures: Vec<Hash> = lines.map(|line| digest(line, SIGNATURE)).collect::<Option<_>>()?;
        (1..=SIGNATURES_MAX).contains(&signatures.len()).then_some(Self { payload, signatures })
    }

    /// Whether it is of the same payload, and of no signature that the other one does not have: a log may have fewer of an envelope than
    /// were sent to it, and in another order.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.payload == other.payload && self.signatures.iter().all(|signature| other.signatures.contains(signature))
    }

    /// SHA-256 of the payload.
    #[must_use]
    pub fn payload_sha256(&self) -> &Hash {
        &self.payload
    }

    /// Whether a signature is among those that were logged.
    #[must_use]
    pub fn has(&self, signature: &[u8]) -> bool {
        self.signatures.contains(&Hash::from(Sha256::digest(signature)))
    }
}
