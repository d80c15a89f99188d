//! Credentials: a secret that only the TPM with an endorsement key can open, and only if it has the attestation key that is
//! named in it. Who answers with the secret has both: so an attestation key is bound to the certificate of an endorsement key.
//!
//! Source: TPM 2.0 Library, part 1, section 24 (credential protection), and section 11.4.10 (KDFa, KDFe). What is put together so is
//! made of aws-lc's primitives.

use super::STRUCTURE_BYTES_MAX;
use super::key::AttestationKey;
use super::public::{COORDINATE_BYTES, Key, Public};
use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use der::Encode as _;
use der::asn1::{BitString, Null, ObjectIdentifier};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tpm2_protocol::data::TpmaObject;
use x509_cert::spki::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Bytes of a secret: a digest's at most, as a TPM takes it.
pub const SECRET_BYTES: usize = 32;
const SEED_BYTES: usize = 32;
const AES_BYTES: usize = 16;
/// What the seed of a credential is for, with its end.
const IDENTITY: &[u8] = b"IDENTITY\0";
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Why there is no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// The public area cannot be read, or is of a kind that is not known.
    #[error("no public area of an endorsement key on P-256 or of RSA, with SHA-256")]
    Malformed,
    /// It is no endorsement key's.
    #[error(
        "not an endorsement key: it has to be restricted to decryption, fixed to its TPM and its parent, and made inside"
    )]
    NotEndorsing,
    /// A primitive failed: the key is not on its curve, or too short.
    #[error("nothing can be encrypted for this endorsement key")]
    Key,
}

/// The key that a TPM's maker vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementKey(Public);

/// A credential as `TPM2_ActivateCredential` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// TPM2B_ID_OBJECT.
    pub id_object: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Vec<u8>,
}

impl EndorsementKey {
    /// Reads a TPM2B_PUBLIC.
    ///
    /// # Errors
    /// Why it is no endorsement key's.
    pub fn read(tpm2b_public: &[u8]) -> Result<Self, CredentialError> {
        let public = Public::read(tpm2b_public).map_err(|_| CredentialError::Malformed)?;
        let decrypts = public.has(TpmaObject::RESTRICTED) && public.has(TpmaObject::DECRYPT);
        if !decrypts || !public.stays() || public.has(TpmaObject::SIGN_ENCRYPT) {
            return Err(CredentialError::NotEndorsing);
        }
        Ok(Self(public))
    }

    /// The TPM's name for it: the digest's algorithm, and the digest of the public area.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.0.name
    }

    /// Which of TCG's templates it is of: `rsa-2048` (L-1) or `ecc-p256` (L-2), as far as its kind says.
    #[must_use]
    pub fn template(&self) -> &'static str {
        match &self.0.key {
            Key::Rsa(_) => "rsa-2048",
            Key::P256(_) => "ecc-p256",
        }
    }

    /// The key in DER (SubjectPublicKeyInfo), to be compared with that of its certificate.
    ///
    /// # Errors
    /// If it cannot be written, which does not occur.
    pub fn to_der(&self) -> Result<Vec<u8>, CredentialError> {
        match &self.0.key {
            Key::Rsa(key) => rsa_der(key),
            Key::P256(point) => p256::PublicKey::from_sec1_bytes(point)
                .ok()
                .and_then(|key| p256::pkcs8::EncodePublicKey::to_public_key_der(&key).ok())
                .map(p256::pkcs8::Document::into_vec)
                .ok_or(CredentialError::Key),
        }
    }

    /// A credential with this secret, for the attestation key alone (`TPM2_MakeCredential`, without a TPM).
    ///
    /// # Errors
    /// If nothing can be encrypted for this key.
    pub fn make_credential(
        &self,
        key: &AttestationKey,
        secret: &[u8; SECRET_BYTES],
    ) -> Result<Credential, CredentialError> {
        let (seed, encrypted) = self.seed()?;
        let aes: [u8; AES_BYTES] = kdfa(&seed, "STORAGE", key.name());
        let identity = encrypt(&aes, &sized(secret))?;
        let mac: [u8; SEED_BYTES] = kdfa(&seed, "INTEGRITY", &[]);
        let mut outer = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, &mac));
        outer.update(&identity);
        outer.update(key.name());
        let id_object = [sized(outer.sign().as_ref()), identity].concat();
        Ok(Credential { id_object: sized(&id_object), encrypted_secret: sized(&encrypted) })
    }

    /// A seed, and how it travels.
    fn seed(&self) -> Result<([u8; SEED_BYTES], Vec<u8>), CredentialError> {
        match &self.0.key {
            Key::Rsa(key) => {
                let mut seed = [0; SEED_BYTES];
                aws_lc_rs::rand::fill(&mut seed).map_err(|_| CredentialError::Key)?;
                let key = PublicEncryptingKey::from_der(&rsa_der(key)?).map_err(|_| CredentialError::Key)?;
                let key = OaepPublicEncryptingKey::new(key).map_err(|_| CredentialError::Key)?;
                let mut out = vec![0; key.ciphertext_size()];
                let out = key.encrypt(&OAEP_SHA256_MGF1SHA256, &seed, &mut out, Some(IDENTITY));
                Ok((seed, out.map_err(|_| CredentialError::Key)?.to_vec()))
            }
            Key::P256(point) => {
                let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
                let own = own.map_err(|_| CredentialError::Key)?;
                let public = own.compute_public_key().map_err(|_| CredentialError::Key)?;
                let (x, y) = coordinates(public.as_ref()).ok_or(CredentialError::Key)?;
                let (their_x, _) = coordinates(point).ok_or(CredentialError::Key)?;
                let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
                let seed = agree_ephemeral(own, theirs, CredentialError::Key, |z| Ok(kdfe(z, x, their_x)))?;
                Ok((seed, [sized(x), sized(y)].concat()))
            }
        }
    }
}

