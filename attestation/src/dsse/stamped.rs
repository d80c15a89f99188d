//! Adding timestamps to an envelope that is there already: nothing of what it has is changed.

use super::attached::{TIMESTAMPS_MAX, TSP};
use super::read::{Envelope, EnvelopeError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// Why an envelope has no new timestamps.
#[derive(Debug, Error)]
pub enum AttachError<E: std::error::Error + 'static> {
    /// It is none.
    #[error("no envelope that could be read")]
    Envelope(#[from] EnvelopeError),
    /// A signature would have too many, or has something else in their place.
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

/// The same envelope, with the timestamps that `stamp` gives for each signature's bytes: tokens of RFC 3161 in DER. They come after
/// those that it has.
///
/// # Errors
/// Why not; nothing was changed then.
pub fn attach_timestamps<E, F>(envelope: &[u8], mut stamp: F) -> Result<Vec<u8>, AttachError<E>>
where
    E: std::error::Error + 'static,
    F: FnMut(&[u8]) -> Result<Vec<Vec<u8>>, E>,
{
    let read = Envelope::from_bytes(envelope)?;
    let mut whole: Map<String, Value> = serde_json::from_slice(envelope).map_err(EnvelopeError::NotJson)?;
    let signatures = whole.get_mut("signatures").and_then(Value::as_array_mut).map(Vec::as_mut_slice);
    for (place, (json, signature)) in (1..).zip(signatures.unwrap_or_default().iter_mut().zip(read.signatures())) {
        let tokens = stamp(signature.bytes()).map_err(|source| AttachError::Stamp { place, source })?;
        let fields = json.as_object_mut().ok_or(AttachError::Timestamps(place))?;
        let timestamps = fields.entry("timestamps").or_insert_with(|| json!([]));
        let timestamps = timestamps.as_array_mut().ok_or(AttachError::Timestamps(place))?;
        timestamps.extend(tokens.iter().map(|token| json!({"type": TSP, "data": STANDARD.encode(token)})));
        if timestamps.len() > TIMESTAMPS_MAX {
            return Err(AttachError::Timestamps(place));
        }
    }
    let mut bytes = serde_json::to_vec(&whole).map_err(EnvelopeError::NotJson)?;
    bytes.push(b'\n');
    Ok(bytes)
}
