//! What a signature carries that nothing signs: certificates that say whose key it is, timestamps that say when it existed.
//! The forms are those of go-witness. Anybody can have written them; whatever stands there, it costs nobody who trusts keys
//! the envelope.

use super::read::decode;
use crate::json::Object;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::iter;

/// Bytes that the certificates of a signature have in the JSON at most: `certificate`, and all `intermediates`; its
/// timestamps too.
pub(super) const ATTACHED_BYTES_MAX: usize = 256 << 10;
/// Timestamps of a signature at most.
pub const TIMESTAMPS_MAX: usize = 8;
/// The type of a timestamp of RFC 3161.
pub(super) const TSP: &str = "tsp";

/// Certificates that a signature carries, as go-witness writes them: `certificate` and `intermediates`, each in PEM, in
/// base64. Anybody can have written them; they say what they are once an authority stands behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// None.
    None,
    /// Something else stands there.
    Malformed,
    /// Each in PEM: that of the signer's key, then those between it and an authority.
    Pem(Vec<Vec<u8>>),
}

/// Timestamps that a signature carries: `timestamps`, each with its `type` and its `data` in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timestamps {
    /// Something else stands there.
    Malformed,
    /// The tokens of RFC 3161, in DER, over the signature's bytes. Of other types there may be some besides.
    Tokens(Vec<Vec<u8>>),
}

#[derive(Deserialize)]
struct WireTimestamp<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

impl Certificates {
    pub(super) fn read(certificate: Option<&RawValue>, intermediates: Option<&RawValue>) -> Self {
        let between = match intermediates.map(within_limit) {
            None => Vec::new(),
            Some(Some(json)) => match serde_json::from_str::<Vec<Cow<'_, str>>>(json) {
                Ok(between) => between,
                Err(_) => return Self::Malformed,
            },
            Some(None) => return Self::Malformed,
        };
        let own = match certificate.map(within_limit) {
            None if between.is_empty() => return Self::None,
            Some(Some(json)) => serde_json::from_str::<Cow<'_, str>>(json).ok(),
            _ => None,
        };
        let Some(own) = own else { return Self::Malformed };
        let pem = iter::once(own).chain(between).map(|text| decode(&text));
        pem.collect::<Option<_>>().map_or(Self::Malformed, Self::Pem)
    }
}

impl Timestamps {
    pub(super) fn read(timestamps: Option<&RawValue>) -> Self {
        let Some(json) = timestamps else { return Self::Tokens(Vec::new()) };
        let list =
            within_limit(json).and_then(|json| serde_json::from_str::<Vec<Object<WireTimestamp<'_>>>>(json).ok());
        let Some(list) = list.filter(|list| list.len() <= TIMESTAMPS_MAX) else { return Self::Malformed };
        let tokens = list.iter().filter(|Object(timestamp)| timestamp.kind == TSP);
        let tokens = tokens.map(|Object(timestamp)| decode(&timestamp.data));
        tokens.collect::<Option<_>>().map_or(Self::Malformed, Self::Tokens)
    }
}

fn within_limit(json: &RawValue) -> Option<&str> {
    Some(json.get()).filter(|json| json.len() <= ATTACHED_BYTES_MAX)
}
