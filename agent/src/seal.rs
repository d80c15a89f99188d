//! Heads of a session's tree, sealed in the TPM while it runs, and quoted at its end.
//!
//! A thread of its own asks the TPM, so that a slow one does not hold up the command; its end waits for it. What could not be sealed is
//! said in the log; that costs nobody the statement.

mod log;

use std::{
    io,
    path::PathBuf,
    sync::mpsc::{self, SyncSender, TrySendError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use attestation::{
    merkle::Hash,
    platform::{Asked, CertifiedKey, Head, Heads, Quoting, Seal, Seals, start_data},
    tpm::Quote,
};
use rustix::time::{ClockId, clock_gettime};
use testimony_verify::platform::{Nonce, nonce};

use crate::tpm::{self, Quoted, Tpm};
use log::{Locked, SealLog};

/// Registers that are quoted at the end: those of firmware, boot loader and kernel, and those that may be sealed in.
const QUOTED: std::ops::RangeInclusive<u8> = 0..=15;
/// The node extends its register no more often: others of it want their turn at the TPM too.
const TURN: Duration = Duration::from_secs(1);
/// Bytes of a nonce of our own.
const NONCE_BYTES: usize = 32;

/// Whether to seal, and how.
#[derive(clap::Args, Debug, Clone)]
#[group(id = "what is sealed")]
pub struct Args {
    /// Seal the log in this register of the TPM while the command runs, and have the TPM quote it at the end, in
    /// NAME.quote.intoto.jsonl: 11 to 15, and one that nothing else extends after the boot [default: nothing is sealed]
    #[arg(long, value_name = "PCR", value_parser = clap::value_parser!(u8).range(11..=15))]
    seal_pcr: Option<u8>,
    /// Seconds between two seals of this run; all runs of the node together seal once a second at most
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "seal_pcr", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seal_every: u64,
    /// What the quote is to answer, in hexadecimal: a verifier's nonce shows that the run is later than that [default: random]
    #[arg(long, value_name = "HEX", requires = "seal_pcr", value_parser = nonce)]
    nonce: Option<Nonce>,
    /// The folder of the node's log of seals
    #[arg(long, value_name = "DIR", default_value = "/var/lib/testimony/seals", requires = "seal_pcr")]
    seals: PathBuf,
}

/// Why nothing was sealed or quoted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TPM.
    #[error("the TPM cannot seal")]
    Tpm(#[from] tpm::Error),
    /// The node's log of seals.
    #[error("the log of seals cannot be kept")]
    Log(#[from] io::Error),
    /// Nothing can be proven by the register until the next boot.
    #[error(
        "register {0} of the TPM holds something else than what this node sealed since its boot: something else extends it, or the \
         list of seals is lost; seal in another register, or start the machine anew"
    )]
    Disturbed(u8),
    /// The thread ended before its time.
    #[error("the thread that seals ended early")]
    Thread,
}

impl Error {
    fn is_late(&self) -> bool {
        matches!(self, Self::Tpm(error) if error.is_late())
    }
}

/// Who seals for one session.
struct Sealer {
    tpm: Tpm,
    log: SealLog,
    pcr: u8,
    session: [u8; 16],
    nonce: Vec<u8>,
    /// The quote at the start, and what the register had then.
    start: (Quote, Hash),
    heads: Heads,
}

/// Sealing beside a command.
pub struct Sealing {
    every: Duration,
    next: Instant,
    heads: SyncSender<Head>,
    thread: JoinHandle<(Sealer, Option<Error>)>,
}

/// A session whose command ended, and what went wrong while it ran.
pub struct Stopped {
    sealer: Sealer,
    /// Why heads are not sealed, if some are not.
    pub failed: Option<Error>,
}

impl Args {
    /// Whether anything is to be sealed.
    pub fn wanted(&self) -> bool {
        self.seal_pcr.is_some()
    }

    /// Starts to seal, where that is wanted: the TPM is asked once, so that what it cannot do is known before the command starts.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn start(&self, tpm: &tpm::Args, session: [u8; 16], boot_id: &[u8; 16]) -> Result<Option<Sealing>, Error> {
        let Some(pcr) = self.seal_pcr else { return Ok(None) };
        let nonce = self.nonce.as_ref().map_or_else(own_nonce, |nonce| Ok(nonce.0.clone()))?;
        let mut tpm = Tpm::new(tpm, Some(pcr));
        let mut log = SealLog::open(&self.seals, boot_id, pcr)?;
        let start = start(&mut tpm, &mut log, pcr, &start_data(&nonce, &session))?;
        let sealer = Sealer { tpm, log, pcr, session, nonce, start, heads: Heads::default() };
        let (heads, next) = mpsc::sync_channel(1);
        let thread = thread::spawn(move || sealer.follow(&next));
        let every = Duration::from_secs(self.seal_every);
        Ok(Some(Sealing { every, next: Instant::now() + every, heads, thread }))
    }
}

