//! Receipts: a log's word that it had an envelope's signatures at a time.
//!
//! A receipt is a proof of C2SP's `tlog-proof`: an entry, its index, the hashes from it to the root, and the log's checkpoint, which
//! the log's own key signs together with the time (`tlog-cosignature`). The entry names what was logged, and travels as the
//! proof's `extra` line. It shows that the signatures existed at that time, and stand in the log; not that the log shows the
//! same tree to everybody.
//!
//! Sources: c2sp.org/tlog-proof@v1, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature, c2sp.org/signed-note@v1; RFC 6962,
//! section 2.1.

mod entry;
mod issue;
mod key;
mod note;
#[cfg(test)]
pub(crate) mod tests;

pub use entry::Entry;
pub use issue::{Checkpoint, LogSigner, SIGNING_KEY_BYTES_MAX, SigningKeyError, write};
pub use key::{KeyError, LogKey};

use crate::merkle::{self, Hash, MerkleError};
use crate::x509::UnixSeconds;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use note::Note;
use thiserror::Error;

/// Bytes of a receipt at most.
pub const RECEIPT_BYTES_MAX: usize = 64 << 10;
/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why a receipt proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReceiptError {
    /// It is over [`RECEIPT_BYTES_MAX`].
    #[error("it is over the limit of {RECEIPT_BYTES_MAX} bytes")]
    TooLarge,
    /// It is no receipt.
    #[error("it is no receipt (c2sp.org/tlog-proof@v1): {0}")]
    Malformed(&'static str),
    /// The checkpoint is of another log.
    #[error("its checkpoint is not of the log that was given")]
    OtherLog,
    /// The log's signature is missing or does not hold.
    #[error("the log's signature over its checkpoint does not hold")]
    Signature,
    /// The entry does not stand in the log.
    #[error("its entry is not in the log")]
    Inclusion(#[from] MerkleError),
}

/// A receipt that could be read. Nothing of it is trusted yet.
#[derive(Debug, Clone)]
pub struct Receipt {
    entry: Entry,
    leaf: Hash,
    index: u64,
    proof: Vec<Hash>,
    note: Note,
    size: u64,
    root: Hash,
}

impl Receipt {
    /// Reads a receipt.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ReceiptError::Malformed("no text"))?;
        let (proof, checkpoint) = text.split_once("\n\n").ok_or(ReceiptError::Malformed("no checkpoint"))?;
        let mut lines = proof.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(ReceiptError::Malformed("its first line"));
        }
        let extra = lines.next().and_then(|line| line.strip_prefix("extra "));
        let extra =
            extra.and_then(|text| STANDARD.decode(text).ok()).ok_or(ReceiptError::Malformed("its extra data"))?;
        let index = lines.next().and_then(|line| decimal(line.strip_prefix("index ")?));
        let index = index.ok_or(ReceiptError::Malformed("its index"))?;
        let proof = lines.map(hash).collect::<Option<_>>().ok_or(ReceiptError::Malformed("its hashes"))?;
        let entry = Entry::read(&extra).ok_or(ReceiptError::Malformed("its entry"))?;
        let note = Note::read(checkpoint).ok_or(ReceiptError::Malformed("its checkpoint is no signed note"))?;
        let (size, root) = note.tree().ok_or(ReceiptError::Malformed("its checkpoint"))?;
        Ok(Self { entry, leaf: merkle::leaf_hash(&extra), index, proof, note, size, root })
    }

    /// What was logged.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Size and root of the tree that it leads to.
    #[must_use]
    pub fn tree(&self) -> (u64, &Hash) {
        (self.size, &self.root)
    }

    /// The time at which the log says that it had the entry: seconds since 1970.
    ///
    /// # Errors
    /// Why it does not.
    pub fn accept(&self, key: &LogKey) -> Result<UnixSeconds, ReceiptError> {
        if self.note.origin() != key.name() {
            return Err(ReceiptError::OtherLog);
        }
        let signed = self.note.signatures().filter_map(|(name, signature)| key.time(name, signature, self.note.text()));
        // The log may sign one checkpoint more than once: the earliest time counts.
        let time = signed.min().ok_or(ReceiptError::Signature)?;
        merkle::verify_inclusion(&self.leaf, self.index, self.size, &self.proof, &self.root)?;
        Ok(time)
    }
}

/// A number in its one form.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
