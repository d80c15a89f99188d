//! What the agent and `testimony-tpm`, which alone speaks to the TPM, say to each other: one JSON object a line, a
//! question each and an answer each, in order.
//!
//! Structures of the TPM travel as the TPM gave them, in base64; `attestation::tpm` reads them. Neither side believes
//! the other: the helper refuses what it is not asked for in this form, and whatever it answers is held against keys.
#![forbid(unsafe_code)]

mod bytes;

pub use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Of the messages below. A helper refuses any other.
pub const VERSION: u32 = 1;
/// Bytes of a line at most, without its end.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a nonce at most.
pub const NONCE_BYTES_MAX: usize = 32;

/// A question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// Which the answer has too.
    pub id: u64,
    /// What.
    pub ask: Ask,
}

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Who the TPM is, and the attestation key, which is made if there is none yet.
    Identify {
        /// Whether it is a fault if no endorsement key has a certificate.
        certified: bool,
    },
    /// What registers of the bank of SHA-256 hold, signed by the attestation key.
    Quote {
        /// At most [`NONCE_BYTES_MAX`] bytes that the answer is to have in it.
        nonce: Bytes,
        /// Which registers.
        pcrs: Vec<u8>,
    },
    /// Extends the one register that the helper was started for.
    Extend {
        /// Which that is.
        pcr: u8,
        /// With what.
        sha256: Bytes,
    },
    /// What registers of the bank of SHA-256 hold, unsigned.
    Read {
        /// Which registers.
        pcrs: Vec<u8>,
    },
    /// Opens a credential that was made for an endorsement key of the TPM and the attestation key.
    Activate {
        /// Which endorsement key.
        endorsement: Algorithm,
        /// `TPM2B_ID_OBJECT`.
        blob: Bytes,
        /// `TPM2B_ENCRYPTED_SECRET`.
        encrypted_seed: Bytes,
    },
    /// The signing key, which is made if there is none yet, certified by the attestation key.
    SigningKey {
        /// At most [`NONCE_BYTES_MAX`] bytes that the certificate is to have in it.
        nonce: Bytes,
    },
    /// Signs a digest with the signing key.
    Sign {
        /// 32 bytes.
        sha256: Bytes,
    },
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// [`VERSION`].
    pub version: u32,
    /// That of the question; none if it had none that could be read.
    pub id: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// An answer to it.
    Answer(Answer),
    /// Why there is none.
    Fault(Fault),
}

/// What was asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// To [`Ask::Identify`].
    Identity(Box<Identity>),
    /// To [`Ask::Quote`].
    Quote {
        /// What was signed (`TPMS_ATTEST`).
        attest: Bytes,
        /// The signature (`TPMT_SIGNATURE`).
        signature: Bytes,
        /// The values that the quote is over.
        values: Vec<Register>,
        /// The attestation key (`TPM2B_PUBLIC`).
        key: Bytes,
    },
    /// To [`Ask::Extend`].
    Extended,
    /// To [`Ask::Read`].
    Values {
        /// In ascending order.
        values: Vec<Register>,
    },
    /// To [`Ask::Activate`].
    Activated {
        /// What the credential held.
        secret: Bytes,
    },
    /// To [`Ask::SigningKey`].
    SigningKey {
        /// `TPM2B_PUBLIC`.
        public: Bytes,
        /// What was signed (`TPMS_ATTEST`).
        attest: Bytes,
        /// The signature (`TPMT_SIGNATURE`).
        signature: Bytes,
    },
    /// To [`Ask::Sign`].
    Signed {
        /// `TPMT_SIGNATURE`.
        signature: Bytes,
    },
}

/// Who the TPM is, by its own word.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Four characters, by TCG's registry.
    pub manufacturer: String,
    /// What the manufacturer calls it.
    pub model: String,
    /// As the manufacturer counts them.
    pub firmware_version: u64,
    /// The endorsement keys that have a certificate; if none has, that of RSA without one.
    pub endorsement: Vec<Endorsement>,
    /// The attestation key (`TPM2B_PUBLIC`).
    pub attestation_key: Bytes,
    /// Its name.
    pub attestation_name: Bytes,
    /// The clock and the counters.
    pub clock: Clock,
    /// Banks of registers.
    pub banks: Vec<Bank>,
}

/// An endorsement key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsement {
    /// Which.
    pub algorithm: Algorithm,
    /// The certificate, in DER.
    pub certificate: Option<Bytes>,
    /// The public area (`TPM2B_PUBLIC`).
    pub public: Bytes,
}

/// Of an endorsement key: those that every TPM of a PC has by TCG's templates L-1 and L-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA of 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// ECC on P-256.
    #[serde(rename = "ecc-p256")]
    EccP256,
}

/// The clock and the counters, as signed by the attestation key a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Milliseconds.
    pub clock_ms: u64,
    /// Boots.
    pub reset_count: u32,
    /// Resumes since.
    pub restart_count: u32,
    /// Whether no higher value of the clock was given before.
    pub safe: bool,
}

/// A bank of registers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    /// The digest's name: `sha256`.
    pub algorithm: String,
    /// The registers that it has.
    pub pcrs: Vec<u8>,
}

/// A register's value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Which.
    pub pcr: u8,
    /// 32 bytes.
    pub sha256: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// To act upon.
    pub code: FaultCode,
    /// To show, a sentence.
    pub message: String,
}

/// What a caller may act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// The question is in no form that is known, or of another version, or too long.
    NotUnderstood,
    /// Something that is not done: another register, a nonce that is too long.
    Refused,
    /// There is no TPM device.
    NoDevice,
    /// There is one, or is to be, and it cannot be reached.
    Unreachable,
    /// It went away while it was asked. Whether it did what was asked is not known.
    Vanished,
    /// It was busy for longer than was waited.
    Busy,
    /// It refuses all use of protected keys for a while.
    Lockout,
    /// All its sessions are taken.
    NoSessions,
    /// It has no room for another key.
    NoMemory,
    /// Its hierarchy has a password.
    Password,
    /// No endorsement key has a certificate.
    NoEkCertificate,
    /// It has no bank of SHA-256.
    NoBank,
    /// The registers changed at each of several attempts to quote them.
    Changing,
    /// The credential was not made for these two keys, or was changed.
    Credential,
    /// There is no signing key yet.
    NoSigningKey,
    /// The keys of the state folder are not this TPM's.
    ForeignKeys,
    /// The state folder cannot be used.
    State,
    /// The TPM said something else.
    Tpm,
}
