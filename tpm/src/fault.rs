//! What can go wrong, as a caller can act upon it and a person can read it; and what the library's numbers mean.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use tpm_protocol::{Fault, FaultCode, LINE_BYTES_MAX, NONCE_BYTES_MAX, VERSION};
use tss_esapi::Error as TssError;
use tss_esapi::constants::response_code::Tss2ResponseCode;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("the line is over the limit of {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the question is in no form that is known: {0}")]
    NotUnderstood(String),
    #[error("the question is of version {0}, and this helper speaks version {VERSION}")]
    Version(u32),
    #[error("register {0} is not the one that this helper may extend")]
    Register(u8),
    #[error("registers are named once each, and from 0 to 23")]
    Registers,
    #[error("a SHA-256 value has 32 bytes, not {0}")]
    Digest(usize),
    #[error("a nonce has at most {NONCE_BYTES_MAX} bytes, not {0}")]
    Nonce(usize),
    #[error("there is no TPM: {0} does not exist")]
    NoDevice(PathBuf),
    #[error("{0} is no way to reach a TPM")]
    Tcti(String),
    #[error("the TPM cannot be reached by {tcti} ({code:#x})")]
    Unreachable { tcti: String, code: u32 },
    #[error("the TPM went away while it was asked ({0:#x})")]
    Vanished(u32),
    #[error("the TPM was busy for longer than was waited ({0:#x})")]
    Busy(u32),
    #[error("the TPM is in lockout: it refuses protected keys until its time is over, or its owner resets it")]
    Lockout,
    #[error(
        "all sessions of the TPM are taken: another program holds them, or one that ended without a resource manager"
    )]
    NoSessions,
    #[error("the TPM has no room for another key: other programs hold theirs")]
    NoMemory,
    #[error("the endorsement hierarchy has a password")]
    Password,
    #[error("the TPM has no certificate of an endorsement key")]
    NoEkCertificate,
    #[error("the TPM has no bank of SHA-256 with these registers")]
    NoBank,
    #[error("the registers changed at each of several attempts to quote them")]
    Changing,
    #[error("the credential was not made for this TPM and its attestation key, or was changed")]
    Credential,
    #[error("there is no signing key yet")]
    NoSigningKey,
    #[error("the keys in {0} are not this TPM's: it was cleared or exchanged, or the folder is another machine's")]
    ForeignKeys(PathBuf),
    #[error("{path} cannot be used: {error}")]
    State { path: PathBuf, error: io::Error },
    #[error("{0} is no key that was kept here")]
    Kept(PathBuf),
    #[error("the TPM or its library failed: {0} ({number:#x})", number = number(*.0).unwrap_or_default())]
    Tpm(TssError),
}

impl Error {
    pub(crate) fn fault(&self) -> Fault {
        Fault { code: self.code(), message: self.to_string() }
    }

    fn code(&self) -> FaultCode {
        match self {
            Self::TooLong | Self::NotUnderstood(_) | Self::Version(_) => FaultCode::NotUnderstood,
            Self::Register(_) | Self::Registers | Self::Digest(_) | Self::Nonce(_) => FaultCode::Refused,
            Self::NoDevice(_) => FaultCode::NoDevice,
            Self::Tcti(_) | Self::Unreachable { .. } => FaultCode::Unreachable,
            Self::Vanished(_) => FaultCode::Vanished,
            Self::Busy(_) => FaultCode::Busy,
            Self::Lockout => FaultCode::Lockout,
            Self::NoSessions => FaultCode::NoSessions,
            Self::NoMemory => FaultCode::NoMemory,
            Self::Password => FaultCode::Password,
            Self::NoEkCertificate => FaultCode::NoEkCertificate,
            Self::NoBank => FaultCode::NoBank,
            Self::Changing => FaultCode::Changing,
            Self::Credential => FaultCode::Credential,
            Self::NoSigningKey => FaultCode::NoSigningKey,
            Self::ForeignKeys(_) => FaultCode::ForeignKeys,
            Self::State { .. } | Self::Kept(_) => FaultCode::State,
            Self::Tpm(_) => FaultCode::Tpm,
        }
    }
}

