//! The key of a log, as it is written down (`NAME+ID+KEY`), and what it signs: a checkpoint together with a time.

use crate::hex;
use crate::x509::UnixSeconds;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::fmt;
use thiserror::Error;
use webpki::aws_lc_rs::ED25519;

/// Type of keys that sign checkpoints with a time.
const TIMED: u8 = 4;
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 4;
const TIME_BYTES: usize = 8;

/// Why a text is no key of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Its form.
    #[error("no key of a log: it is one line, NAME+ID+KEY")]
    Form,
    /// Its type.
    #[error("a key of type {0}, which signs no time: type 4 does (c2sp.org/tlog-cosignature)")]
    Type(u8),
    /// Its id.
    #[error("the key's id is not that of its name and its bytes")]
    Id,
}

/// The key of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    name: String,
    id: [u8; ID_BYTES],
    key: [u8; KEY_BYTES],
}

impl LogKey {
    /// Reads a key, with or without a line end.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        let name = Name::read(name)?;
        let key = STANDARD.decode(key).map_err(|_| KeyError::Form)?;
        let (kind, key) = key.split_first().ok_or(KeyError::Form)?;
        if *kind != TIMED {
            return Err(KeyError::Type(*kind));
        }
        let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| KeyError::Form)?;
        let found = Self::new(name, key);
        if hex::encode(&found.id) == id { Ok(found) } else { Err(KeyError::Id) }
    }

    pub(super) fn new(Name(name): Name, key: [u8; KEY_BYTES]) -> Self {
        Self { id: id_of(&name, &key), name, key }
    }

    pub(super) fn id(&self) -> &[u8; ID_BYTES] {
        &self.id
    }

    /// What is signed of a checkpoint.
    pub(super) fn signed(time: UnixSeconds, checkpoint: &str) -> String {
        format!("cosignature/v1\ntime {time}\n{checkpoint}")
    }

    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The time that a signature gives to a checkpoint, if it is this key's.
    pub(super) fn time(&self, name: &str, signature: &[u8], checkpoint: &str) -> Option<UnixSeconds> {
        let signature = signature.strip_prefix(&self.id).filter(|_| name == self.name)?;
        let (time, signature) = signature.split_first_chunk::<TIME_BYTES>()?;
        let time = UnixSeconds::from_be_bytes(*time);
        let signed = Self::signed(time, checkpoint);
        ED25519.verify_signature(&self.key, signed.as_bytes(), signature).is_ok().then_some(time)
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[TIMED], &self.key[..]].concat();
        write!(out, "{}+{}+{}", self.name, hex::encode(&self.id), STANDARD.encode(key))
    }
}

/// The name of a log, as it may stand in keys and checkpoints.
pub(super) struct Name(String);

impl Name {
    pub(super) fn read(name: &str) -> Result<Self, KeyError> {
        let is_bad = |char: char| char.is_whitespace() || char.is_control() || char == '+';
        if name.is_empty() || name.contains(is_bad) { Err(KeyError::Form) } else { Ok(Self(name.to_owned())) }
    }
}

pub(super) fn id_of(name: &str, key: &[u8; KEY_BYTES]) -> [u8; ID_BYTES] {
    let digest = Sha256::new().chain_update(name).chain_update([b'\n', TIMED]).chain_update(key).finalize();
    std::array::from_fn(|index| digest[index])
}
