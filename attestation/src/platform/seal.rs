//! Seals: what a register is extended with, and what all of them lead to.

use crate::merkle::Hash;
use crate::text;
use crate::tpm::extended;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Bytes of a seal in a list.
pub const SEAL_BYTES: usize = 56;
/// Seals of a list at most: one a second for twelve days.
pub const SEALS_MAX: usize = 1 << 20;

/// Heads of a session at most: one of each seal.
pub const HEADS_MAX: usize = SEALS_MAX;

const SEAL: &[u8] = b"testimony-seal/1\0";
const HEAD: &[u8] = b"testimony-seal-head/1\0";

/// The head of a session's tree at some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// Leaves.
    #[serde(with = "text::number")]
    pub tree_size: u64,
    /// The tree's root.
    #[serde(with = "text::hash")]
    pub root: Hash,
}

impl Head {
    /// What stands for it in a seal: to who has not the head, it says nothing of the log.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        let sha256 = Sha256::new_with_prefix(HEAD).chain_update(self.tree_size.to_be_bytes());
        sha256.chain_update(self.root).finalize().into()
    }
}

/// One extension of the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Whose head it is.
    pub session: [u8; 16],
    /// When, on the node's own clock since its boot.
    pub boottime_ns: u64,
    /// [`Head::commitment`].
    pub commitment: Hash,
}

impl Seal {
    /// What the register is extended with, as the seal of this number since the boot, from 1.
    #[must_use]
    pub fn digest(&self, number: u64) -> Hash {
        let sha256 = Sha256::new_with_prefix(SEAL).chain_update(number.to_be_bytes());
        sha256.chain_update(self.to_bytes()).finalize().into()
    }

    /// The session, the time in eight bytes, the most significant first, and the commitment.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SEAL_BYTES] {
        let mut bytes = [0; SEAL_BYTES];
        let parts = [self.session.as_slice(), &self.boottime_ns.to_be_bytes(), &self.commitment];
        bytes.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
        bytes
    }

    /// The seal in these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SEAL_BYTES]) -> Self {
        let (mut session, mut time, mut commitment) = ([0; 16], [0; 8], [0; 32]);
        let all = session.iter_mut().chain(&mut time).chain(&mut commitment);
        all.zip(bytes).for_each(|(to, from)| *to = *from);
        Self { session, boottime_ns: u64::from_be_bytes(time), commitment }
    }
}

/// All seals of a node since its boot, in their order. A register that nothing else extended led from zeros to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealList(Vec<Seal>);

impl SealList {
    /// Reads the seals of so many whole records; `None` if the bytes end within one, or are too many.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (records, rest) = bytes.as_chunks::<SEAL_BYTES>();
        (rest.is_empty() && records.len() <= SEALS_MAX).then(|| Self(records.iter().map(Seal::from_bytes).collect()))
    }

    /// Each with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Seal)> {
        (1..).zip(&self.0)
    }

    /// The number of the first seal in which the shorter of both has another than the longer; `None` if it is its beginning.
    #[must_use]
    pub fn departs_from(&self, other: &Self) -> Option<u64> {
        self.iter().zip(&other.0).find_map(|((number, seal), other)| (seal != other).then_some(number))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The register after each of them, the zeros before the first included.
    pub fn registers(&self) -> impl Iterator<Item = Hash> {
        let after = self.iter().scan(Hash::default(), |register, (number, seal)| {
            *register = extended(register, &seal.digest(number));
            Some(*register)
        });
        std::iter::once(Hash::default()).chain(after)
    }
}

/// The records in base64.
impl Serialize for SealList {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(Seal::to_bytes).collect();
        text::base64::serialize(&bytes, to)
    }
}

impl<'de> Deserialize<'de> for SealList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = text::base64::deserialize(from)?;
        Self::from_bytes(&bytes)
            .ok_or_else(|| D::Error::custom(format!("no list of at most {SEALS_MAX} seals of {SEAL_BYTES} bytes")))
    }
}

/// Heads by the numbers of their seals: an object from the number to the head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heads(pub BTreeMap<u64, Head>);

impl Serialize for Heads {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(number, head)| (number.to_string(), head)))
    }
}

impl<'de> Deserialize<'de> for Heads {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Numbered::<HEADS_MAX>)
    }
}

/// Takes each number once, in its one form, and no more heads than are allowed.
struct Numbered<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for Numbered<MAX> {
    type Value = Heads;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "at most {MAX} heads by the numbers of their seals")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Heads, A::Error> {
        let mut heads = BTreeMap::new();
        while let Some(text) = map.next_key::<Cow<'de, str>>()? {
            if heads.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
            let number = number.ok_or_else(|| A::Error::custom("no number of a seal"))?;
            if heads.insert(number, map.next_value()?).is_some() {
                return Err(A::Error::custom("two heads of one seal"));
            }
        }
        Ok(Heads(heads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads<const MAX: usize>(json: &str) -> Result<Heads, serde_json::Error> {
        serde_json::Deserializer::from_str(json).deserialize_map(Numbered::<MAX>)
    }

    #[test]
    fn as_many_heads_as_are_allowed_and_not_one_more() {
        let json = serde_json::to_string(&Heads((1..=3).map(|number| (number, Head::default())).collect())).unwrap();
        assert_eq!(heads::<3>(&json).unwrap().0.len(), 3);
        let refused = heads::<2>(&json).unwrap_err().to_string();
        assert!(refused.contains("at most 2 heads"), "{refused}");
    }

    #[test]
    fn a_seal_has_one_head() {
        let head = serde_json::to_string(&Head::default()).unwrap();
        assert!(heads::<3>(&format!("{{\"1\":{head},\"2\":{head}}}")).is_ok());
        assert!(heads::<3>(&format!("{{\"1\":{head},\"1\":{head}}}")).is_err());
    }
}
