//! A signing key that was made in the TPM and cannot leave it, certified by the attestation key.

use std::cell::RefCell;

use attestation::{
    dsse::{PublicKey, SignError, Signer},
    merkle::Hash,
    platform::{CERTIFIED_DATA, CertifiedKey},
    tpm::{KeyError, Quote, SigningKey, signature_to_der},
};
use tpm_protocol::{Answer, Ask};

use crate::tpm::{self, Tpm};

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] tpm::Error),
    /// What it gave.
    #[error("what the TPM calls its signing key")]
    Key(#[from] KeyError),
}

/// The key.
pub(super) struct TpmKey {
    tpm: RefCell<Tpm>,
    public: PublicKey,
}

impl TpmKey {
    /// Asks for the key, which is made if it is not there; with it, its certificate.
    pub(super) fn open(args: &tpm::Args) -> Result<(Self, CertifiedKey), Error> {
        let mut tpm = Tpm::new(args, None);
        let answer = tpm.ask(Ask::SigningKey { nonce: CERTIFIED_DATA.into() })?;
        let Answer::SigningKey { public, attest, signature } = answer else { return Err(tpm::Error::Answer.into()) };
        let certificate = Quote { attest: attest.to_vec(), signature: signature.to_vec() };
        let certified = CertifiedKey { public: public.to_vec(), certificate };
        let key = SigningKey::read(&certified.public)?.key().clone();
        Ok((Self { tpm: RefCell::new(tpm), public: key }, certified))
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl Signer for TpmKey {
    fn keyid(&self) -> &str {
        self.public.keyid()
    }

    fn sign_prehash(&self, sha256: &Hash) -> Result<Vec<u8>, SignError> {
        let answer = self.tpm.borrow_mut().ask(Ask::Sign { sha256: sha256.as_slice().into() });
        let signature = match answer.map_err(|error| SignError::Signer(Box::new(error)))? {
            Answer::Signed { signature } => signature_to_der(&signature),
            _ => None,
        };
        let signature = signature.filter(|signature| self.public.verifies(sha256, signature));
        signature.ok_or_else(|| SignError::Signer(Box::new(tpm::Error::Answer)))
    }
}
