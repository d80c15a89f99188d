//! A TPM that is nothing but a key and what it was told, and a machine that seals in it: quotes hold as those of a real one do,
//! and every part of what is said with them can be bent.

use super::{OPENED_NS, Session, Signed, key};
use crate::dsse::{WriteError, write_envelope};
use crate::evidence::LogWriter;
use crate::merkle::Hash;
use crate::platform::{Asked, Head, Heads, Machine, MachineError, Quoting, Seal, SealList, Seals, start_data};
use crate::tpm::{PCRS, PcrValues, Quote};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha256};
use std::io;

/// The register that synthetic machines seal in.
pub const SEAL_PCR: u8 = 12;
/// Registers that are quoted at the end.
const QUOTED: std::ops::RangeInclusive<u8> = 0..=15;
/// How long before its opening a session's first quote is made.
const BEFORE_NS: u64 = 1_000_000;

/// A TPM.
pub struct Tpm {
    key: SigningKey,
    /// What its registers hold.
    pub registers: PcrValues,
    /// Its clock.
    pub clock_ms: u64,
    /// How often it was reset.
    pub reset_count: u32,
}

impl Tpm {
    /// That of this number, just reset; none of number 0.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        let key = SigningKey::from_slice(&[number; 32]).ok()?;
        let mut tpm = Self { key, registers: PcrValues::new(), clock_ms: 0, reset_count: 0 };
        tpm.reset();
        Some(tpm)
    }

    /// Resets it, as a boot does.
    pub fn reset(&mut self) {
        self.reset_count += 1;
        for pcr in 0..PCRS {
            self.registers.set(pcr, Hash::default());
        }
    }

    /// Its attestation key (TPM2B_PUBLIC): on P-256, restricted to signing, fixed to it and made in it.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_sec1_point(false);
        let (x, y) = point.as_bytes().get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
        let area: [&[u8]; 6] = [
            &[0, 0x23, 0, 0x0b, 0, 0x05, 0, 0x72, 0, 0],
            &[0, 0x10, 0, 0x18, 0, 0x0b, 0, 0x03, 0, 0x10],
            &[0, 32],
            x,
            &[0, 32],
            y,
        ];
        sized(&area.concat())
    }

    /// Quotes registers over these bytes.
    #[must_use]
    pub fn quote(&self, data: &[u8], pcrs: &[u8]) -> Quote {
        let (mut bits, mut values) = ([0_u8; 3], PcrValues::new());
        for pcr in pcrs {
            if let (Some(byte), Some(value)) = (bits.get_mut(usize::from(pcr / 8)), self.registers.value(*pcr)) {
                *byte |= 1 << (pcr % 8);
                values.set(*pcr, *value);
            }
        }
        let attest: [&[u8]; 11] = [
            &[0xff, 0x54, 0x43, 0x47, 0x80, 0x18],
            &sized(&[&[0, 0x0b][..], &[7; 32]].concat()),
            &sized(data),
            &self.clock_ms.to_be_bytes(),
            &self.reset_count.to_be_bytes(),
            &[0; 4],
            &[1],
            &[9; 8],
            &[0, 0, 0, 1, 0, 0x0b, 3],
            &bits,
            &sized(&values.digest()),
        ];
        self.sign(attest.concat())
    }

    /// Signs whatever it is given, as no TPM would.
    #[must_use]
    pub fn sign(&self, attest: Vec<u8>) -> Quote {
        let signature: Signature = self.key.sign(&attest);
        let (r, s) = signature.split_bytes();
        let signature = [&[0, 0x18, 0, 0x0b][..], &sized(&r), &sized(&s)].concat();
        Quote { attest, signature }
    }
}

/// Two bytes of length, and the bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes(), bytes].concat()
}

/// A machine with such a TPM, and what was sealed in it since it was started.
pub struct Node {
    /// Its TPM.
    pub tpm: Tpm,
    /// All seals since its boot.
    pub seals: Vec<Seal>,
}

/// The seals of a session that goes on.
pub struct Sealing {
    session: [u8; 16],
    value: Hash,
    start: Quote,
    heads: Heads,
}

/// A session's statement with its evidence, and what its machine says.
pub struct Sealed {
    /// The statement and its log.
    pub signed: Signed,
    /// What is said with the quote.
    pub quoting: Quoting,
    /// SHA-256 of the statement.
    pub payload_sha256: Hash,
}

