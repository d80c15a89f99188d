//! Heads of a session's tree, sealed in the TPM while it runs, and quoted at its end.
//!
//! A thread of its own asks the TPM, so that a slow one does not hold up the command; its end waits for it, up to a limit. What could not
//! be sealed is said in the log; that costs nobody the statement.

mod log;

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use attestation::{
    merkle::Hash,
    platform::{Asked, CertifiedKey, Head, Heads, Quoting, Seal, Seals, start_data},
    tpm::{IMA_PCR, Quote},
};
use rustix::time::{ClockId, clock_gettime};
use testimony_verify::platform::{Nonce, nonce};

use crate::tpm::{self, Quoted, Tpm};
use log::{Locked, SealLog};

/// Registers that are quoted at the end: those of firmware, boot loader and kernel, and those that may be sealed in.
const QUOTED: std::ops::RangeInclusive<u8> = 0..=15;
/// How long the end of a run waits for its TPM and for other runs, all in all.
const END_MAX: Duration = Duration::from_secs(60);
/// A command that was not sealed for as many times the interval that was asked for, and so much more, was sealed too rarely.
const INTERVALS_MAX: u32 = 2;
const SLACK: Duration = Duration::from_secs(10);
/// What a time namespace adds to the clocks in it.
const CLOCK_OFFSETS: &str = "/proc/self/timens_offsets";
/// The node extends its register no more often: others of it want their turn at the TPM too.
const TURN: Duration = Duration::from_secs(1);
/// How long the node's turn is waited for before it is looked at again.
const PAUSE_MAX: Duration = Duration::from_millis(200);
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
    /// It is still asking, and is not waited for any more.
    #[error("what was being sealed at the end of the command was not done {} s later", END_MAX.as_secs())]
    Unfinished,
    /// It came too rarely to its turn.
    #[error("between two seals there were up to {longest} s, and not {every}")]
    Rare {
        /// Seconds that they were apart at most.
        longest: u64,
        /// Seconds that were asked for.
        every: u64,
    },
    /// Times of seals of different clocks lead nowhere.
    #[error("this is a time namespace, whose clock is not the node's: seal outside of it")]
    TimeNamespace,
    /// A seal of the future.
    #[error(
        "the node's last seal was made later than it is now, by a clock of its own (in a time namespace): start the machine anew, or \
         seal in another register"
    )]
    Future,
}

impl Error {
    fn is_late(&self) -> bool {
        match self {
            Self::Tpm(error) => error.is_late(),
            Self::Log(error) => error.kind() == io::ErrorKind::TimedOut,
            _ => false,
        }
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
    /// The command ended: only the last head is waited for.
    ending: Arc<AtomicBool>,
    /// When the last one was sealed, and how long there was none at most.
    sealed: Instant,
    longest: Duration,
}

/// Sealing beside a command.
pub struct Sealing {
    every: Duration,
    next: Instant,
    heads: SyncSender<Head>,
    ending: Arc<AtomicBool>,
    done: Receiver<(Sealer, Option<Error>)>,
}

/// A session whose command ended, and what went wrong while it ran.
pub struct Stopped {
    sealer: Sealer,
    failed: Option<Error>,
    limit: Instant,
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
        let (ending, now) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let sealer = Sealer {
            tpm,
            log,
            pcr,
            session,
            nonce,
            start,
            heads: Heads::default(),
            ending: Arc::clone(&ending),
            sealed: now,
            longest: Duration::ZERO,
        };
        let (heads, next) = mpsc::sync_channel(1);
        let (tell, done) = mpsc::sync_channel(1);
        thread::Builder::new().spawn(move || drop(tell.send(sealer.follow(&next))))?;
        let every = Duration::from_secs(self.seal_every);
        Ok(Some(Sealing { every, next: now + every, heads, ending, done }))
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

    /// Waits for what is being sealed, but not for ever.
    ///
    /// # Errors
    /// If that is not known any more.
    pub fn stop(self) -> Result<Stopped, Error> {
        let Self { heads, ending, done, every, .. } = self;
        ending.store(true, Ordering::Relaxed);
        drop(heads);
        let limit = Instant::now() + END_MAX;
        let (mut sealer, failed) = done.recv_timeout(END_MAX).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => Error::Unfinished,
            mpsc::RecvTimeoutError::Disconnected => Error::Thread,
        })?;
        sealer.tpm.end_by(limit);
        sealer.log.end_by(limit);
        let longest = sealer.longest.max(sealer.sealed.elapsed());
        let rare = Error::Rare { longest: longest.as_secs(), every: every.as_secs() };
        let failed = failed.or((longest > every * INTERVALS_MAX + SLACK).then_some(rare));
        Ok(Stopped { sealer, failed, limit })
    }
}

