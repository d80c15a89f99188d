//! How values stand in JSON: bytes in lowercase hexadecimal or base64, numbers that may be 2^53 or more as decimal digits.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};
use std::borrow::Cow;

fn read<'de, T, D: Deserializer<'de>>(from: D, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, D::Error> {
    let text = Cow::<'de, str>::deserialize(from)?;
    read(&text).ok_or_else(|| D::Error::custom(format!("no {what}")))
}

/// 32 bytes in hexadecimal.
pub(crate) mod hash {
    use super::{Deserializer, Serializer};
    use crate::hex;
    use crate::merkle::Hash;

    pub(crate) fn serialize<S: Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(hash))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Hash, D::Error> {
        super::read(from, "SHA-256 value in hexadecimal", hex::decode_sha256)
    }
}

/// 16 bytes in hexadecimal.
pub(crate) mod session {
    use super::{Deserializer, Serializer};
    use crate::hex;

    pub(crate) fn serialize<S: Serializer>(id: &[u8; 16], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(id))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 16], D::Error> {
        super::read(from, "session id in hexadecimal", |text| hex::decode(text)?.try_into().ok())
    }
}

/// Any bytes in hexadecimal.
pub(crate) mod bytes {
    use super::{Deserializer, Serializer};
    use crate::hex;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        super::read(from, "bytes in hexadecimal", hex::decode)
    }
}

/// Any bytes in base64.
pub(crate) mod base64 {
    use super::{Deserializer, Serializer};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        super::read(from, "base64", |text| STANDARD.decode(text).ok())
    }
}

/// A number as decimal digits, written in one way.
pub(crate) mod number {
    use super::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let one_way = |text: &str| text.parse().ok().filter(|number: &u64| number.to_string() == text);
        super::read(from, "number in decimal digits", one_way)
    }
}
