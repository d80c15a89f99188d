//! Writing an envelope without holding its payload: the payload is written once to be counted and once to be hashed and
//! encoded, by the same function.

use super::attached::TSP;
use super::key::{SignError, Signer};
use super::{PAYLOAD_BYTES_MAX, PAYLOAD_TYPE, pae_prefix};
use crate::merkle::Hash;
use base64::engine::general_purpose::STANDARD;
use base64::{Engine as _, write::EncoderWriter};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use thiserror::Error;

/// Why no envelope was written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The output or the payload's function failed.
    #[error("the envelope could not be written")]
    Io(#[from] io::Error),
    /// The envelope would be over what a reader takes.
    #[error("a payload of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Bytes of the payload.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The payload was not the same when written again.
    #[error("the payload changed between two writings")]
    Unstable,
    /// The signer failed.
    #[error("the statement could not be signed")]
    Sign(#[from] SignError),
}

/// What was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the payload.
    pub payload_sha256: Hash,
    /// Bytes of the payload.
    pub payload_bytes: u64,
}

/// Writes `{"payloadType":…,"payload":…,"signatures":[…]}` and a line end. `payload` writes the payload's bytes; it is
/// called twice and must write the same each time.
///
/// # Errors
/// Why there is no envelope; what `out` got so far is worthless then.
pub fn write_envelope<W, F>(out: W, payload: F, signers: &[&dyn Signer]) -> Result<Written, WriteError>
where
    W: Write,
    F: Fn(&mut dyn Write) -> io::Result<()>,
{
    write_stamped(out, payload, signers, |_| Vec::new())
}

/// The same; `stamp` is given each signature's bytes, and returns the timestamps that it is to carry: tokens of RFC 3161 in DER.
///
/// # Errors
/// As [`write_envelope`].
pub fn write_stamped<W, F>(
    mut out: W,
    payload: F,
    signers: &[&dyn Signer],
    stamp: impl Fn(&[u8]) -> Vec<Vec<u8>>,
) -> Result<Written, WriteError>
where
    W: Write,
    F: Fn(&mut dyn Write) -> io::Result<()>,
{
    let mut first = Digested { out: io::sink(), sha256: Sha256::new(), pae: Sha256::new(), bytes: 0 };
    payload(&mut first)?;
    let first = Written { payload_sha256: first.sha256.finalize().into(), payload_bytes: first.bytes };
    within_limit(first.payload_bytes)?;
    write!(out, "{{\"payloadType\":\"{PAYLOAD_TYPE}\",\"payload\":\"")?;
    let (second, pae) = encode(&mut out, &payload, first.payload_bytes)?;
    if first != second {
        return Err(WriteError::Unstable);
    }
    out.write_all(b"\",\"signatures\":[")?;
    for (index, signer) in signers.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(out, "{comma}")?;
        write_signature(&mut out, *signer, &pae, &stamp)?;
    }
    out.write_all(b"]}\n")?;
    out.flush()?;
    Ok(first)
}

/// One signature, with its certificates as go-witness has them (each in PEM, in base64), and its timestamps likewise.
fn write_signature(
    out: &mut dyn Write,
    signer: &dyn Signer,
    pae: &Hash,
    stamp: &impl Fn(&[u8]) -> Vec<Vec<u8>>,
) -> Result<(), WriteError> {
    let keyid = serde_json::to_string(signer.keyid()).map_err(io::Error::from)?;
    let signature = signer.sign_prehash(pae)?;
    write!(out, "{{\"keyid\":{keyid},\"sig\":\"{}\"", STANDARD.encode(&signature))?;
    if let [certificate, intermediates @ ..] = signer.certificates() {
        write!(out, ",\"certificate\":\"{}\"", STANDARD.encode(certificate))?;
        if !intermediates.is_empty() {
            let between: Vec<String> =
                intermediates.iter().map(|pem| format!("\"{}\"", STANDARD.encode(pem))).collect();
            write!(out, ",\"intermediates\":[{}]", between.join(","))?;
        }
    }
    let stamps: Vec<String> = stamp(&signature).iter().map(|token| timestamp(token)).collect();
    if !stamps.is_empty() {
        write!(out, ",\"timestamps\":[{}]", stamps.join(","))?;
    }
    out.write_all(b"}")?;
    Ok(())
}

pub(super) fn timestamp(token: &[u8]) -> String {
    format!("{{\"type\":\"{TSP}\",\"data\":\"{}\"}}", STANDARD.encode(token))
}

/// A payload that no reader would take is not signed.
pub(super) fn within_limit(bytes: u64) -> Result<(), WriteError> {
    let max = PAYLOAD_BYTES_MAX;
    if bytes > max { Err(WriteError::TooLarge { bytes, max }) } else { Ok(()) }
}

/// Writes the payload as base64; returns what it was, and the digest of its pre-authentication encoding.
fn encode<F>(out: &mut dyn Write, payload: &F, payload_bytes: u64) -> io::Result<(Written, Hash)>
where
    F: Fn(&mut dyn Write) -> io::Result<()>,
{
    let pae = Sha256::new_with_prefix(pae_prefix(PAYLOAD_TYPE, payload_bytes));
    let encoder = EncoderWriter::new(out, &STANDARD);
    let mut digested = Digested { out: encoder, sha256: Sha256::new(), pae, bytes: 0 };
    payload(&mut digested)?;
    digested.out.finish()?;
    let written = Written { payload_sha256: digested.sha256.finalize().into(), payload_bytes: digested.bytes };
    Ok((written, digested.pae.finalize().into()))
}

/// An output whose bytes are hashed, with and without the encoding's beginning, and counted.
struct Digested<W> {
    out: W,
    sha256: Sha256,
    pae: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        let bytes = bytes.get(..written).unwrap_or(bytes);
        self.sha256.update(bytes);
        self.pae.update(bytes);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        // An encoder that is flushed would pad: it is finished by its owner.
        Ok(())
    }
}
