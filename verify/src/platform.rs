//! Which machines are trusted, and what was given of the one that a statement was made on.

use crate::keyless::BUNDLE;
use crate::pack::Pack;
use crate::{files, report};
use attestation::dsse::ENVELOPE_BYTES_MAX;
use attestation::escape::escape;
use attestation::hex;
use attestation::platform::{BOOT_POLICY_BYTES_MAX, Boot, BootPolicy, MACHINE_BYTES_MAX, Machine, NONCE_BYTES_MAX};
use attestation::tpm::event_log::EVENT_LOG_BYTES_MAX;
use attestation::tpm::ima::IMA_LIST_BYTES_MAX;
use attestation::verify::{Check, Outcome, Platform};
use std::io;
use std::path::{Path, PathBuf};

/// What stands beside NAME.intoto.jsonl: the quote, firmware's log and the kernel's list, and a bundle of Sigstore's.
pub const BESIDE: [(&str, usize); 4] = [
    (".quote.intoto.jsonl", ENVELOPE_BYTES_MAX),
    (".firmware-log", EVENT_LOG_BYTES_MAX),
    (".ima-list", IMA_LIST_BYTES_MAX),
    (BUNDLE, ENVELOPE_BYTES_MAX),
];

/// Machines to trust.
#[derive(clap::Args, Debug, Clone, Default)]
#[group(id = "platform")]
pub struct Args {
    /// Enrolment of a machine to trust, as `testimony enrol` made it; repeatable. The statement needs a quote of its TPM then
    #[arg(long = "enrolment", value_name = "FILE")]
    pub enrolments: Vec<PathBuf>,
    /// Quote of the TPM [default: FILE with .quote.intoto.jsonl for .intoto.jsonl, where that is there]
    #[arg(long, value_name = "FILE")]
    pub quote: Option<PathBuf>,
    /// The nonce that the run was given, in hexadecimal: the quote has to answer it
    #[arg(long, value_name = "HEX", requires = "enrolments", value_parser = nonce)]
    pub nonce: Option<Nonce>,
    /// What the machine may have booted and run, in JSON; its logs have to lead to what was quoted
    #[arg(long, value_name = "FILE", requires = "enrolments")]
    pub boot_policy: Option<PathBuf>,
}

/// Bytes of a nonce.
#[derive(Debug, Clone)]
pub struct Nonce(pub Vec<u8>);

/// What is trusted.
pub struct Read {
    machines: Vec<Machine>,
    quote: Option<PathBuf>,
    nonce: Option<Nonce>,
    policy: Option<BootPolicy>,
}

/// What was given with one statement: the quote, firmware's log and the kernel's list.
#[derive(Default)]
pub struct Given {
    pub(crate) files: [Option<Vec<u8>>; 3],
    /// What stands there, cannot be read, and was not asked for.
    pub(crate) unread: Vec<Check>,
}

/// The check that a file of [`BESIDE`] is for, and what is open without it.
const CHECKS: [(&str, &str); 3] =
    [("platform", "On which machine it was."), ("boot", "What the machine booted."), ("boot", "What the machine ran.")];

impl Args {
    /// Reads the enrolments and the policy.
    ///
    /// # Errors
    /// What is wrong with which, in a sentence.
    pub fn read(&self) -> Result<Read, String> {
        let machine = |path: &PathBuf| read("--enrolment", path, MACHINE_BYTES_MAX, Machine::read);
        let machines: Vec<Machine> = self.enrolments.iter().map(machine).collect::<Result<_, _>>()?;
        agree(&self.enrolments, &machines)?;
        let policy = |path: &PathBuf| read("--boot-policy", path, BOOT_POLICY_BYTES_MAX, BootPolicy::read);
        Ok(Read {
            machines,
            quote: self.quote.clone(),
            nonce: self.nonce.clone(),
            policy: self.boot_policy.as_ref().map(policy).transpose()?,
        })
    }
}

