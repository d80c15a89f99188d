//! P-256 keys from bytes: private as PKCS#8 PEM, public as SubjectPublicKeyInfo PEM.

use crate::hex;
use crate::merkle::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use sha2::{Digest, Sha256};
use std::fmt;
use thiserror::Error;

/// Why bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The file is no UTF-8 text.
    #[error("the key is no PEM text")]
    NotText,
    /// No PKCS#8 of a P-256 private key.
    #[error("not a P-256 private key in PKCS#8")]
    NotPrivate,
    /// No SubjectPublicKeyInfo of a P-256 public key.
    #[error("not a P-256 public key")]
    NotPublic,
    /// The random bytes are no scalar of P-256: take others. The odds are one in 2^32.
    #[error("the random bytes are no P-256 key")]
    NotInRange,
    /// The key could not be encoded.
    #[error("the key could not be encoded")]
    Encoding,
}

/// Why nothing was signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// The signer refused or failed.
    #[error("the signer failed")]
    Signer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Something that signs a SHA-256 value: a key file, a TPM, a service.
pub trait Signer {
    /// The key's id, a hint for the verifier.
    fn keyid(&self) -> &str;

    /// Certificates in PEM that say whose key it is: its own, then those between it and an authority. None for a key that
    /// is known by itself.
    fn certificates(&self) -> &[Vec<u8>] {
        &[]
    }

    /// ECDSA signature in DER of this SHA-256 value.
    ///
    /// # Errors
    /// Why nothing was signed.
    fn sign_prehash(&self, sha256: &Hash) -> Result<Vec<u8>, SignError>;
}

/// A key to trust.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    keyid: String,
    fingerprint: String,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicKey({})", self.keyid)
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo PEM.
    ///
    /// # Errors
    /// [`KeyError`] for anything else, a private key and another curve included.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(pem).map_err(|_| KeyError::NotText)?;
        let key = VerifyingKey::from_public_key_pem(text.trim()).map_err(|_| KeyError::NotPublic)?;
        Self::new(key)
    }

    /// Reads a DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::NotPublic`] for anything else, another curve included.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::new(VerifyingKey::from_public_key_der(der).map_err(|_| KeyError::NotPublic)?)
    }

    /// By an uncompressed point on P-256.
    ///
    /// # Errors
    /// [`KeyError::NotPublic`] for anything else.
    pub fn from_point(sec1: &[u8]) -> Result<Self, KeyError> {
        Self::new(VerifyingKey::from_sec1_bytes(sec1).map_err(|_| KeyError::NotPublic)?)
    }

    fn new(key: VerifyingKey) -> Result<Self, KeyError> {
        let der = key.to_public_key_der().map_err(|_| KeyError::Encoding)?;
        let keyid = hex::encode(&Sha256::digest(der.as_bytes()));
        let fingerprint = fingerprint(key.to_sec1_point(false).as_bytes());
        Ok(Self { key, keyid, fingerprint })
    }

    /// Lowercase hexadecimal SHA-256 of the SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    /// OpenSSH's fingerprint: what cosign derives for a key that it is given without an id, and then demands of an
    /// envelope whose `keyid` is not empty.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// SubjectPublicKeyInfo PEM.
    ///
    /// # Errors
    /// [`KeyError::Encoding`].
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.key.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::Encoding)
    }

    /// Whether `signature` (DER) is this key's over this SHA-256 value.
    #[must_use]
    pub fn verifies(&self, sha256: &Hash, signature: &[u8]) -> bool {
        DerSignature::try_from(signature).is_ok_and(|signature| self.key.verify_prehash(sha256, &signature).is_ok())
    }
}

/// RFC 4253 and 5656: strings with their lengths before them, hashed as OpenSSH shows it.
fn fingerprint(point: &[u8]) -> String {
    let mut sha256 = Sha256::new();
    for part in [b"ecdsa-sha2-nistp256".as_slice(), b"nistp256", point] {
        // None is longer than 65 bytes.
        sha256.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        sha256.update(part);
    }
    format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256.finalize()))
}

/// A private key from a file's bytes.
#[derive(Clone)]
pub struct KeyFile {
    key: SigningKey,
    public: PublicKey,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyFile({})", self.public.keyid)
    }
}

impl KeyFile {
    /// Reads a PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError`] for anything else, another curve included.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(pem).map_err(|_| KeyError::NotText)?;
        Self::new(SigningKey::from_pkcs8_pem(text.trim()).map_err(|_| KeyError::NotPrivate)?)
    }

    /// Reads a PKCS#8 DER.
    ///
    /// # Errors
    /// [`KeyError::NotPrivate`] for anything else, another curve included.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::new(SigningKey::from_pkcs8_der(der).map_err(|_| KeyError::NotPrivate)?)
    }

    /// A new key from 32 random bytes.
    ///
    /// # Errors
    /// [`KeyError::NotInRange`] once in 2^32: take other bytes.
    pub fn from_random(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(SigningKey::from_slice(bytes).map_err(|_| KeyError::NotInRange)?)
    }

    fn new(key: SigningKey) -> Result<Self, KeyError> {
        let public = PublicKey::new(*key.verifying_key())?;
        Ok(Self { key, public })
    }

    /// PKCS#8 PEM of the private key.
    ///
    /// # Errors
    /// [`KeyError::Encoding`].
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Encoding)?;
        Ok(pem.as_str().to_owned())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl Signer for KeyFile {
    fn keyid(&self) -> &str {
        self.public.fingerprint()
    }

    fn sign_prehash(&self, sha256: &Hash) -> Result<Vec<u8>, SignError> {
        let signature: DerSignature =
            self.key.sign_prehash(sha256).map_err(|error| SignError::Signer(Box::new(error)))?;
        Ok(signature.as_bytes().to_vec())
    }
}