/// The layers of the library: that which speaks to the device, and those above it.
const LAYER_TCTI: u32 = 10;
const LAYERS_ABOVE: [u32; 2] = [7, 8];
/// Layers that hand on what the TPM said.
const LAYERS_TPM: [u32; 2] = [0, 11];
/// Numbers that all layers of the library have.
const TRY_AGAIN: u32 = 9;
/// A command after one that failed at the device (out of sequence), no connection, a failed transfer, an answer that is
/// none.
const BROKEN: [u32; 4] = [7, 8, 10, 22];

/// What a number of the library's says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// The device is gone, or gives what is none of a TPM's answers.
    Device(u32),
    /// Not now.
    Busy(u32),
    Lockout,
    NoSessions,
    NoMemory,
    /// An authorization failed.
    Authorization,
    /// A blob's integrity, or a value in it, is not what it is to be.
    Integrity,
    Other,
}

/// Reads the number of an error.
pub(crate) fn said(error: TssError) -> Said {
    number(error).map_or(Said::Other, of_number)
}

fn of_number(code: u32) -> Said {
    let (layer, code_there) = (code >> 16 & 0xff, code & 0xffff);
    if layer == LAYER_TCTI {
        return if code_there == TRY_AGAIN { Said::Busy(code) } else { Said::Device(code) };
    }
    if LAYERS_ABOVE.contains(&layer) {
        return match code_there {
            TRY_AGAIN => Said::Busy(code),
            broken if BROKEN.contains(&broken) => Said::Device(code),
            _ => Said::Other,
        };
    }
    if !LAYERS_TPM.contains(&layer) {
        return Said::Other;
    }
    if code_there & 0x80 != 0 {
        // Which parameter, session or handle it is about stands beside the error (part 2, section 6.6).
        return match code_there & 0x3f {
            0x0e | 0x22 => Said::Authorization,
            0x04 | 0x1f => Said::Integrity,
            _ => Said::Other,
        };
    }
    match code_there {
        // Yielded, testing, NV rate, retry, NV unavailable.
        0x908 | 0x90a | 0x920 | 0x922 | 0x923 => Said::Busy(code),
        0x902 | 0x904 | 0x906 => Said::NoMemory,
        0x903 | 0x905 => Said::NoSessions,
        0x921 => Said::Lockout,
        _ => Said::Other,
    }
}

/// The library's wrapper shows the number in its text only.
fn number(error: TssError) -> Option<u32> {
    let text = match error {
        TssError::Tss2Error(Tss2ResponseCode::FormatZero(code)) => code.to_string(),
        TssError::Tss2Error(Tss2ResponseCode::FormatOne(code)) => code.to_string(),
        _ => return None,
    };
    let (_, digits) = text.rsplit_once("0x")?;
    u32::from_str_radix(digits, 16).ok()
}

impl From<TssError> for Error {
    fn from(error: TssError) -> Self {
        match said(error) {
            Said::Device(code) => Self::Vanished(code),
            Said::Busy(code) => Self::Busy(code),
            Said::Lockout => Self::Lockout,
            Said::NoSessions => Self::NoSessions,
            Said::NoMemory => Self::NoMemory,
            Said::Authorization | Said::Integrity | Said::Other => Self::Tpm(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, of_number};

    #[test]
    fn the_librarys_numbers_are_what_they_stand_for() {
        let cases = [
            (0x921, Said::Lockout),
            (0x922, Said::Busy(0x922)),
            (0xb0922, Said::Busy(0xb0922)),
            (0x905, Said::NoSessions),
            (0x903, Said::NoSessions),
            (0x902, Said::NoMemory),
            (0xa000a, Said::Device(0xa000a)),
            (0xa0009, Said::Busy(0xa0009)),
            (0x9a2, Said::Authorization),
            (0x98e, Said::Authorization),
            (0x1df, Said::Integrity),
            (0x2c4, Said::Integrity),
            // The same bits of another layer say something else.
            (0x70009, Said::Busy(0x70009)),
            (0x70007, Said::Device(0x70007)),
            (0x70005, Said::Other),
            (0x101, Said::Other),
        ];
        for (number, expected) in cases {
            assert_eq!(of_number(number), expected, "{number:#x}");
        }
    }
}
