//! A machine that was enrolled: the attestation key of its TPM, and who its statements are signed by.

use crate::json::Object;
use crate::text;
use crate::tpm::{AttestationKey, KeyError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of an enrolment at most.
pub const MACHINE_BYTES_MAX: usize = 64 << 10;
const VERSION: u32 = 1;

/// Why an enrolment is none.
#[derive(Debug, Error)]
pub enum MachineError {
    /// It is no such document.
    #[error("no enrolment of a machine (JSON)")]
    Json(#[from] serde_json::Error),
    /// It is too long, or of another version.
    #[error("no enrolment of a machine of version {VERSION}, of at most {MACHINE_BYTES_MAX} bytes")]
    Version,
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
    /// Whether the key's TPM is one that a maker vouches for, and opened a credential for it. Else it was believed once.
    certified: bool,
}

impl Machine {
    /// A machine by its attestation key (TPM2B_PUBLIC).
    ///
    /// # Errors
    /// Why that is none.
    pub fn new(name: &str, tpm2b_public: &[u8], spiffe_id: Option<&str>, certified: bool) -> Result<Self, KeyError> {
        let record = Record {
            version: VERSION,
            name: name.to_owned(),
            attestation_key: tpm2b_public.to_vec(),
            spiffe_id: spiffe_id.map(ToOwned::to_owned),
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

    /// Whether a maker stands behind its TPM.
    #[must_use]
    pub fn is_certified(&self) -> bool {
        self.record.certified
    }
}