impl Read {
    /// What was given with a statement in a file: what stands beside it, unless the quote was named. A file that no check needs which
    /// was asked for does not have to be readable: whoever asks for nothing of the machine is told why nothing is said of it.
    ///
    /// # Errors
    /// What cannot be read, and is needed.
    pub(crate) fn beside(&self, statement: &Path) -> io::Result<Given> {
        let name = statement.file_name().and_then(|name| name.to_str()?.strip_suffix(".intoto.jsonl"));
        let path = |suffix: &str| Some(statement.with_file_name(format!("{}{suffix}", name?)));
        let mut given = Given::default();
        for (index, (slot, (suffix, bytes_max))) in given.files.iter_mut().zip(BESIDE).enumerate() {
            let named = self.quote.as_ref().filter(|_| index == 0);
            let Some(path) = named.cloned().or_else(|| path(suffix)).filter(|_| self.looks_at(index)) else { continue };
            match files::read_at_most(&path, bytes_max as u64 + 1) {
                Ok(bytes) => *slot = Some(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {}
                Err(error) if named.is_some() || self.needs(index) => {
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
                }
                Err(error) => given.unread.extend(unread(index, &path, &error)),
            }
        }
        Ok(given)
    }

    /// Whether a file is looked at: logs of a boot lead to what a machine's quote holds, and to nothing without.
    fn looks_at(&self, index: usize) -> bool {
        index == 0 || !self.machines.is_empty()
    }

    /// Whether a check that was asked for fails without it.
    fn needs(&self, index: usize) -> bool {
        if index == 0 { !self.machines.is_empty() } else { self.policy.is_some() }
    }

    /// What was given with a statement in a pack.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn packed(&self, pack: &Pack) -> io::Result<Given> {
        let mut given = Given::default();
        for (index, slot) in given.files.iter_mut().enumerate() {
            *slot = pack.beside(index)?;
        }
        if let Some(quote) = &self.quote {
            given.files[0] = Some(files::read_at_most(quote, ENVELOPE_BYTES_MAX as u64 + 1)?);
        }
        Ok(given)
    }

    pub(crate) fn platform<'a>(&'a self, given: &'a Given) -> Platform<'a> {
        let [quote, firmware_log, ima_list] = given.files.each_ref().map(|bytes| bytes.as_deref());
        let boot = Boot { firmware_log, ima_list, policy: self.policy.as_ref() };
        Platform { machines: &self.machines, quote, nonce: self.nonce.as_ref().map(|nonce| nonce.0.as_slice()), boot }
    }
}

/// Whether enrolments of one key say the same of it: else which of them counts would be a matter of their order.
fn agree(paths: &[PathBuf], machines: &[Machine]) -> Result<(), String> {
    let all: Vec<_> = paths.iter().zip(machines).collect();
    for (at, (path, machine)) in all.iter().enumerate() {
        for (other_path, other) in all.iter().skip(at + 1) {
            if let Some(what) = machine.contradicts(other) {
                let [one, other] = [path, other_path].map(|path| report::path(path));
                return Err(format!(
                    "--enrolment {one} and --enrolment {other} are of one attestation key and differ in its {what}: give the one that holds"
                ));
            }
        }
    }
    Ok(())
}

fn unread(index: usize, path: &Path, error: &io::Error) -> Option<Check> {
    let (name, does_not_prove) = *CHECKS.get(index)?;
    let says = format!("{} cannot be read: {}", report::path(path), escape(error.to_string().as_bytes()));
    Some(Check { name, outcome: Outcome::NotClaimed, says, does_not_prove, code: None })
}

/// Reads a nonce as the command line has it.
///
/// # Errors
/// How to say it.
pub fn nonce(text: &str) -> Result<Nonce, String> {
    let bytes = hex::decode(text).filter(|bytes| (1..=NONCE_BYTES_MAX).contains(&bytes.len()));
    bytes.map(Nonce).ok_or_else(|| format!("say 1 to {NONCE_BYTES_MAX} bytes in lowercase hexadecimal"))
}

fn read<T, E: std::error::Error>(
    option: &str,
    path: &Path,
    bytes_max: usize,
    read: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<T, String> {
    let named = |problem: &dyn std::error::Error| {
        let causes = std::iter::successors(Some(problem), |error| error.source());
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        format!("{option} {}: {}", report::path(path), escape(causes.join(": ").as_bytes()))
    };
    // One byte more, so that what is too large is told from what is cut.
    let bytes = files::read_at_most(path, bytes_max as u64 + 1).map_err(|error| named(&error))?;
    read(&bytes).map_err(|error| named(&error))
}
