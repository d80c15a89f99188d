//! Asking an authority: the bytes to send, and what its answer has to be.

use super::TOKEN_BYTES_MAX;
use super::token::{Token, TokenError};
use super::wire::{self, MessageImprint, PkiStatus, TimeStampReq, TimeStampResp};
use der::asn1::{Int, OctetString};
use der::{Decode as _, Encode as _};
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_cert::spki::AlgorithmIdentifierOwned;

/// Bytes of a nonce.
const NONCE_BYTES: usize = 16;

/// Why an answer is no timestamp.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// It cannot be read.
    #[error("the answer is none of RFC 3161")]
    Malformed,
    /// It says no.
    #[error("the authority refused{0}")]
    Refused(String),
    /// Its token is none.
    #[error("the answer's token proves nothing")]
    Token(#[from] TokenError),
    /// It is the answer to another question.
    #[error("the answer is to another question (nonce)")]
    Nonce,
}

/// A question to an authority.
#[derive(Debug, Clone)]
pub struct Request {
    imprint: MessageImprint,
    nonce: Int,
    der: Vec<u8>,
}

impl Request {
    /// For the SHA-256 of these bytes. `random` makes the answer a fresh one. None if DER cannot write it, which does not occur.
    #[must_use]
    pub fn new(message: &[u8], random: [u8; NONCE_BYTES]) -> Option<Self> {
        let hash_algorithm = AlgorithmIdentifierOwned { oid: wire::SHA256, parameters: None };
        let hashed_message = OctetString::new(Sha256::digest(message).to_vec()).ok()?;
        let imprint = MessageImprint { hash_algorithm, hashed_message };
        // Positive and of full length, so that it is written with all its bytes.
        let mut nonce = random;
        nonce[0] = nonce[0] & 0x7f | 0x40;
        let nonce = Int::new(&nonce).ok()?;
        let request = TimeStampReq {
            version: 1,
            message_imprint: imprint.clone(),
            req_policy: None,
            nonce: Some(nonce.clone()),
            cert_req: true,
        };
        let der = request.to_der().ok()?;
        Some(Self { imprint, nonce, der })
    }

    /// What to send, as `application/timestamp-query`.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The token of an answer, in DER, and the time that it says. It is for this question, and signed by a certificate that
    /// it carries; whether that is to be trusted is for whoever verifies.
    ///
    /// # Errors
    /// Why there is none.
    pub fn token(&self, answer: &[u8]) -> Result<(Vec<u8>, u64), ResponseError> {
        if answer.len() > 2 * TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge.into());
        }
        let answer = TimeStampResp::from_der(answer).map_err(|_| ResponseError::Malformed)?;
        if !matches!(answer.status.status, PkiStatus::Granted | PkiStatus::GrantedWithMods) {
            let text = answer.status.status_string.unwrap_or_default();
            let text: Vec<&str> = text.iter().map(|text| text.as_str()).collect();
            let text = if text.is_empty() { String::new() } else { format!(": {}", text.join(" ")) };
            return Err(ResponseError::Refused(text));
        }
        let der = answer.time_stamp_token.and_then(|token| token.to_der().ok()).ok_or(ResponseError::Malformed)?;
        let token = Token::read(&der)?;
        token.signer(&token.carried())?;
        if *token.imprint().hashed_message.as_bytes() != *self.imprint.hashed_message.as_bytes()
            || token.imprint().hash_algorithm.oid != self.imprint.hash_algorithm.oid
        {
            return Err(TokenError::OtherMessage.into());
        }
        if token.nonce() != Some(&self.nonce) {
            return Err(ResponseError::Nonce);
        }
        Ok((der, token.time()))
    }
}
