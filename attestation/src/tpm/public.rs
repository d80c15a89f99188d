//! The public area of a key in a TPM: its attributes, its name, and the key itself.

use super::{STRUCTURE_BYTES_MAX, whole};
use der::asn1::Uint;
use der::{Encode as _, Sequence};
use sha2::{Digest, Sha256};
use tpm2_protocol::data::{TpmAlgId, TpmEccCurve, TpmaObject, TpmtPublic, TpmuPublicId, TpmuPublicParms};

/// Bytes of a coordinate on P-256.
pub(super) const COORDINATE_BYTES: usize = 32;
/// TPM_ALG_SHA256, as a name begins.
const SHA256: [u8; 2] = [0, 0x0b];
/// The exponent of an RSA key that says 0.
const EXPONENT: u32 = 65_537;

/// A public area of a kind that is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Public {
    attributes: TpmaObject,
    /// What its TPM calls it: the digest's algorithm, and the digest of the area.
    pub(super) name: Vec<u8>,
    pub(super) key: Key,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
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

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Malformed,
    /// Another kind of key, or of digest.
    Kind,
}

impl Public {
    /// Reads a TPM2B_PUBLIC: two bytes of length, and the area.
    pub(super) fn read(tpm2b_public: &[u8]) -> Result<Self, Unreadable> {
        let (length, area) = tpm2b_public.split_first_chunk::<2>().ok_or(Unreadable::Malformed)?;
        if usize::from(u16::from_be_bytes(*length)) != area.len() || area.len() > STRUCTURE_BYTES_MAX {
            return Err(Unreadable::Malformed);
        }
        let public: TpmtPublic = whole(area).ok_or(Unreadable::Malformed)?;
        if public.name_alg != TpmAlgId::Sha256 {
            return Err(Unreadable::Kind);
        }
        let name = [&SHA256[..], &Sha256::digest(area)].concat();
        Ok(Self { attributes: public.object_attributes, name, key: Key::of(&public).ok_or(Unreadable::Kind)? })
    }

    pub(super) fn has(&self, attribute: TpmaObject) -> bool {
        self.attributes.contains(attribute)
    }

    /// Whether it was made in its TPM and cannot leave it.
    pub(super) fn stays(&self) -> bool {
        let all = [TpmaObject::FIXED_TPM, TpmaObject::FIXED_PARENT, TpmaObject::SENSITIVE_DATA_ORIGIN];
        all.into_iter().all(|attribute| self.has(attribute))
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
