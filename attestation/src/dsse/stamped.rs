//! Adding timestamps to an envelope that is there already: text is put into it, and no byte of what it has is changed.

use super::attached::{TIMESTAMPS_MAX, Timestamps};
use super::read::{ENVELOPE_BYTES_MAX, Envelope, EnvelopeError};
use super::write::timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

/// Why an envelope has no new timestamps.
#[derive(Debug, Error)]
pub enum AttachError<E: std::error::Error + 'static> {
    /// It is none, or would be none any more.
    #[error("no envelope that could be read")]
    Envelope(#[from] EnvelopeError),
    /// A signature would have too many, or too large ones, or has something else in their place.
    #[error("signature {0} has timestamps that cannot be read, or would have more than {TIMESTAMPS_MAX}")]
    Timestamps(usize),
    /// None was given.
    #[error("signature {place} was not stamped")]
    Stamp {
        /// Its place, from 1.
        place: usize,
        /// Why.
        source: E,
    },
}

#[derive(Deserialize)]
struct Signatures<'a> {
    #[serde(borrow)]
    signatures: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Stamped<'a> {
    #[serde(default, borrow)]
    timestamps: Option<&'a RawValue>,
}

/// The same envelope, with the timestamps that `stamp` gives for each signature's bytes: tokens of RFC 3161 in DER. They come after
/// those that it has.
///
/// # Errors
/// Why not. What would be made is read as a verifier reads it before it is handed out.
pub fn attach_timestamps<E, F>(envelope: &[u8], mut stamp: F) -> Result<Vec<u8>, AttachError<E>>
where
    E: std::error::Error + 'static,
    F: FnMut(&[u8]) -> Result<Vec<Vec<u8>>, E>,
{
    let before = Envelope::from_bytes(envelope)?;
    let raw = serde_json::from_slice::<Signatures<'_>>(envelope).map_err(EnvelopeError::NotJson)?.signatures;
    let (mut out, mut done, mut expected) = (Vec::with_capacity(envelope.len()), 0, Vec::new());
    for (place, (raw, signature)) in (1..).zip(raw.iter().zip(before.signatures())) {
        let Timestamps::Tokens(old) = signature.timestamps() else { return Err(AttachError::Timestamps(place)) };
        let new = stamp(signature.bytes()).map_err(|source| AttachError::Stamp { place, source })?;
        if let Some((within, text)) = addition(raw.get(), &new).map_err(EnvelopeError::NotJson)? {
            let at = offset(envelope, raw.get()) + within;
            out.extend_from_slice(envelope.get(done..at).unwrap_or_default());
            out.extend_from_slice(text.as_bytes());
            done = at;
        }
        expected.push([old.as_slice(), &new].concat());
    }
    out.extend_from_slice(envelope.get(done..).unwrap_or_default());
    if out.len() > ENVELOPE_BYTES_MAX {
        return Err(EnvelopeError::TooLarge { max: ENVELOPE_BYTES_MAX }.into());
    }
    for (place, (signature, expected)) in (1..).zip(Envelope::from_bytes(&out)?.signatures().iter().zip(expected)) {
        if *signature.timestamps() != Timestamps::Tokens(expected) {
            return Err(AttachError::Timestamps(place));
        }
    }
    Ok(out)
}

/// Where in a signature's text which text is put; none for no token.
fn addition(signature: &str, tokens: &[Vec<u8>]) -> Result<Option<(usize, String)>, serde_json::Error> {
    let list: Vec<String> = tokens.iter().map(|token| timestamp(token)).collect();
    if list.is_empty() {
        return Ok(None);
    }
    let list = list.join(",");
    // Before what ends the object, or the list that it has: one byte each.
    Ok(Some(match serde_json::from_str::<Stamped<'_>>(signature)?.timestamps.map(RawValue::get) {
        None => (signature.len() - 1, format!(",\"timestamps\":[{list}]")),
        Some(old) => {
            let empty = old.trim_start_matches('[').trim_start().starts_with(']');
            let comma = if empty { "" } else { "," };
            (offset(signature.as_bytes(), old) + old.len() - 1, format!("{comma}{list}"))
        }
    }))
}

/// Where a part of a text begins in it.
fn offset(whole: &[u8], part: &str) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}