/// A TPM2B: two bytes of length before it. None of ours is longer than a command.
fn sized(bytes: &[u8]) -> Vec<u8> {
    debug_assert!(bytes.len() <= STRUCTURE_BYTES_MAX);
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes(), bytes].concat()
}

fn coordinates(point: &[u8]) -> Option<(&[u8], &[u8])> {
    let point = point.strip_prefix(&[4]).filter(|point| point.len() == 2 * COORDINATE_BYTES)?;
    Some(point.split_at(COORDINATE_BYTES))
}

fn rsa_der(key: &[u8]) -> Result<Vec<u8>, CredentialError> {
    let algorithm = AlgorithmIdentifier { oid: RSA, parameters: Some(Null) };
    let subject_public_key = BitString::from_bytes(key).map_err(|_| CredentialError::Key)?;
    SubjectPublicKeyInfo { algorithm, subject_public_key }.to_der().map_err(|_| CredentialError::Key)
}

/// KDFa in one round: as much as HMAC gives, or its beginning.
fn kdfa<const BYTES: usize>(key: &[u8], label: &str, context: &[u8]) -> [u8; BYTES] {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, key));
    let bits = u32::try_from(8 * BYTES).unwrap_or(u32::MAX).to_be_bytes();
    for part in [&1_u32.to_be_bytes()[..], label.as_bytes(), &[0], context, &bits] {
        mac.update(part);
    }
    let tag = mac.sign();
    std::array::from_fn(|index| tag.as_ref().get(index).copied().unwrap_or_default())
}

/// KDFe in one round.
fn kdfe(z: &[u8], ours: &[u8], theirs: &[u8]) -> [u8; SEED_BYTES] {
    let parts = [&1_u32.to_be_bytes()[..], z, IDENTITY, ours, theirs];
    parts.into_iter().fold(Sha256::new(), |sha256, part| sha256.chain_update(part)).finalize().into()
}

/// AES in CFB mode from a zero vector: each key is used once.
fn encrypt(key: &[u8; AES_BYTES], plain: &[u8]) -> Result<Vec<u8>, CredentialError> {
    let key = UnboundCipherKey::new(&AES_128, key).and_then(EncryptingKey::cfb128);
    let key = key.map_err(|_| CredentialError::Key)?;
    let zero = EncryptionContext::Iv128(FixedLength::from([0; AES_BYTES]));
    let mut bytes = plain.to_vec();
    key.less_safe_encrypt(&mut bytes, zero).map_err(|_| CredentialError::Key)?;
    Ok(bytes)
}
