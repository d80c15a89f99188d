//! A machine that was enrolled: the attestation key of its TPM, and who its statements are signed by.

use crate::json::Object;
use crate::text;
use crate::tpm::{AttestationKey, KeyError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of an enrolment at most.
pub const MACHINE_BYTES_MAX: usize = 64 << 10;
const VERSION: u32 = 1;
/// Registers that may be sealed in: static ones, which firmware leaves to others.
pub const SEAL_PCRS: std::ops::RangeInclusive<u8> = 11..=15;

/// Why an enrolment is none.
#[derive(Debug, Error)]
pub enum MachineError {
    /// It is no such document.
    #[error("no enrolment of a machine (JSON)")]
    Json(#[from] serde_json::Error),
    /// It is too long, or of another version.
    #[error("no enrolment of a machine of version {VERSION}, of at most {MACHINE_BYTES_MAX} bytes")]
    Version,
    /// Its register.
    #[error("logs are sealed in one of the registers 11 to 15, which only a reset sets back")]
    Register,
    /// Its key.
    #[error("the enrolment's attestation key")]
    Key(#[from] KeyError),
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    record: Record,
    key: AttestationKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    version: u32,
    /// What whoever enrolled it calls it.
    name: String,
    /// TPM2B_PUBLIC.
    #[serde(with = "text::base64")]
    attestation_key: Vec<u8>,
    /// Who signs there, if that was settled.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::json::present")]
    spiffe_id: Option<String>,
    /// The register that its logs are sealed in. Another one could be filled with whatever fits, at any time.
    seal_pcr: u8,
    /// Whether the key's TPM is one that a maker vouches for, and opened a credential for it. Else it was believed once.
    certified: bool,
}

impl Machine {
    /// A machine by its attestation key (TPM2B_PUBLIC).
    ///
    /// # Errors
    /// Why that is none.
    pub fn new(
        name: &str,
        tpm2b_public: &[u8],
        spiffe_id: Option<&str>,
        seal_pcr: u8,
        certified: bool,
    ) -> Result<Self, MachineError> {
        if !SEAL_PCRS.contains(&seal_pcr) {
            return Err(MachineError::Register);
        }
        let record = Record {
            version: VERSION,
            name: name.to_owned(),
            attestation_key: tpm2b_public.to_vec(),
            spiffe_id: spiffe_id.map(ToOwned::to_owned),
            seal_pcr,
            certified,
        };
        Ok(Self { key: AttestationKey::read(tpm2b_public)?, record })
    }

    /// Reads an enrolment.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(json: &[u8]) -> Result<Self, MachineError> {
        if json.len() > MACHINE_BYTES_MAX {
            return Err(MachineError::Version);
        }
        let Object(record) = serde_json::from_slice::<Object<Record>>(json)?;
        if record.version != VERSION {
            return Err(MachineError::Version);
        }
        if !SEAL_PCRS.contains(&record.seal_pcr) {
            return Err(MachineError::Register);
        }
        Ok(Self { key: AttestationKey::read(&record.attestation_key)?, record })
    }

    /// The enrolment, as it is read.
    ///
    /// # Errors
    /// If it cannot be written, which does not occur.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec_pretty(&self.record)?;
        json.push(b'\n');
        Ok(json)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Its attestation key.
    #[must_use]
    pub fn key(&self) -> &AttestationKey {
        &self.key
    }

    /// Who signs there, if that was settled.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        self.record.spiffe_id.as_deref()
    }

    /// The register that its logs are sealed in.
    #[must_use]
    pub fn seal_pcr(&self) -> u8 {
        self.record.seal_pcr
    }

    /// What another enrolment of the same key says otherwise of it; nothing of one of another key.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> Option<&'static str> {
        let (one, other_record) = (&self.record, &other.record);
        let differs = [
            ("name", one.name != other_record.name),
            ("SPIFFE ID", one.spiffe_id != other_record.spiffe_id),
            ("register", one.seal_pcr != other_record.seal_pcr),
            ("word on who vouches for its TPM", one.certified != other_record.certified),
        ];
        let found = differs.into_iter().find(|(_, differs)| *differs);
        found.filter(|_| self.key == other.key).map(|(what, _)| what)
    }

    /// Whether a maker stands behind its TPM.
    #[must_use]
    pub fn is_certified(&self) -> bool {
        self.record.certified
    }
}
