//! Enrolment: how an attestation key is bound to a TPM that a maker vouches for, and to who signs there.
//!
//! The machine says which keys it has; whoever enrols it answers with a secret that only the TPM with that endorsement key opens, and
//! only if it has that attestation key too; the machine gives the secret back. No TPM is needed but the machine's own.
//!
//! Source: TPM 2.0 Library, part 1, section 24; RFC 9683, section 3. What is bound so is bound at that time: an endorsement key cannot be
//! moved, and an attestation key dies with the TPM's clearing.

use super::machine::{Machine, MachineError};
use crate::hex;
use crate::json::Object;
use crate::merkle::Hash;
use crate::text;
use crate::tpm::{AttestationKey, CredentialError, EndorsementKey, KeyError, MakerError, Makers, SECRET_BYTES};
use crate::x509::UnixSeconds;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Bytes of a message at most.
pub const ENROL_BYTES_MAX: usize = 256 << 10;
/// Endorsement keys of a request at most.
const ENDORSEMENT_KEYS_MAX: usize = 8;
const VERSION: u32 = 1;

/// Why there is no enrolment.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The message is none.
    #[error("no message of an enrolment (JSON)")]
    Json(#[from] serde_json::Error),
    /// It is too long, or of another version.
    #[error("no message of an enrolment of version {VERSION}, of at most {ENROL_BYTES_MAX} bytes")]
    Version,
    /// The attestation key.
    #[error("the attestation key")]
    Key(#[from] KeyError),
    /// No endorsement key.
    #[error("the request has no endorsement key, or more than {ENDORSEMENT_KEYS_MAX}")]
    NoEndorsementKey,
    /// Another one is wanted.
    #[error(
        "the request has no endorsement key {0}: it is of another TPM, or the name was not written as `enrol request` shows it"
    )]
    OtherKey(String),
    /// None of them has a certificate.
    #[error("no endorsement key of the TPM has a certificate: no maker can vouch for it")]
    NoCertificate,
    /// No maker vouches for one.
    #[error("the endorsement key")]
    Maker(#[from] MakerError),
    /// Nothing can be encrypted for it.
    #[error("the credential")]
    Credential(#[from] CredentialError),
    /// There is no randomness.
    #[error("no random bytes")]
    Random,
    /// The secret is another.
    #[error("the answer does not have the secret: it is of another challenge, or of another TPM")]
    Secret,
    /// It took too long.
    #[error("the challenge was made too long ago: begin anew")]
    Late,
    /// What is settled of the machine.
    #[error("the enrolment")]
    Machine(#[from] MachineError),
}

/// What a machine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    version: u32,
    /// TPM2B_PUBLIC.
    #[serde(with = "text::base64")]
    attestation_key: Vec<u8>,
    endorsement_keys: Vec<Endorsement>,
}

/// An endorsement key, and its certificate if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsement {
    /// TPM2B_PUBLIC.
    #[serde(with = "text::base64")]
    pub public: Vec<u8>,
    /// In DER, with what may follow it; empty if it has none.
    #[serde(with = "text::base64")]
    pub certificate: Vec<u8>,
}

/// What is settled of a machine by whoever enrols it.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Who signs there.
    pub spiffe_id: Option<&'a str>,
    /// The register that it seals in.
    pub seal_pcr: u8,
    /// Who may have made its TPM; without them it is believed.
    pub makers: Option<&'a Makers>,
    /// The name of its endorsement key in hexadecimal, where that is known.
    pub endorsement_key: Option<&'a str>,
}

/// What a machine is to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Challenge {
    version: u32,
    /// Which of its endorsement keys: `rsa-2048` or `ecc-p256`, as TCG's templates have them.
    pub endorsement: String,
    /// TPM2B_ID_OBJECT.
    #[serde(with = "text::base64")]
    pub id_object: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET.
    #[serde(with = "text::base64")]
    pub encrypted_secret: Vec<u8>,
}

/// What a machine found in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    version: u32,
    #[serde(with = "text::base64")]
    secret: Vec<u8>,
}

/// A challenge that is not answered yet, for whoever made it. It does not have the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pending {
    version: u32,
    #[serde(with = "text::hash")]
    secret_sha256: Hash,
    /// Unix time from which on it is too late.
    #[serde(with = "text::number")]
    expires: UnixSeconds,
    machine: serde_json::Value,
}

impl Request {
    /// By an attestation key (TPM2B_PUBLIC) and endorsement keys.
    #[must_use]
    pub fn new(attestation_key: &[u8], endorsement_keys: Vec<Endorsement>) -> Self {
        Self { version: VERSION, attestation_key: attestation_key.to_vec(), endorsement_keys }
    }

