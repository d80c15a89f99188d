//! The log's side of receipts: its key, the checkpoints that it signs, and the receipts that it hands out.

use super::key::{LogKey, Name};
use super::{HEADER, KeyError};
use crate::merkle::Hash;
use crate::x509::UnixSeconds;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use std::fmt::Write as _;
use thiserror::Error;
use zeroize::Zeroizing;

/// Bytes of a key file at most.
pub const SIGNING_KEY_BYTES_MAX: usize = 4096;

/// Why a log has no key to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SigningKeyError {
    /// The file has none.
    #[error("no private key of Ed25519 in PEM (PKCS #8)")]
    Malformed,
    /// Its name.
    #[error("the name of the log")]
    Name(#[from] KeyError),
    /// None could be made.
    #[error("no key could be made")]
    Random,
}

/// What a log signs its checkpoints with.
pub struct LogSigner {
    key: LogKey,
    pair: Ed25519KeyPair,
}

/// A tree, signed together with a time: a signed note (`c2sp.org/tlog-checkpoint`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint(String);

impl Checkpoint {
    /// One that was signed before.
    #[must_use]
    pub fn of_text(text: String) -> Self {
        Self(text)
    }

    /// The note.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl LogSigner {
    /// Makes a key: PKCS #8 in PEM.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate() -> Result<Zeroizing<String>, SigningKeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| SigningKeyError::Random)?;
        let der = pair.to_pkcs8v1().map_err(|_| SigningKeyError::Random)?;
        let base64 = Zeroizing::new(STANDARD.encode(der.as_ref()));
        Ok(Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *base64)))
    }

    /// Whether a log may be called so.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        Name::read(name).is_ok()
    }

    /// The key of the log of this name, from PEM.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(name: &str, pem: &[u8]) -> Result<Self, SigningKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| SigningKeyError::Malformed)?;
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| SigningKeyError::Malformed)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| SigningKeyError::Malformed)?;
        Ok(Self { key: LogKey::new(Name::read(name)?, public), pair })
    }

    /// What receipts are checked with.
    #[must_use]
    pub fn key(&self) -> &LogKey {
        &self.key
    }

    /// Signs a tree of this size and root at this time.
    #[must_use]
    pub fn sign(&self, size: u64, root: &Hash, time: UnixSeconds) -> Checkpoint {
        let name = self.key.name();
        let mut note = format!("{name}\n{size}\n{}\n", STANDARD.encode(root));
        let signature = self.pair.sign(LogKey::signed(time, &note).as_bytes());
        let line = [&self.key.id()[..], &time.to_be_bytes(), signature.as_ref()].concat();
        let _ = writeln!(note, "\n\u{2014} {name} {}", STANDARD.encode(line));
        Checkpoint(note)
    }
}

/// The receipt of an entry, by its index and the proof from it to the checkpoint's tree.
#[must_use]
pub fn write(entry: &[u8], index: u64, proof: &[Hash], checkpoint: &Checkpoint) -> String {
    let mut receipt = format!("{HEADER}\nextra {}\nindex {index}\n", STANDARD.encode(entry));
    for hash in proof {
        let _ = writeln!(receipt, "{}", STANDARD.encode(hash));
    }
    let _ = write!(receipt, "\n{}", checkpoint.0);
    receipt
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{self, Tree};
    use crate::receipt::{Entry, Receipt, ReceiptError};

    #[test]
    fn what_is_issued_is_accepted_by_its_key_alone() {
        let pem = LogSigner::generate().unwrap();
        let signer = LogSigner::read("collector.example.org/log", pem.as_bytes()).unwrap();
        let written = signer.key().to_string();
        let key = LogKey::read(&written).unwrap();
        assert_eq!(&key, signer.key());
        let entry = Entry::new([7; 32], [b"signature".as_slice()]);
        let leaves = [merkle::leaf_hash(b"one"), merkle::leaf_hash(&entry.to_bytes()), merkle::leaf_hash(b"three")];
        let mut tree = Tree::default();
        for leaf in leaves {
            tree.push_hash(leaf);
        }
        let checkpoint = signer.sign(tree.size(), &tree.root(), 1_800_000_000);
        let proof = merkle::inclusion_proof(&leaves, 1).unwrap();
        let receipt = Receipt::read(write(&entry.to_bytes(), 1, &proof, &checkpoint).as_bytes()).unwrap();
        assert_eq!((receipt.accept(&key), receipt.entry()), (Ok(1_800_000_000), &entry));
        let other = LogSigner::read("collector.example.org/log", LogSigner::generate().unwrap().as_bytes()).unwrap();
        assert_eq!(receipt.accept(other.key()), Err(ReceiptError::Signature));
        let named = LogSigner::read("another.example.org", pem.as_bytes()).unwrap();
        assert_eq!(receipt.accept(named.key()), Err(ReceiptError::OtherLog));
    }

    #[test]
    fn keys_that_are_none() {
        let pem = LogSigner::generate().unwrap();
        assert_eq!(LogSigner::read("a name", pem.as_bytes()).err(), Some(KeyError::Form.into()));
        assert_eq!(LogSigner::read("", pem.as_bytes()).err(), Some(KeyError::Form.into()));
        assert_eq!(LogSigner::read("log+1", pem.as_bytes()).err(), Some(KeyError::Form.into()));
        assert_eq!(LogSigner::read("log", b"").err(), Some(SigningKeyError::Malformed));
        assert_eq!(LogSigner::read("log", &pem.as_bytes()[..60]).err(), Some(SigningKeyError::Malformed));
    }
}
