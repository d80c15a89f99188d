//! The statement of a quote: what was asked, what the TPM signed, and what its registers are said to have held.

use super::seal::{HEADS_MAX, Head, Heads, SealList};
use crate::dsse::PublicKey;
use crate::json::Object;
use crate::merkle::Hash;
use crate::statement::STATEMENT_TYPE;
use crate::text;
use crate::tpm::{AttestationKey, KeyError, PcrValues, Quote, QuoteError, SigningKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use thiserror::Error;

/// `predicateType` of a quote.
pub const PREDICATE_TYPE: &str = "urn:testimony:tpm-quote:v1";
/// Bytes of the payload at most: a seal a second for a week.
pub const QUOTE_BYTES_MAX: usize = 192 << 20;
/// Bytes of a nonce at most.
pub const NONCE_BYTES_MAX: usize = 64;
/// The qualifying data of a signing key's certificate.
pub const CERTIFIED_DATA: &[u8] = b"testimony-signing-key/1";
/// Keys that are named at most.
pub const SIGNERS_MAX: usize = 64;

const SUBJECT: &str = "statement";
const END: &[u8] = b"testimony-quote/1\0";
const START: &[u8] = b"testimony-quote-start/1\0";

/// Why a payload says nothing of a quote.
#[derive(Debug, Error)]
pub enum QuotingError {
    /// It is no such document.
    #[error("not the document of a quote")]
    Json(#[from] serde_json::Error),
    /// It is about something else, or of another version.
    #[error("not a statement of type {PREDICATE_TYPE} with one subject")]
    Kind,
    /// It is too long.
    #[error("the document of a quote is over the limit of {QUOTE_BYTES_MAX} bytes")]
    TooLarge,
    /// Its nonce is too long.
    #[error("the nonce of a quote is over the limit of {NONCE_BYTES_MAX} bytes")]
    Nonce,
    /// It names too many keys.
    #[error("a quote names more than {SIGNERS_MAX} keys")]
    Signers,
    /// It has too many heads.
    #[error("a quote has more than {HEADS_MAX} heads of its session")]
    Heads,
}

/// Why a key is not a TPM's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CertifiedError {
    /// It is no such key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It has no certificate.
    #[error(transparent)]
    Certificate(#[from] QuoteError),
}

/// What the TPM was asked at the end: this, and the digest of the signed statement, are what its answer is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// What makes it a question of its own: somebody else's, or random.
    #[serde(with = "text::bytes")]
    pub nonce: Vec<u8>,
    /// The session.
    #[serde(with = "text::session")]
    pub session: [u8; 16],
    /// The log's head.
    pub log: Head,
    /// Ids of the keys that may have signed the statement.
    pub signers: Vec<String>,
}

impl Asked {
    /// The qualifying data of the quote.
    #[must_use]
    pub fn data(&self, payload_sha256: &Hash) -> Hash {
        let size = self.log.tree_size.to_be_bytes();
        let fixed: [&[u8]; 5] = [&self.nonce, &self.session, &size, &self.log.root, payload_sha256];
        digest(END, fixed.into_iter().chain(self.signers.iter().map(String::as_bytes)))
    }
}

/// The qualifying data of the quote at the start.
#[must_use]
pub fn start_data(nonce: &[u8], session: &[u8; 16]) -> Hash {
    digest(START, [nonce, session].into_iter())
}

/// Over the parts, each with its length before it.
fn digest<'a>(domain: &[u8], parts: impl Iterator<Item = &'a [u8]>) -> Hash {
    let with = |sha256: Sha256, part: &[u8]| sha256.chain_update((part.len() as u64).to_be_bytes()).chain_update(part);
    parts.fold(Sha256::new_with_prefix(domain), with).finalize().into()
}

/// The seals of a session, with all others of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seals {
    /// The register.
    pub pcr: u8,
    /// What it had when the session began.
    #[serde(with = "text::hash")]
    pub value: Hash,
    /// The quote of that, over [`start_data`].
    pub start: Quote,
    /// All extensions since the boot.
    pub list: SealList,
    /// The heads that the session's own seals are of.
    pub heads: Heads,
}

/// All that is said with a quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quoting {
    /// The question.
    pub asked: Asked,
    /// The key that answered (TPM2B_PUBLIC).
    #[serde(with = "text::base64")]
    pub attestation_key: Vec<u8>,
    /// The answer.
    pub quote: Quote,
    /// What the registers held.
    pub registers: PcrValues,
    /// What was sealed.
    pub seals: Seals,
    /// A key of the TPM's that signed the statement, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::json::present")]
    pub signing_key: Option<CertifiedKey>,
}

/// A signing key that cannot leave its TPM, by the word of the attestation key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedKey {
    /// TPM2B_PUBLIC.
    #[serde(with = "text::base64")]
    pub public: Vec<u8>,
    /// The certificate, over [`CERTIFIED_DATA`].
    pub certificate: Quote,
}

impl CertifiedKey {
    /// The key, if this attestation key certifies it.
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify(&self, by: &AttestationKey) -> Result<PublicKey, CertifiedError> {
        let key = SigningKey::read(&self.public)?;
        self.certificate.certifies(by, CERTIFIED_DATA, &key)?;
        Ok(key.key().clone())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document<Q> {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Q,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: Sha256Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sha256Digest {
    #[serde(with = "text::hash")]
    sha256: Hash,
}

impl Quoting {
    /// Writes the payload: a statement about the statement with this payload. What no reader would take is not written to its end.
    ///
    /// # Errors
    /// What `out` answers; `FileTooLarge` with a [`QuotingError`] that names the limit.
    pub fn write(&self, payload_sha256: &Hash, out: impl Write) -> io::Result<()> {
        self.is_within_limits().map_err(too_large)?;
        let subject = Subject { name: SUBJECT.to_owned(), digest: Sha256Digest { sha256: *payload_sha256 } };
        let document = Document {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![subject],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: self,
        };
        Ok(serde_json::to_writer(Limited { out, left: QUOTE_BYTES_MAX }, &document)?)
    }

    /// What reader and writer hold it to alike, but for its length.
    fn is_within_limits(&self) -> Result<(), QuotingError> {
        let Asked { nonce, signers, .. } = &self.asked;
        if nonce.len() > NONCE_BYTES_MAX {
            return Err(QuotingError::Nonce);
        }
        if signers.len() > SIGNERS_MAX {
            return Err(QuotingError::Signers);
        }
        if self.seals.heads.0.len() > HEADS_MAX {
            return Err(QuotingError::Heads);
        }
        Ok(())
    }

    /// Reads a payload; with it, the digest of the payload that it is about. Nothing of it is held against anything yet.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(payload: &[u8]) -> Result<(Self, Hash), QuotingError> {
        if payload.len() > QUOTE_BYTES_MAX {
            return Err(QuotingError::TooLarge);
        }
        let Object(document) = serde_json::from_slice::<Object<Document<Self>>>(payload)?;
        let Document { kind, subject, predicate_type, predicate } = document;
        let [Subject { name, digest }] = subject.as_slice() else { return Err(QuotingError::Kind) };
        if kind != STATEMENT_TYPE || predicate_type != PREDICATE_TYPE || name != SUBJECT {
            return Err(QuotingError::Kind);
        }
        predicate.is_within_limits()?;
        Ok((predicate, digest.sha256))
    }
}

/// Takes so many bytes and no more.
struct Limited<W> {
    out: W,
    left: usize,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            return Err(too_large(QuotingError::TooLarge));
        }
        let written = self.out.write(bytes)?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn too_large(limit: QuotingError) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, limit)
}