    /// A challenge for this machine, to be called `name`, where `spiffe_id` signs and logs are sealed in `seal_pcr`. With makers, one of them has to vouch for an
    /// endorsement key of its TPM at `now`; without, the TPM is believed this once, and the enrolment says so.
    ///
    /// # Errors
    /// Why there is none.
    pub fn challenge(
        &self,
        terms: &Terms,
        now: UnixSeconds,
        lifetime: UnixSeconds,
    ) -> Result<(Challenge, Pending), EnrolError> {
        let key = AttestationKey::read(&self.attestation_key)?;
        let endorsement = self.endorsement_key(terms, now)?;
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| EnrolError::Random)?;
        let credential = endorsement.make_credential(&key, &secret)?;
        let certified = terms.makers.is_some();
        let machine = Machine::new(terms.name, &self.attestation_key, terms.spiffe_id, terms.seal_pcr, certified)?;
        let challenge = Challenge {
            version: VERSION,
            endorsement: endorsement.template().to_owned(),
            id_object: credential.id_object,
            encrypted_secret: credential.encrypted_secret,
        };
        let pending = Pending {
            version: VERSION,
            secret_sha256: Sha256::digest(secret).into(),
            expires: now.saturating_add(lifetime),
            machine: serde_json::from_slice(&machine.to_json()?)?,
        };
        Ok((challenge, pending))
    }

    /// The TPM's names of its endorsement keys, in hexadecimal, as TPM2_ReadPublic has them: whoever enrols can hold them against
    /// what was noted when the machine was set up.
    ///
    /// # Errors
    /// Why one cannot be read.
    pub fn endorsement_names(&self) -> Result<Vec<String>, EnrolError> {
        let name = |key: &Endorsement| Ok(hex::encode(EndorsementKey::read(&key.public)?.name()));
        self.endorsement_keys.iter().map(name).collect()
    }

    fn endorsement_key(&self, terms: &Terms, now: UnixSeconds) -> Result<EndorsementKey, EnrolError> {
        let mut keys = Vec::new();
        if self.endorsement_keys.is_empty() || self.endorsement_keys.len() > ENDORSEMENT_KEYS_MAX {
            return Err(EnrolError::NoEndorsementKey);
        }
        for key in &self.endorsement_keys {
            keys.push((EndorsementKey::read(&key.public)?, &key.certificate));
        }
        if let Some(wanted) = terms.endorsement_key {
            keys.retain(|(key, _)| hex::encode(key.name()).eq_ignore_ascii_case(wanted));
            if keys.is_empty() {
                return Err(EnrolError::OtherKey(wanted.to_owned()));
            }
        }
        let Some(makers) = terms.makers else {
            return keys.into_iter().next().map(|(key, _)| key).ok_or(EnrolError::NoEndorsementKey);
        };
        let mut error = EnrolError::NoCertificate;
        for (key, certificate) in keys.into_iter().filter(|(_, certificate)| !certificate.is_empty()) {
            match makers.vouch(&key, certificate, now) {
                Ok(()) => return Ok(key),
                Err(refused) => error = refused.into(),
            }
        }
        Err(error)
    }
}

impl Answer {
    /// By the secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self { version: VERSION, secret: secret.to_vec() }
    }
}

impl Pending {
    /// The machine, if this is the answer and it came in time. A challenge is answered once: whoever keeps it drops it then.
    ///
    /// # Errors
    /// Why not.
    pub fn accept(&self, answer: &Answer, now: UnixSeconds) -> Result<Machine, EnrolError> {
        if now > self.expires {
            return Err(EnrolError::Late);
        }
        if self.secret_sha256 != <[u8; 32]>::from(Sha256::digest(&answer.secret)) {
            return Err(EnrolError::Secret);
        }
        Ok(Machine::read(&serde_json::to_vec(&self.machine)?)?)
    }
}

/// A message of an enrolment.
pub trait Message: Serialize + DeserializeOwned {
    /// Which version it says that it is of.
    fn version(&self) -> u32;

    /// Reads one.
    ///
    /// # Errors
    /// Why it is none.
    fn read(json: &[u8]) -> Result<Self, EnrolError> {
        if json.len() > ENROL_BYTES_MAX {
            return Err(EnrolError::Version);
        }
        let Object(message) = serde_json::from_slice::<Object<Self>>(json)?;
        if message.version() == VERSION { Ok(message) } else { Err(EnrolError::Version) }
    }

    /// It, as it is read.
    ///
    /// # Errors
    /// If it cannot be written, which does not occur.
    fn to_json(&self) -> Result<Vec<u8>, EnrolError> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }
}

macro_rules! message {
    ($($kind:ty),*) => {
        $(impl Message for $kind {
            fn version(&self) -> u32 {
                self.version
            }
        })*
    };
}
message!(Request, Challenge, Answer, Pending);