impl Stopped {
    /// Why heads are not sealed, or too rarely, if that is so.
    pub fn failed(&self) -> Option<&Error> {
        self.failed.as_ref()
    }

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
        let (sealer, limit) = (&mut self.sealer, self.limit);
        let mut locked = sealer.seal(log, || Instant::now() < limit)?.ok_or(Error::Unfinished)?;
        let asked = Asked { nonce: sealer.nonce.clone(), session: sealer.session, log, signers };
        let answer = quoted(&mut sealer.tpm, &asked.data(payload_sha256))?;
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
    fn follow(mut self, heads: &Receiver<Head>) -> (Self, Option<Error>) {
        let mut failed = None;
        for head in heads {
            // A TPM that hangs is not asked again: each time would take as long, and the end waits for it.
            if failed.as_ref().is_some_and(Error::is_late) {
                continue;
            }
            let ending = Arc::clone(&self.ending);
            if let Err(error) = self.seal(head, || !ending.load(Ordering::Relaxed)) {
                failed.get_or_insert(error);
            }
        }
        (self, failed)
    }

    /// Seals a head, at the node's turn, for as long as that may be waited for. The log is still ours then.
    fn seal(&mut self, head: Head, may_wait: impl Fn() -> bool) -> Result<Option<Locked>, Error> {
        loop {
            let mut log = self.log.lock()?;
            let register = self.tpm.read(self.pcr)?;
            if !log.settle(&register)? {
                return Err(Error::Disturbed(self.pcr));
            }
            // What was taken back is no seal of ours any more.
            self.heads.0.retain(|number, _| *number <= log.count);
            let now = boottime();
            in_the_past(&log)?;
            let turn = log.last.map_or(Duration::ZERO, |last| Duration::from_nanos(last.boottime_ns) + TURN);
            if now < turn {
                drop(log);
                if !may_wait() {
                    return Ok(None);
                }
                // Not all who wait at the same moment: whoever comes late would always come late.
                thread::sleep((turn - now).min(PAUSE_MAX).mul_f64(0.5 + 0.5 * chance()));
                continue;
            }
            let boottime_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            let seal = Seal { session: self.session, boottime_ns, commitment: head.commitment() };
            let (digest, after) = log.append(seal)?;
            // Before it is known whether it came to the register: if so, and nobody hears of it, it is ours all the same.
            self.heads.0.insert(log.count, head);
            self.extend(&digest, &register, &after)?;
            let now = Instant::now();
            self.longest = self.longest.max(now - self.sealed);
            self.sealed = now;
            return Ok(Some(log));
        }
    }

    /// Extends the register, once: where the TPM went away meanwhile, the register itself says whether it did.
    fn extend(&mut self, digest: &Hash, before: &Hash, after: &Hash) -> Result<(), Error> {
        match self.tpm.extend(self.pcr, digest) {
            // One that hangs would do so once more. The next who has the list sees whether it came to the register.
            Err(error) if error.is_uncertain() && !error.is_late() => match self.tpm.read(self.pcr)? {
                register if register == *after => Ok(()),
                register if register == *before => Ok(self.tpm.extend(self.pcr, digest)?),
                _ => Err(Error::Disturbed(self.pcr)),
            },
            extended => Ok(extended?),
        }
    }
}

/// All registers that are to be quoted. Where the kernel measures so much that its own does not hold still, that one is left out:
/// nobody's programs take the quote away.
fn quoted(tpm: &mut Tpm, data: &Hash) -> Result<Quoted, tpm::Error> {
    match tpm.quote(data, &QUOTED.collect::<Vec<u8>>()) {
        Err(error) if error.is_changing() => {
            tpm.quote(data, &QUOTED.filter(|pcr| *pcr != IMA_PCR).collect::<Vec<u8>>())
        }
        quoted => quoted,
    }
}

/// What the register has at the start, quoted.
fn start(tpm: &mut Tpm, log: &mut SealLog, pcr: u8, data: &Hash) -> Result<(Quote, Hash), Error> {
    if fs::read_to_string(CLOCK_OFFSETS).is_ok_and(|offsets| is_offset(&offsets)) {
        return Err(Error::TimeNamespace);
    }
    let mut log = log.lock()?;
    log.has_room()?;
    let answer = tpm.quote(data, &[pcr])?;
    let value = *answer.values.value(pcr).ok_or(tpm::Error::Answer)?;
    if !log.settle(&value)? {
        return Err(Error::Disturbed(pcr));
    }
    in_the_past(&log)?;
    Ok((answer.quote, value))
}

fn in_the_past(log: &Locked) -> Result<(), Error> {
    let later = log.last.is_some_and(|last| Duration::from_nanos(last.boottime_ns) > boottime());
    if later { Err(Error::Future) } else { Ok(()) }
}

/// time_namespaces(7): a clock, seconds and nanoseconds in each line.
fn is_offset(offsets: &str) -> bool {
    offsets.lines().flat_map(|line| line.split_ascii_whitespace().skip(1)).any(|number| number != "0")
}

/// Between 0 and 1.
fn chance() -> f64 {
    let mut byte = [0];
    let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    f64::from(byte[0]) / 255.0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_namespace_is_known_by_its_offsets() {
        assert!(!is_offset("monotonic           0         0\nboottime            0         0\n") && !is_offset(""));
        assert!(is_offset("monotonic           0         0\nboottime       86400         0\n"));
        assert!(is_offset("monotonic          -1         0\nboottime            0         0\n"));
    }
}
