//! Reading an envelope: a size limit, strict JSON, both base64 alphabets, and the payload only after a signature held.

use super::attached::{Certificates, Timestamps};
use super::key::PublicKey;
use super::{PAYLOAD_TYPE, pae_prefix};
use crate::json::{Bounded, Object};
use crate::merkle::Hash;
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::io::{self, Read};
use thiserror::Error;

/// Bytes of an envelope at most: 256 MiB.
pub const ENVELOPE_BYTES_MAX: usize = 256 << 20;
/// Signatures of an envelope at most.
pub const SIGNATURES_MAX: usize = 16;
/// Bytes of a signature at most.
pub(super) const SIGNATURE_BYTES_MAX: usize = 1024;

/// Why bytes are no envelope, or one that is not trusted.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// The input failed.
    #[error("the envelope could not be read")]
    Io(#[source] io::Error),
    /// The file is over [`ENVELOPE_BYTES_MAX`].
    #[error("the envelope is over the limit of {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// The JSON ends before the envelope does.
    #[error("the file ends in the middle of its envelope")]
    Cut,
    /// The bytes are no envelope in JSON.
    #[error("no DSSE envelope")]
    NotJson(#[source] serde_json::Error),
    /// A field is no base64, or a signature over 1 KiB.
    #[error("{0} is no base64")]
    NotBase64(&'static str),
    /// No signature at all, or over [`SIGNATURES_MAX`].
    #[error("an envelope has 1 to {SIGNATURES_MAX} signatures, not {0}")]
    Signatures(usize),
    /// The payload is of another type.
    #[error("the payload is no in-toto statement")]
    PayloadType,
    /// No signature by any of the trusted keys.
    #[error("no signature by a trusted key holds")]
    Untrusted,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "payloadType", borrow)]
    payload_type: Cow<'a, str>,
    #[serde(borrow)]
    payload: Cow<'a, str>,
    // One more than may be is enough to know; what follows is not kept.
    #[serde(borrow)]
    signatures: Bounded<Object<WireSignature<'a>>, { SIGNATURES_MAX + 1 }>,
}

#[derive(Deserialize)]
struct WireSignature<'a> {
    #[serde(borrow)]
    sig: Cow<'a, str>,
    #[serde(default, borrow)]
    keyid: Option<Cow<'a, str>>,
    // Of no use to who trusts keys: whatever stands there, it costs nobody the envelope.
    #[serde(default, borrow)]
    certificate: Option<&'a RawValue>,
    #[serde(default, borrow)]
    intermediates: Option<&'a RawValue>,
    #[serde(default, borrow)]
    timestamps: Option<&'a RawValue>,
}

/// An envelope that was read and not yet verified. It keeps its payload to itself.
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
    /// SHA-256 of what is signed, once it was asked for.
    digest: OnceCell<Hash>,
}

/// A signature and what it carries. Nothing of it is verified.
pub struct Signature {
    bytes: Vec<u8>,
    keyid: String,
    certificates: Certificates,
    timestamps: Timestamps,
}

impl Signature {
    /// Its bytes: an ECDSA signature in DER, if it is one of ours. This is what a timestamp is over.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whose key it is, by the word of an authority.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Whether it carries anything of that kind.
    #[must_use]
    pub fn is_certified(&self) -> bool {
        !matches!(self.certificates, Certificates::None)
    }

    /// When it existed, by the word of an authority.
    #[must_use]
    pub fn timestamps(&self) -> &Timestamps {
        &self.timestamps
    }
}

/// A payload under a signature that held.
#[derive(Debug)]
pub struct Verified {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// SHA-256 of them.
    pub payload_sha256: Hash,
    /// Ids of the trusted keys whose signature held, made from the keys and not from the envelope.
    pub keyids: Vec<String>,
    /// Each signature that held, by its place, and the id of a key that it held under.
    pub held: Vec<(usize, String)>,
}

/// Reads an envelope of at most [`ENVELOPE_BYTES_MAX`] bytes.
///
/// # Errors
/// Why it is none.
pub fn read(input: impl Read) -> Result<Envelope, EnvelopeError> {
    read_at_most(input, ENVELOPE_BYTES_MAX)
}

pub(super) fn read_at_most(input: impl Read, max: usize) -> Result<Envelope, EnvelopeError> {
    let mut bytes = Vec::new();
    input.take(max as u64 + 1).read_to_end(&mut bytes).map_err(EnvelopeError::Io)?;
    if bytes.len() > max {
        return Err(EnvelopeError::TooLarge { max });
    }
    Envelope::from_bytes(&bytes)
}

