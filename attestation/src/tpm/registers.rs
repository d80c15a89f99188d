//! Registers of a TPM (PCRs): which, and their values in the bank of SHA-256.

use crate::hex;
use crate::merkle::Hash;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Registers of a bank.
pub const PCRS: u8 = 24;

/// Values of registers, of those that it has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PcrValues(BTreeMap<u8, Hash>);

impl PcrValues {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a value; says whether there is such a register.
    pub fn set(&mut self, pcr: u8, value: Hash) -> bool {
        let exists = pcr < PCRS;
        if exists {
            self.0.insert(pcr, value);
        }
        exists
    }

    /// A register's value.
    #[must_use]
    pub fn value(&self, pcr: u8) -> Option<&Hash> {
        self.0.get(&pcr)
    }

    /// Extends a register as a TPM does, one that is not there from zeros; says whether there is such a register.
    pub fn extend(&mut self, pcr: u8, digest: &Hash) -> bool {
        let exists = pcr < PCRS;
        if exists {
            let value = self.0.entry(pcr).or_default();
            *value = extended(value, digest);
        }
        exists
    }

    /// Which it has, in ascending order.
    pub fn pcrs(&self) -> impl Iterator<Item = u8> {
        self.0.keys().copied()
    }

    /// Those that it has and their values, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Hash)> {
        self.0.iter().map(|(pcr, value)| (*pcr, value))
    }

    /// The digest over all values in ascending order, as a quote has it.
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.0.values().fold(Sha256::new(), |digest, value| digest.chain_update(value)).finalize().into()
    }
}

/// An object from the number to the value in hexadecimal.
impl Serialize for PcrValues {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter().map(|(pcr, value)| (pcr, hex::encode(value))))
    }
}

impl<'de> Deserialize<'de> for PcrValues {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut values = Self::new();
        for (pcr, text) in BTreeMap::<u8, String>::deserialize(from)? {
            let value = hex::decode_sha256(&text).filter(|value| values.set(pcr, *value));
            value.ok_or_else(|| D::Error::custom("no register's SHA-256 value in hexadecimal"))?;
        }
        Ok(values)
    }
}

/// What a register has after it was extended.
#[must_use]
pub fn extended(value: &Hash, digest: &Hash) -> Hash {
    Sha256::new().chain_update(value).chain_update(digest).finalize().into()
}
