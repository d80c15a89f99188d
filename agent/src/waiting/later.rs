//! Signing what waits: one statement after the other, each once, whatever is killed on the way.
//!
//! What is signed is first a file beside the queue, `signed.part`, whole and durable; then the chain says that it has it; then the
//! file is called `signed`. From there on it is only delivered: into the spool and to its place, each of which may happen twice and
//! is the same then. At last it leaves the queue. Who is killed before the chain has it leaves a void number, and no statement.

mod signed;
mod signers;

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use attestation::{
    codes,
    dsse::PublicKey,
    hex,
    merkle::Hash,
    verify::{Options, verify},
};
use spool::{Held, Spool};

use super::{
    Record,
    place::{self, Wanted},
};
use crate::{
    artifact::Artifact,
    chain::{Chain, Link},
    daemon::{Settings, now_s},
    sign::{Awaited, Ready},
    submission,
};
use signed::{Lock, Signed, Store};
use signers::Signers;

/// How long an agent is waited for that signs.
const GIVE_UP_WAIT_MAX: Duration = Duration::from_secs(30);

/// Why nothing is signed for now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// One of the two queues.
    #[error("the spool")]
    Spool(#[from] spool::Error),
    /// What was signed cannot be kept.
    #[error("{path} cannot be used")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else does it.
    #[error("another agent signs what waits there")]
    Other,
    /// It could not be signed after all.
    #[error("it could not be signed")]
    Sign(#[from] attestation::dsse::WriteError),
    /// Another process holds the chain.
    #[error("the chain is held by another process")]
    Chain(#[source] io::Error),
}

impl Error {
    /// Whether it is ours alone, so that trying again soon changes nothing.
    pub(crate) fn is_fatal(&self) -> bool {
        use spool::Error as Said;
        matches!(self, Self::Spool(error) if !matches!(error, Said::DiskFull | Said::Busy | Said::TooMuch { .. }))
    }
}

/// What there is to tell.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// It is signed, and in its place, or why not.
    Signed { statement: PathBuf, signer: &'a str, placed: Result<(), place::Error> },
    /// It is not delivered; the spool counts it.
    NotPut { statement: PathBuf, why: spool::Error },
    /// Its number could not be had.
    NotChained { statement: PathBuf, why: io::Error },
    /// It can never be signed, and is kept aside.
    Refused { number: u64, why: &'static str },
    /// They wait for somebody.
    Waiting { names: Vec<String>, why: String },
    /// Something besides.
    Says(&'a str),
}

/// Why a signer cannot.
type Why = Box<dyn std::error::Error>;

/// Signs what waits.
pub(crate) struct Later {
    waiting: Spool,
    spool: Spool,
    store: Store,
    boot_id: String,
    /// Who is awaited by what waits, as far as it was looked at.
    queue: BTreeMap<u64, Awaited>,
    looked: u64,
    signers: Signers,
    lock: Lock,
}

impl Later {
    /// # Errors
    /// If the spool, or the folder of what waits, cannot be used.
    pub(crate) fn open(settings: &Settings) -> Result<Self, Error> {
        let waiting = settings.open_waiting()?;
        let folder = settings.waiting_folder();
        let lock = Lock::open(&folder)?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            waiting,
            spool: settings.spool.open()?,
            store: Store::new(folder),
            boot_id: boot_id.trim().replace('-', ""),
            queue: BTreeMap::new(),
            looked: 0,
            signers: Signers::default(),
            lock,
        })
    }

    /// Signs what can be signed now. What does not go well for one signer holds up no other.
    ///
    /// # Errors
    /// Why nothing could be done.
    pub(crate) fn turn(&mut self, tell: &dyn Fn(&Told<'_>)) -> Result<(), Error> {
        self.lock.take()?;
        let turned = self.turn_alone(tell);
        self.lock.give();
        turned
    }

    fn turn_alone(&mut self, tell: &dyn Fn(&Told<'_>)) -> Result<(), Error> {
        self.finish(tell)?;
        self.look(tell)?;
        let waited = !self.queue.is_empty();
        let due = self.signers.turn(self.queue.values());
        let mut away: Vec<Awaited> = Vec::new();
        let mut out_of_order = false;
        for (number, awaited) in self.queue.clone() {
            if !due.contains(&awaited) || away.contains(&awaited) {
                out_of_order = true;
                continue;
            }
            let Err(why) = self.try_to(number, &awaited, out_of_order, tell)? else { continue };
            if let Some(why) = why.and_then(|why| self.signers.failed(&awaited, why.as_ref())) {
                tell(&Told::Waiting { names: awaited.names(), why });
            }
            out_of_order = true;
            away.push(awaited);
        }
        if waited && self.queue.is_empty() {
            // Gives the room back.
            self.waiting.tidy(now_s())?;
        }
        Ok(())
    }

    /// Takes one out of the queue, which is kept aside: somebody signs it in another way. Whether that may be: one that is signed
    /// already is only delivered.
    ///
    /// # Errors
    /// If the folder of what waits cannot be used, or an agent is signing.
    pub(crate) fn give_up(&mut self, number: u64) -> Result<bool, Error> {
        let limit = Instant::now() + GIVE_UP_WAIT_MAX;
        while let Err(error) = self.lock.take() {
            if Instant::now() > limit {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.decide()?;
        if self.store.signed()?.is_some_and(|signed| signed.number == number) || self.held(number)?.is_none() {
            return Ok(false);
        }
        self.waiting.refuse(number, codes::RECOVERED, "it was recovered instead", now_s())?;
        Ok(true)
    }

    /// Looks at what came since.
    fn look(&mut self, tell: &dyn Fn(&Told<'_>)) -> Result<(), Error> {
        while let Some(held) = self.waiting.waiting(self.looked, 0)?.pop() {
            self.looked = held.number;
            match Record::decode(&held.envelope) {
                Some((record, _)) => drop(self.queue.insert(held.number, record.awaited)),
                None => self.refuse(held.number, "what waits under this number is no statement", tell)?,
            }
        }
        Ok(())
    }

    fn refuse(&mut self, number: u64, why: &'static str, tell: &dyn Fn(&Told<'_>)) -> Result<(), Error> {
        self.waiting.refuse(number, codes::UNREADABLE_FILE, why, now_s())?;
        self.queue.remove(&number);
        tell(&Told::Refused { number, why });
        Ok(())
    }

    /// The inner error is why its signer cannot; none where it lets those before it go first.
    fn try_to(
        &mut self,
        number: u64,
        awaited: &Awaited,
        out_of_order: bool,
        tell: &dyn Fn(&Told<'_>),
    ) -> Result<Result<(), Option<Why>>, Error> {
        let ready = match self.signers.ready(awaited) {
            Ok(_) if out_of_order && self.signers.is_back_only_now(awaited) => return Ok(Err(None)),
            Ok(ready) => ready,
            Err(error) => return Ok(Err(Some(error.into()))),
        };
        let Some((held, record)) = self.held(number)? else {
            self.queue.remove(&number);
            return Ok(Ok(()));
        };
        match self.sign(&held, &record, &ready, tell) {
            Ok(true) => self.finish(tell)?,
            Ok(false) => self.refuse(number, "what was signed of it does not verify", tell)?,
            Err(error @ (Error::Sign(_) | Error::Chain(_))) => return Ok(Err(Some(error.into()))),
            Err(error) => return Err(error),
        }
        Ok(Ok(()))
    }

    fn held(&self, number: u64) -> Result<Option<(Held, Record)>, Error> {
        let held = self.waiting.waiting(number.saturating_sub(1), 0)?.pop().filter(|held| held.number == number);
        Ok(held.and_then(|held| Some((Record::decode(&held.envelope)?.0, held))).map(|(record, held)| (held, record)))
    }

    /// Signs it, to the point from which it is only delivered. Whether what came of it verifies.
    fn sign(&self, held: &Held, record: &Record, ready: &Ready, tell: &dyn Fn(&Told<'_>)) -> Result<bool, Error> {
        let Some((signed, link)) = self.make(held, record, ready, tell)? else { return Ok(false) };
        self.store.prepare(&signed)?;
        if let Some(Err(error)) = link.map(|link| link.signed_late(&signed.payload_sha256())) {
            tell(&Told::Says(&format!("the next statement will not name this one: {error}")));
        }
        self.store.commit()?;
        Ok(true)
    }

    /// The signed statement, and its place in the chain, which nobody else takes meanwhile. None if it does not verify.
    fn make(
        &self,
        held: &Held,
        record: &Record,
        ready: &Ready,
        tell: &dyn Fn(&Told<'_>),
    ) -> Result<Option<(Signed, Option<Link>)>, Error> {
        let Some((_, unsigned)) = Record::decode(&held.envelope) else { return Ok(None) };
        let mut meta = ready.meta();
        let link = self.link(held, record, &meta.signer, tell)?;
        if let Some(link) = &link {
            (meta.number, meta.previous) = (Some(link.number), link.previous);
        }
        let mut envelope = Vec::new();
        let (written, says) = ready.write(&mut envelope, |out| unsigned.write(out, &meta))?;
        says.iter().for_each(|says| tell(&Told::Says(says)));
        if !verifies(&envelope, &ready.public_keys()) {
            return Ok(None);
        }
        if let Err(error) = ready.keep_bundles() {
            tell(&Told::Says(&format!("the trust bundle was not kept: {error}")));
        }
        Ok(Some((Signed::new(held.number, &meta, written.payload_sha256, envelope), link)))
    }

    /// Its place in the chain. That of another boot is over: who had a number there that is not on the disk is not known.
    fn link(
        &self,
        held: &Held,
        record: &Record,
        signer: &str,
        tell: &dyn Fn(&Told<'_>),
    ) -> Result<Option<Link>, Error> {
        let Some(folder) = record.chain.as_ref().filter(|_| record.boot_id == self.boot_id) else { return Ok(None) };
        let (host, boot) = record.scope();
        match Chain::open(folder).and_then(|chain| chain.next(&host, signer, &boot)) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Chain(error)),
            // A statement without a number is better than none.
            Err(why) => {
                tell(&Told::NotChained { statement: statement(held), why });
                Ok(None)
            }
        }
    }

    /// Ends what was begun, by this process or by one that was killed.
    fn finish(&mut self, tell: &dyn Fn(&Told<'_>)) -> Result<(), Error> {
        self.decide()?;
        let Some(signed) = self.store.signed()? else { return Ok(()) };
        if let Some((held, record)) = self.held(signed.number)? {
            self.deliver(&signed, &record, &held, tell)?;
            self.waiting.acknowledge(signed.number, &signed.payload_sha256(), now_s())?;
        }
        self.queue.remove(&signed.number);
        self.store.remove()
    }

    /// What was signed and not called so: whether the chain has it decides.
    fn decide(&self) -> Result<(), Error> {
        let Some(part) = self.store.part()? else { return self.store.discard() };
        let Some(chain_number) = part.chain_number() else { return self.store.commit() };
        let Some((_, record)) = self.held(part.number)? else { return self.store.discard() };
        let Some(folder) = record.chain.as_ref().filter(|_| record.boot_id == self.boot_id) else {
            return self.store.discard();
        };
        let (host, boot) = record.scope();
        let has = Chain::open(folder)
            .and_then(|chain| chain.has(&host, &part.signer, &boot, chain_number, &part.payload_sha256()));
        match has {
            Ok(true) => self.store.commit(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Chain(error)),
            Ok(false) | Err(_) => self.store.discard(),
        }
    }

    /// Into the spool and to its place; once more is the same.
    fn deliver(
        &mut self,
        signed: &Signed,
        record: &Record,
        held: &Held,
        tell: &dyn Fn(&Told<'_>),
    ) -> Result<(), Error> {
        use spool::Error as Said;
        let path = statement(held);
        let said = record.said.each_ref().map(|said| said.as_ref().and_then(super::Said::dropped));
        let (of, sent) = ((path.as_path(), signed.payload_sha256()), submission::of(signed.envelope.to_vec()));
        let put = match submission::put(&mut self.spool, of, sent.clone(), said[0].as_ref(), |_| ()) {
            // What is dropped was another spool's: it says that of another one.
            Err(Said::NotDropped) => submission::put(&mut self.spool, of, sent, None, |_| ()),
            put => put,
        };
        match put {
            Ok(_) => {
                if let Some(said) = &said[1] {
                    match self.waiting.settle(said) {
                        Ok(()) | Err(Said::NotDropped) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Err(why @ (Said::Full | Said::TooLarge { .. } | Said::Old)) => {
                tell(&Told::NotPut { statement: path.clone(), why });
            }
            Err(error) => return Err(error.into()),
        }
        let placed = place::write(Wanted {
            run: run(held),
            place: record.place.clone(),
            owner: record.owner,
            other_boot: record.boot_id != self.boot_id,
            envelope: Arc::clone(&signed.envelope),
        });
        tell(&Told::Signed { statement: path, signer: &signed.signer, placed });
        Ok(())
    }
}

/// The run that waits.
fn run(held: &Held) -> Artifact {
    Artifact::of(held.evidence.as_deref().unwrap_or(held.name.as_ref()))
}

fn statement(held: &Held) -> PathBuf {
    run(held).statement()
}

/// As a stranger would, without the evidence: that is its owner's by now.
fn verifies(envelope: &[u8], keys: &[PublicKey]) -> bool {
    let options = Options { accept_incomplete: true, ..Options::by_keys(keys) };
    !verify(envelope, &options).refused()
}

/// In hexadecimal, as it is kept.
fn digest(text: &str) -> Option<Hash> {
    hex::decode_sha256(text)
}

#[cfg(test)]
mod tests;