impl Sealing {
    /// Has the head of now sealed, if it is time. What the TPM is too slow for is left out.
    pub fn look(&mut self, head: impl FnOnce() -> Head) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + self.every;
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.heads.try_send(head()) {}
    }

    /// Waits for what is being sealed.
    ///
    /// # Errors
    /// If that is not known any more.
    pub fn stop(self) -> Result<Stopped, Error> {
        drop(self.heads);
        let (sealer, failed) = self.thread.join().map_err(|_| Error::Thread)?;
        Ok(Stopped { sealer, failed })
    }
}

impl Stopped {
    /// Seals the head of the whole log, and has the TPM quote its registers over the signed statement.
    ///
    /// # Errors
    /// Why there is no quote.
    pub fn quote(
        mut self,
        log: Head,
        payload_sha256: &Hash,
        signers: Vec<String>,
        signing_key: Option<CertifiedKey>,
    ) -> Result<Quoting, Error> {
        if let Some(late) = self.failed.take_if(|failed| failed.is_late()) {
            return Err(late);
        }
        let sealer = &mut self.sealer;
        let mut locked = sealer.seal(log, true)?.ok_or(Error::Disturbed(sealer.pcr))?;
        let asked = Asked { nonce: sealer.nonce.clone(), session: sealer.session, log, signers };
        let pcrs: Vec<u8> = QUOTED.collect();
        let answer = sealer.tpm.quote(&asked.data(payload_sha256), &pcrs)?;
        if !locked.settle(answer.values.value(sealer.pcr).ok_or(tpm::Error::Answer)?)? {
            return Err(Error::Disturbed(sealer.pcr));
        }
        let ((start, value), heads) = (sealer.start.clone(), sealer.heads.clone());
        let seals = Seals { pcr: sealer.pcr, value, start, list: locked.all()?, heads };
        let Quoted { quote, values: registers, key: attestation_key } = answer;
        let quoting = Quoting { asked, attestation_key, quote, registers, seals, signing_key };
        Ok(quoting)
    }
}

impl Sealer {
    fn follow(mut self, heads: &mpsc::Receiver<Head>) -> (Self, Option<Error>) {
        let mut failed = None;
        for head in heads {
            // A TPM that hangs is not asked again: each time would take as long, and the end waits for it.
            if failed.as_ref().is_some_and(Error::is_late) {
                continue;
            }
            if let Err(error) = self.seal(head, false) {
                failed.get_or_insert(error);
            }
        }
        (self, failed)
    }

    /// Seals a head, if it is the node's turn or that is waited for. The log is still ours then.
    fn seal(&mut self, head: Head, wait: bool) -> Result<Option<Locked>, Error> {
        loop {
            let mut log = self.log.lock()?;
            let register = self.tpm.read(self.pcr)?;
            if !log.settle(&register)? {
                return Err(Error::Disturbed(self.pcr));
            }
            // What was taken back is no seal of ours any more.
            self.heads.0.retain(|number, _| *number <= log.count);
            let now = boottime();
            let turn = log.last.map_or(Duration::ZERO, |last| Duration::from_nanos(last.boottime_ns) + TURN);
            if now < turn {
                drop(log);
                if !wait {
                    return Ok(None);
                }
                thread::sleep(turn - now);
                continue;
            }
            let boottime_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            let seal = Seal { session: self.session, boottime_ns, commitment: head.commitment() };
            let (digest, after) = log.append(seal)?;
            // Before it is known whether it came to the register: if so, and nobody hears of it, it is ours all the same.
            self.heads.0.insert(log.count, head);
            self.extend(&digest, &register, &after)?;
            return Ok(Some(log));
        }
    }

    /// Extends the register, once: where the TPM went away meanwhile, the register itself says whether it did.
    fn extend(&mut self, digest: &Hash, before: &Hash, after: &Hash) -> Result<(), Error> {
        match self.tpm.extend(self.pcr, digest) {
            Err(error) if error.is_uncertain() => match self.tpm.read(self.pcr)? {
                register if register == *after => Ok(()),
                register if register == *before => Ok(self.tpm.extend(self.pcr, digest)?),
                _ => Err(Error::Disturbed(self.pcr)),
            },
            extended => Ok(extended?),
        }
    }
}

/// What the register has at the start, quoted.
fn start(tpm: &mut Tpm, log: &mut SealLog, pcr: u8, data: &Hash) -> Result<(Quote, Hash), Error> {
    let mut log = log.lock()?;
    let answer = tpm.quote(data, &[pcr])?;
    let value = *answer.values.value(pcr).ok_or(tpm::Error::Answer)?;
    if log.settle(&value)? { Ok((answer.quote, value)) } else { Err(Error::Disturbed(pcr)) }
}

fn own_nonce() -> Result<Vec<u8>, Error> {
    let mut nonce = vec![0; NONCE_BYTES];
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty()).map_err(io::Error::from)?;
    Ok(nonce)
}

fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
