//! Registers of the bank of SHA-256, by their numbers.

use sha2::{Digest as _, Sha256};
use tpm_protocol::{Bytes, Register};
use tss_esapi::Context;
use tss_esapi::handles::PcrHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{PcrSelectionList, PcrSlot};

use crate::fault::Error;

const PCRS: u8 = 24;
/// Values that a TPM gives at once.
const AT_ONCE: usize = 8;

/// Some registers, in ascending order, each once.
pub(crate) struct Pcrs(Vec<u8>);

impl Pcrs {
    pub(crate) fn new(pcrs: &[u8]) -> Result<Self, Error> {
        let mut sorted = pcrs.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let exist = sorted.iter().all(|pcr| *pcr < PCRS);
        if exist && !sorted.is_empty() && sorted.len() == pcrs.len() { Ok(Self(sorted)) } else { Err(Error::Registers) }
    }

    pub(crate) fn selection(&self) -> Result<PcrSelectionList, Error> {
        selection(&self.0)
    }

    /// Their values.
    pub(crate) fn read(&self, context: &mut Context) -> Result<Vec<Register>, Error> {
        let mut registers = Vec::with_capacity(self.0.len());
        for some in self.0.chunks(AT_ONCE) {
            let wanted = selection(some)?;
            let (_, _, values) = context.execute_without_session(|context| context.pcr_read(wanted))?;
            // Of a bank that is not there, or a register that it has not, a TPM gives nothing.
            if values.len() != some.len() {
                return Err(Error::NoBank);
            }
            for (pcr, value) in some.iter().zip(values.value()) {
                registers.push(Register { pcr: *pcr, sha256: Bytes::from(value.value()) });
            }
        }
        Ok(registers)
    }
}

/// The digest that a quote has over values.
pub(crate) fn digest(values: &[Register]) -> Vec<u8> {
    values.iter().fold(Sha256::new(), |digest, register| digest.chain_update(&*register.sha256)).finalize().to_vec()
}

fn selection(pcrs: &[u8]) -> Result<PcrSelectionList, Error> {
    let slots = pcrs.iter().map(|pcr| slot(*pcr)).collect::<Result<Vec<_>, _>>()?;
    Ok(PcrSelectionList::builder().with_selection(HashingAlgorithm::Sha256, &slots).build()?)
}

fn slot(pcr: u8) -> Result<PcrSlot, Error> {
    let bit = 1u32.checked_shl(pcr.into()).ok_or(Error::Registers)?;
    PcrSlot::try_from(bit).map_err(|_| Error::Registers)
}

/// Of one of the registers that may be extended: static ones, which only a reset of the TPM sets back.
pub(crate) fn handle(pcr: u8) -> Result<PcrHandle, Error> {
    match pcr {
        11 => Ok(PcrHandle::Pcr11),
        12 => Ok(PcrHandle::Pcr12),
        13 => Ok(PcrHandle::Pcr13),
        14 => Ok(PcrHandle::Pcr14),
        15 => Ok(PcrHandle::Pcr15),
        other => Err(Error::Register(other)),
    }
}

/// The number of a register.
pub(crate) fn number(slot: PcrSlot) -> u8 {
    // One bit of 32.
    u8::try_from(u32::from(slot).trailing_zeros()).unwrap_or(u8::MAX)
}