impl Node {
    /// That with the TPM of this number; none of number 0.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        Some(Self { tpm: Tpm::new(number)?, seals: Vec::new() })
    }

    /// Its enrolment.
    ///
    /// # Errors
    /// If the name is none.
    pub fn machine(&self, name: &str) -> Result<Machine, MachineError> {
        Machine::new(name, &self.tpm.public(), None, SEAL_PCR, true)
    }

    /// Starts it anew.
    pub fn reset(&mut self) {
        self.seals.clear();
        self.tpm.reset();
    }

    /// Quotes the register for a session that begins.
    #[must_use]
    pub fn begin(&mut self, session: [u8; 16], boottime_ns: u64) -> Sealing {
        self.tpm.clock_ms = boottime_ns / 1_000_000;
        let start = self.tpm.quote(&start_data(&session, &session), &[SEAL_PCR]);
        let value = self.tpm.registers.value(SEAL_PCR).copied().unwrap_or_default();
        Sealing { session, value, start, heads: Heads::default() }
    }

    /// Seals a head.
    pub fn seal(&mut self, sealing: &mut Sealing, head: Head, boottime_ns: u64) {
        let seal = Seal { session: sealing.session, boottime_ns, commitment: head.commitment() };
        self.seals.push(seal);
        let number = self.seals.len() as u64;
        self.tpm.registers.extend(SEAL_PCR, &seal.digest(number));
        self.tpm.clock_ms = boottime_ns / 1_000_000;
        sealing.heads.0.insert(number, head);
    }

    /// Quotes a statement with this payload, by the key of synthetic statements.
    ///
    /// # Errors
    /// None: the bytes are a key.
    pub fn quote(&self, sealing: Sealing, log: Head, payload_sha256: &Hash) -> io::Result<Quoting> {
        let Sealing { session, value, start, heads } = sealing;
        let signers = vec![key().map_err(io::Error::other)?.public().keyid().to_owned()];
        let bytes: Vec<u8> = self.seals.iter().flat_map(Seal::to_bytes).collect();
        let list = SealList::from_bytes(&bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let mut quoting = Quoting {
            asked: Asked { nonce: session.to_vec(), session, log, signers },
            attestation_key: self.tpm.public(),
            quote: Quote { attest: Vec::new(), signature: Vec::new() },
            registers: PcrValues::new(),
            seals: Seals { pcr: SEAL_PCR, value, start, list, heads },
            signing_key: None,
        };
        self.quote_again(&mut quoting, payload_sha256);
        Ok(quoting)
    }

    /// Quotes anew what is said otherwise than before.
    pub fn quote_again(&self, quoting: &mut Quoting, payload_sha256: &Hash) {
        let pcrs: Vec<u8> = QUOTED.collect();
        quoting.quote = self.tpm.quote(&quoting.asked.data(payload_sha256), &pcrs);
        quoting.registers = PcrValues::new();
        for (pcr, value) in self.tpm.registers.iter().filter(|(pcr, _)| QUOTED.contains(pcr)) {
            quoting.registers.set(pcr, *value);
        }
    }
}

impl Sealed {
    /// The envelope of the quote.
    ///
    /// # Errors
    /// What signing answers.
    pub fn quote(&self) -> Result<Vec<u8>, WriteError> {
        Self::quote_of(&self.quoting, &self.payload_sha256)
    }

    /// The envelope of what is said with another.
    ///
    /// # Errors
    /// What signing answers.
    pub fn quote_of(quoting: &Quoting, payload_sha256: &Hash) -> Result<Vec<u8>, WriteError> {
        let (mut envelope, key) = (Vec::new(), key().map_err(io::Error::other)?);
        write_envelope(&mut envelope, |out| quoting.write(payload_sha256, out), &[&key])?;
        Ok(envelope)
    }
}

impl Session {
    /// The statement, sealed on a node: the heads of the log after every so many frames, at these times after the opening, the last
    /// of which is that of the whole log. Of more heads than times those at the end are left out, but for the last.
    ///
    /// # Errors
    /// What signing answers.
    pub fn seal(&self, node: &mut Node, frames_per_seal: usize, at_ns: &[u64]) -> Result<Sealed, WriteError> {
        let signed = self.sign(frames_per_seal)?;
        let payload = crate::dsse::read(signed.envelope.as_slice()).map_err(io::Error::other)?.into_unverified();
        let payload_sha256 = Sha256::digest(payload).into();
        let mut sealing = node.begin(self.id, OPENED_NS - BEFORE_NS);
        let (last, rest) = at_ns.split_last().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
        for (head, after) in self.heads(frames_per_seal)?.into_iter().zip(rest) {
            node.seal(&mut sealing, head, OPENED_NS + after);
        }
        let log = Head { tree_size: signed.head.tree_size, root: signed.head.root };
        node.seal(&mut sealing, log, OPENED_NS + last);
        let quoting = node.quote(sealing, log, &payload_sha256)?;
        Ok(Sealed { signed, quoting, payload_sha256 })
    }

    /// The heads of the log after every so many frames.
    fn heads(&self, frames_per_seal: usize) -> io::Result<Vec<Head>> {
        let mut writer = LogWriter::new(self.id);
        let mut heads = Vec::new();
        for frames in self.frames.chunks(frames_per_seal) {
            let mut object = Vec::new();
            let mut segment = writer.begin_segment(&mut object)?;
            for frame in frames {
                segment.append(&mut writer, frame)?;
            }
            segment.finish(&mut writer)?;
            heads.push(writer.tree_head());
        }
        Ok(heads)
    }
}
