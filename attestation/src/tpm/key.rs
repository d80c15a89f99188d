//! The public area of a key that attests: of which kind it is, what it is called, and whether a signature is its own.

use super::public::{Key, Public, Unreadable};
use super::whole;
use crate::dsse::PublicKey;
use der::asn1::Uint;
use der::{Encode as _, Sequence};
use thiserror::Error;
use tpm2_protocol::data::{TpmAlgId, TpmaObject, TpmtSignature, TpmuSignature};
use webpki::aws_lc_rs as algorithms;

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
    /// It can leave its TPM, was made outside, or signs no statements.
    #[error("not a signing key of a TPM: it has to be on P-256, fixed to its TPM and its parent, and made inside")]
    NotSigning,
    /// Another kind of key, or of digest.
    #[error("not a key on P-256 or of RSA, with SHA-256")]
    Kind,
}

/// A key that signs nothing but what its TPM made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey(Public);

/// A key that signs what it is given, and cannot leave its TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    name: Vec<u8>,
    key: PublicKey,
}

impl SigningKey {
    /// Reads a TPM2B_PUBLIC.
    ///
    /// # Errors
    /// Why it is no such key's.
    pub fn read(tpm2b_public: &[u8]) -> Result<Self, KeyError> {
        let public = Public::read(tpm2b_public)?;
        let signs = public.has(TpmaObject::SIGN_ENCRYPT) && !public.has(TpmaObject::RESTRICTED);
        if !signs || !public.stays() || public.has(TpmaObject::DECRYPT) {
            return Err(KeyError::NotSigning);
        }
        let Key::P256(point) = &public.key else { return Err(KeyError::NotSigning) };
        let key = PublicKey::from_point(point).map_err(|_| KeyError::NotSigning)?;
        Ok(Self { name: public.name, key })
    }

    /// The TPM's name for it.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The key itself, as envelopes are held against it.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// A TPM's signature in DER, as an envelope carries it: of a TPMT_SIGNATURE by ECDSA with SHA-256.
#[must_use]
pub fn signature_to_der(tpmt_signature: &[u8]) -> Option<Vec<u8>> {
    let signature = whole::<TpmtSignature>(tpmt_signature)?;
    match &signature.signature {
        TpmuSignature::Ecdsa(ecdsa) if ecdsa.hash == TpmAlgId::Sha256 => {
            ecdsa_der(&ecdsa.signature_r, &ecdsa.signature_s)
        }
        _ => None,
    }
}

fn ecdsa_der(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    EcdsaSignature { r: Uint::new(r).ok()?, s: Uint::new(s).ok()? }.to_der().ok()
}

impl From<Unreadable> for KeyError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Malformed => Self::Malformed,
            Unreadable::Kind => Self::Kind,
        }
    }
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
        let public = Public::read(tpm2b_public)?;
        let signs = public.has(TpmaObject::RESTRICTED) && public.has(TpmaObject::SIGN_ENCRYPT);
        if !signs || !public.stays() || public.has(TpmaObject::DECRYPT) {
            return Err(KeyError::NotAttesting);
        }
        Ok(Self(public))
    }

    /// The TPM's name for it: the digest's algorithm, and the digest of the public area.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.0.name
    }

    /// Whether a TPMT_SIGNATURE over these bytes is this key's.
    pub(super) fn verifies(&self, message: &[u8], tpmt_signature: &[u8]) -> bool {
        let Some(signature) = whole::<TpmtSignature>(tpmt_signature) else { return false };
        match (&self.0.key, &signature.signature) {
            (Key::P256(point), TpmuSignature::Ecdsa(ecdsa)) if ecdsa.hash == TpmAlgId::Sha256 => {
                let der = ecdsa_der(&ecdsa.signature_r, &ecdsa.signature_s).unwrap_or_default();
                algorithms::ECDSA_P256_SHA256.verify_signature(point, message, &der).is_ok()
            }
            (Key::Rsa(key), TpmuSignature::Rsassa(rsa)) if rsa.hash == TpmAlgId::Sha256 => {
                algorithms::RSA_PKCS1_2048_8192_SHA256.verify_signature(key, message, &rsa.sig).is_ok()
            }
            _ => false,
        }
    }
}
