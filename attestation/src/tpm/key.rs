//! The public area of a key that attests: of which kind it is, what it is called, and whether a signature is its own.

use super::{STRUCTURE_BYTES_MAX, whole};
use crate::merkle::Hash;
use der::asn1::Uint;
use der::{Encode as _, Sequence};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tpm2_protocol::data::{
    TpmAlgId, TpmEccCurve, TpmaObject, TpmtPublic, TpmtSignature, TpmuPublicId, TpmuPublicParms, TpmuSignature,
};
use webpki::aws_lc_rs as algorithms;

/// Bytes of a coordinate on P-256.
const COORDINATE_BYTES: usize = 32;
/// TPM_ALG_SHA256, as a name begins.
const SHA256: [u8; 2] = [0, 0x0b];
/// The exponent of an RSA key that says 0.
const EXPONENT: u32 = 65_537;

/// Why a public area is no attestation key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("no public area of a TPM's key (TPM2B_PUBLIC)")]
    Malformed,
    /// It may sign what it is given, can leave its TPM, or was made outside.
    #[error(
        "not an attestation key: it has to be restricted to signing, fixed to its TPM and its parent, and made inside"
    )]
    NotAttesting,
    /// Another kind of key, or of digest.
    #[error("not a key on P-256 or of RSA, with SHA-256")]
    Kind,
}

/// A key that signs nothing but what its TPM made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    name: Vec<u8>,
    key: Key,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    /// The uncompressed point.
    P256(Vec<u8>),
    /// RSAPublicKey of PKCS #1, in DER.
    Rsa(Vec<u8>),
}

#[derive(Sequence)]
struct RsaPublicKey {
    modulus: Uint,
    exponent: Uint,
}

#[derive(Sequence)]
struct EcdsaSignature {
    r: Uint,
    s: Uint,
}

impl AttestationKey {
    /// Reads a TPM2B_PUBLIC: two bytes of length, and the public area.
    ///
    /// # Errors
    /// Why it is no attestation key's.
    pub fn read(tpm2b_public: &[u8]) -> Result<Self, KeyError> {
        let (length, area) = tpm2b_public.split_first_chunk::<2>().ok_or(KeyError::Malformed)?;
        if usize::from(u16::from_be_bytes(*length)) != area.len() || area.len() > STRUCTURE_BYTES_MAX {
            return Err(KeyError::Malformed);
        }
        let public: TpmtPublic = whole(area).ok_or(KeyError::Malformed)?;
        let has = |attribute| public.object_attributes.contains(attribute);
        let attests = [
            TpmaObject::RESTRICTED,
            TpmaObject::SIGN_ENCRYPT,
            TpmaObject::FIXED_TPM,
            TpmaObject::FIXED_PARENT,
            TpmaObject::SENSITIVE_DATA_ORIGIN,
        ];
        if !attests.into_iter().all(has) || has(TpmaObject::DECRYPT) {
            return Err(KeyError::NotAttesting);
        }
        if public.name_alg != TpmAlgId::Sha256 {
            return Err(KeyError::Kind);
        }
        let name = [&SHA256[..], &Sha256::digest(area)].concat();
        Ok(Self { name, key: Key::of(&public).ok_or(KeyError::Kind)? })
    }

    /// The TPM's name for it: the digest's algorithm, and the digest of the public area.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// SHA-256 of the public area.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let mut digest = Hash::default();
        digest.copy_from_slice(self.name.get(SHA256.len()..).unwrap_or_default());
        digest
    }

    /// Whether a TPMT_SIGNATURE over these bytes is this key's.
    pub(super) fn verifies(&self, message: &[u8], tpmt_signature: &[u8]) -> bool {
        let Some(signature) = whole::<TpmtSignature>(tpmt_signature) else { return false };
        match (&self.key, &signature.signature) {
            (Key::P256(point), TpmuSignature::Ecdsa(ecdsa)) if ecdsa.hash == TpmAlgId::Sha256 => {
                let number = |bytes: &[u8]| Uint::new(bytes).ok();
                let der = number(&ecdsa.signature_r).zip(number(&ecdsa.signature_s));
                let der = der.and_then(|(r, s)| EcdsaSignature { r, s }.to_der().ok()).unwrap_or_default();
                algorithms::ECDSA_P256_SHA256.verify_signature(point, message, &der).is_ok()
            }
            (Key::Rsa(key), TpmuSignature::Rsassa(rsa)) if rsa.hash == TpmAlgId::Sha256 => {
                algorithms::RSA_PKCS1_2048_8192_SHA256.verify_signature(key, message, &rsa.sig).is_ok()
            }
            _ => false,
        }
    }
}

impl Key {
    fn of(public: &TpmtPublic) -> Option<Self> {
        match (&public.parameters, &public.unique) {
            (TpmuPublicParms::Ecc(parameters), TpmuPublicId::Ecc(point)) => {
                if parameters.curve_id != TpmEccCurve::NistP256 {
                    return None;
                }
                let mut bytes = vec![4];
                for coordinate in [&point.x, &point.y] {
                    // A TPM may leave out what is zero at the front.
                    bytes.extend(std::iter::repeat_n(0, COORDINATE_BYTES.checked_sub(coordinate.len())?));
                    bytes.extend_from_slice(coordinate);
                }
                Some(Self::P256(bytes))
            }
            (TpmuPublicParms::Rsa(parameters), TpmuPublicId::Rsa(modulus)) => {
                let exponent = Some(u32::from(parameters.exponent)).filter(|exponent| *exponent != 0);
                let exponent = Uint::new(&exponent.unwrap_or(EXPONENT).to_be_bytes()).ok()?;
                RsaPublicKey { modulus: Uint::new(modulus).ok()?, exponent }.to_der().ok().map(Self::Rsa)
            }
            _ => None,
        }
    }
}