impl Envelope {
    /// Reads an envelope.
    ///
    /// # Errors
    /// Why the bytes are none. Fields that DSSE does not know are ignored; a field that stands twice is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let Object(wire) = serde_json::from_slice::<Object<Wire<'_>>>(bytes).map_err(|error| match error.is_eof() {
            _ if bytes.is_empty() => EnvelopeError::Empty,
            true => EnvelopeError::Cut,
            false => EnvelopeError::NotJson(error),
        })?;
        let Bounded(listed) = &wire.signatures;
        if listed.is_empty() || listed.len() > SIGNATURES_MAX {
            return Err(EnvelopeError::Signatures(listed.len()));
        }
        let payload = decode(&wire.payload).ok_or(EnvelopeError::NotBase64("payload"))?;
        let mut signatures = Vec::with_capacity(listed.len());
        for Object(signature) in listed {
            let sig = decode(&signature.sig).filter(|sig| sig.len() <= SIGNATURE_BYTES_MAX);
            let sig = sig.ok_or(EnvelopeError::NotBase64("sig"))?;
            let keyid = signature.keyid.as_deref().unwrap_or_default().to_owned();
            let certificates = Certificates::read(signature.certificate, signature.intermediates);
            let timestamps = Timestamps::read(signature.timestamps);
            signatures.push(Signature { bytes: sig, keyid, certificates, timestamps });
        }
        let payload_type = wire.payload_type.into_owned();
        Ok(Self { payload_type, payload, signatures, digest: OnceCell::new() })
    }

    /// The signatures, in their order.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The key ids that the envelope names: hints, unverified, any text.
    pub fn claimed_keyids(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|signature| signature.keyid.as_str())
    }

    /// The payload, if at least one signature by one of `keys` holds over it.
    ///
    /// # Errors
    /// [`EnvelopeError::PayloadType`] or [`EnvelopeError::Untrusted`]; without keys always the latter.
    pub fn verify(self, keys: &[PublicKey]) -> Result<Verified, EnvelopeError> {
        self.verify_each(keys, |_| None, false)
    }

    /// The same, with a key besides that is trusted for one signature alone, by its place: what vouches for that signature
    /// (its certificate, its timestamp) says nothing of another by the same key. `vouched` is for a payload that something else than
    /// its envelope vouches for: no signature has to hold then.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_each<'a>(
        self,
        keys: &'a [PublicKey],
        own: impl Fn(usize) -> Option<&'a PublicKey>,
        vouched: bool,
    ) -> Result<Verified, EnvelopeError> {
        let (mut keyids, mut held) = (Vec::new(), Vec::new());
        for place in 0..self.signatures.len() {
            for key in keys.iter().chain(own(place)).filter(|key| self.is_signed_by(place, key)) {
                held.push((place, key.keyid().to_owned()));
                if !keyids.iter().any(|keyid| keyid == key.keyid()) {
                    keyids.push(key.keyid().to_owned());
                }
            }
        }
        if keyids.is_empty() && !vouched {
            return Err(EnvelopeError::Untrusted);
        }
        if self.payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::PayloadType);
        }
        let payload_sha256 = self.payload_sha256();
        Ok(Verified { payload: self.payload, payload_sha256, keyids, held })
    }

    /// SHA-256 of the payload. Nothing says yet whose it is.
    pub(crate) fn payload_sha256(&self) -> Hash {
        Sha256::digest(&self.payload).into()
    }

    /// Whether a signature, by its place, is this key's over the payload. That makes the key no anchor.
    #[must_use]
    pub fn is_signed_by(&self, place: usize, key: &PublicKey) -> bool {
        let digest = self.digest.get_or_init(|| {
            let pae = pae_prefix(&self.payload_type, self.payload.len() as u64);
            Sha256::new_with_prefix(pae).chain_update(&self.payload).finalize().into()
        });
        self.signatures.get(place).is_some_and(|signature| key.verifies(digest, &signature.bytes))
    }

    /// Whether it has an in-toto statement, and one of these keys signed it.
    pub(crate) fn is_signed_by_any(&self, keys: &[PublicKey]) -> bool {
        let signed = |key| (0..self.signatures.len()).any(|place| self.is_signed_by(place, key));
        self.payload_type == PAYLOAD_TYPE && keys.iter().any(signed)
    }

    /// The payload without any verification.
    pub(crate) fn unverified(&self) -> &[u8] {
        &self.payload
    }

    /// The payload without any verification, for showing what a file says.
    #[must_use]
    pub fn into_unverified(self) -> Vec<u8> {
        self.payload
    }
}

/// Base64 of either alphabet, never of both; with all of its padding or none.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let padding =
        if text.ends_with('=') { DecodePaddingMode::RequireCanonical } else { DecodePaddingMode::RequireNone };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(padding);
    let alphabet: &Alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}
