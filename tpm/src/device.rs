//! The TPM, opened for a question and closed after it: with it go all keys and sessions that the question needed.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::thread;
use std::time::Duration;

use tss_esapi::{Context, TctiNameConf};

use crate::fault::{Error, Said, said};

/// How often a question is asked that the TPM is too busy for, or has no room for: others have theirs for as long as a
/// question takes, unless a resource manager is between. The library itself repeats each command five times.
const ATTEMPTS_MAX: u32 = 8;
/// Before the second attempt; before each further one twice as long.
const PAUSE: Duration = Duration::from_millis(10);

/// Where the TPM is.
pub(crate) struct Device {
    tcti: String,
}

impl Device {
    pub(crate) fn new(tcti: &str) -> Self {
        Self { tcti: tcti.to_owned() }
    }

    /// Asks the TPM; again, if it was busy or full. What a question has done then is done again and no harm: the one
    /// command that must not be given twice extends a register, and a TPM that refused it has not begun with it.
    pub(crate) fn ask<T>(&self, question: impl Fn(&mut Context) -> Result<T, Error>) -> Result<T, Error> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.open().and_then(|mut context| question(&mut context)) {
                Err(Error::Busy(_) | Error::NoMemory | Error::NoSessions) => thread::sleep(pause),
                other => return other,
            }
            pause *= 2;
        }
        question(&mut self.open()?)
    }

    fn open(&self) -> Result<Context, Error> {
        if let Some(path) = self.path()
            && !path.exists()
        {
            return Err(Error::NoDevice(path));
        }
        let tcti = TctiNameConf::from_str(&self.tcti).map_err(|_| Error::Tcti(self.tcti.clone()))?;
        Context::new(tcti).map_err(|error| match said(error) {
            Said::Device(code) => Error::Unreachable { tcti: self.tcti.clone(), code },
            _ => error.into(),
        })
    }

    /// The device's file, where there is one.
    fn path(&self) -> Option<PathBuf> {
        let rest = self.tcti.strip_prefix("device")?;
        match rest.strip_prefix(':') {
            Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
            _ => Some(PathBuf::from("/dev/tpm0")),
        }
    }
}
