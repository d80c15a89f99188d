//! A quote: the TPM's own structure, and a key's signature over it.

use super::key::{AttestationKey, SigningKey};
use super::registers::PcrValues;
use super::whole;
use crate::text;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tpm2_protocol::data::{TpmAlgId, TpmsAttest, TpmsQuoteInfo, TpmuAttest};

/// Why a quote shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QuoteError {
    /// It cannot be read.
    #[error("no quote of a TPM (TPMS_ATTEST)")]
    Malformed,
    /// It is signed by another key, or was changed.
    #[error("the attestation key's signature over the quote does not hold")]
    Signature,
    /// It is about other bytes.
    #[error("the quote is not over what it was asked for")]
    OtherData,
    /// It quotes another bank of registers, or several.
    #[error("the quote is not of one bank of SHA-256 registers")]
    Bank,
    /// It is of other registers than there are values for.
    #[error("the quote is not of the registers that there are values for")]
    Registers,
    /// The registers had other values.
    #[error("the registers that were quoted had other values")]
    Values,
    /// It certifies another key.
    #[error("it certifies another key")]
    OtherKey,
}

/// A quote as a TPM gives it, or what else its attestation key says. Nothing of it is trusted yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quote {
    /// TPMS_ATTEST.
    #[serde(with = "text::base64")]
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    #[serde(with = "text::base64")]
    pub signature: Vec<u8>,
}

/// What a quote says, once its signature held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// Milliseconds that the TPM has been on, since it was cleared.
    pub clock_ms: u64,
    /// How often it was reset since it was cleared: by every boot of the machine, and by nothing that keeps its registers.
    pub reset_count: u32,
    /// How often it was resumed since it was reset.
    pub restart_count: u32,
    /// Whether its clock is known not to have stood still.
    pub clock_safe: bool,
    /// Version of its firmware.
    pub firmware: u64,
    registers: Vec<u8>,
    digest: Vec<u8>,
}

impl Quoted {
    /// Whether the TPM was neither reset nor restarted between the two, so that no register was set back: a restart, which a machine that
    /// slept may need, counts apart. Of one key's quotes only: a TPM may blur the counters of what others sign.
    #[must_use]
    pub fn is_same_boot(&self, other: &Self) -> bool {
        (self.reset_count, self.restart_count) == (other.reset_count, other.restart_count)
    }
}

impl Quote {
    /// What the quote says, if it is by this key and over these bytes.
    ///
    /// # Errors
    /// Why it says nothing.
    pub fn verify(&self, key: &AttestationKey, data: &[u8]) -> Result<Quoted, QuoteError> {
        let attest = self.signed(key, data)?;
        let TpmuAttest::Quote(quote) = &attest.attested else { return Err(QuoteError::Malformed) };
        Ok(Quoted {
            clock_ms: attest.clock_info.clock.into(),
            reset_count: attest.clock_info.reset_count.into(),
            restart_count: attest.clock_info.restart_count.into(),
            clock_safe: attest.clock_info.safe.into(),
            firmware: attest.firmware_version.into(),
            registers: registers(quote)?,
            digest: quote.pcr_digest.to_vec(),
        })
    }

    /// Whether it is this attestation key's certificate over these bytes for that key: it was made in the same TPM, and cannot leave
    /// it. Who may use it, that does not show.
    ///
    /// # Errors
    /// Why it says nothing, or that it certifies another key.
    pub fn certifies(&self, key: &AttestationKey, data: &[u8], certified: &SigningKey) -> Result<(), QuoteError> {
        let attest = self.signed(key, data)?;
        let TpmuAttest::Certify(certify) = &attest.attested else { return Err(QuoteError::Malformed) };
        if *certify.name == *certified.name() { Ok(()) } else { Err(QuoteError::OtherKey) }
    }

    fn signed(&self, key: &AttestationKey, data: &[u8]) -> Result<TpmsAttest, QuoteError> {
        if !key.verifies(&self.attest, &self.signature) {
            return Err(QuoteError::Signature);
        }
        // That it begins with TPM_GENERATED_VALUE, which no restricted key signs from outside, is a matter of reading it.
        let attest: TpmsAttest = whole(&self.attest).ok_or(QuoteError::Malformed)?;
        if *attest.extra_data == *data { Ok(attest) } else { Err(QuoteError::OtherData) }
    }
}

impl Quoted {
    /// The registers that were quoted, in order.
    #[must_use]
    pub fn registers(&self) -> &[u8] {
        &self.registers
    }

    /// Whether exactly these registers were quoted, with these values.
    ///
    /// # Errors
    /// If not.
    pub fn had(&self, values: &PcrValues) -> Result<(), QuoteError> {
        if !values.pcrs().eq(self.registers.iter().copied()) {
            return Err(QuoteError::Registers);
        }
        if self.digest == values.digest() { Ok(()) } else { Err(QuoteError::Values) }
    }
}

/// The registers of the one bank, in order: a bit each, the lowest first.
fn registers(quote: &TpmsQuoteInfo) -> Result<Vec<u8>, QuoteError> {
    let [selection] = quote.pcr_select.as_ref() else { return Err(QuoteError::Bank) };
    if selection.hash != TpmAlgId::Sha256 {
        return Err(QuoteError::Bank);
    }
    let bits = (0_u8..).zip(selection.pcr_select.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)));
    Ok(bits.filter(|(_, bit)| *bit == 1).map(|(register, _)| register).collect())
}
