//! The one that writes: whatever waits is kept in one transaction, which is one wait for the disk, signed for in one checkpoint, and
//! answered with receipts. While the disk is waited for the next ones come together, so that a busy collector waits less often.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    thread::{self, JoinHandle},
};

use attestation::{receipt::LogSigner, x509::UnixSeconds};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock,
    intake::Room,
    store::{Enrolled, Error, Placed, Statement, Store},
};

/// Jobs that wait at most; then who sends waits.
const WAITING_MAX: usize = 256;
/// Statements of one transaction at most.
const BATCH_MAX: usize = 256;

/// A statement's receipt, and whether it was there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipted {
    /// C2SP's `tlog-proof`.
    pub(crate) receipt: String,
    pub(crate) repeated: bool,
}

/// Why it was not kept; the chain of causes in words.
pub(crate) type Kept<T> = Result<T, Arc<Error>>;

/// Who waits for an answer, and the memory that the submission takes until it is written, whoever reads that and when.
type Waiting = (Option<Room>, oneshot::Sender<Kept<Receipted>>);

/// What is to be written.
enum Job {
    Statement(Box<Statement>, Option<Room>, oneshot::Sender<Kept<Receipted>>),
    Challenge { id: String, peer: String, pending: Vec<u8>, expires_s: UnixSeconds, done: oneshot::Sender<Kept<bool>> },
    TakeChallenge { id: String, peer: String, done: oneshot::Sender<Kept<Option<Vec<u8>>>> },
    Enrol { enrolled: Enrolled, certified: bool, done: oneshot::Sender<Kept<()>> },
}

/// Gives work to the one that writes.
#[derive(Clone)]
pub(crate) struct Keeper(mpsc::Sender<Job>);

/// The one that writes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the collector is being stopped")]
pub(crate) struct Gone;

/// Starts it; it ends when nobody can give it work any more.
///
/// # Errors
/// Of the store, if what stands in it cannot be signed for.
pub(crate) fn start(mut store: Store, signer: LogSigner) -> anyhow::Result<(Keeper, JoinHandle<()>)> {
    // A store of a version that kept no checkpoints has none yet.
    store.sign_what_is_there(clock::now(), |size, root, time_s| signer.sign(size, root, time_s))?;
    let (give, jobs) = mpsc::channel(WAITING_MAX);
    let thread = thread::Builder::new().name("keep".to_owned()).spawn(move || Writer { store, signer }.run(jobs))?;
    Ok((Keeper(give), thread))
}

impl Keeper {
    /// Hands a statement over, in its turn; the answer comes when it is durable.
    pub(crate) async fn statement(
        &self,
        statement: Statement,
        room: Option<Room>,
    ) -> Result<oneshot::Receiver<Kept<Receipted>>, Gone> {
        let (done, answer) = oneshot::channel();
        self.0.send(Job::Statement(Box::new(statement), room, done)).await.map_err(|_| Gone)?;
        Ok(answer)
    }

    /// Keeps a challenge; false if too many are open.
    pub(crate) async fn challenge(
        &self,
        id: String,
        peer: String,
        pending: Vec<u8>,
        expires_s: UnixSeconds,
    ) -> Result<Kept<bool>, Gone> {
        self.ask(|done| Job::Challenge { id, peer, pending, expires_s, done }).await
    }

    /// Takes a challenge of this peer.
    pub(crate) async fn take_challenge(&self, id: String, peer: String) -> Result<Kept<Option<Vec<u8>>>, Gone> {
        self.ask(|done| Job::TakeChallenge { id, peer, done }).await
    }

    /// Keeps a machine.
    pub(crate) async fn enrol(&self, enrolled: Enrolled, certified: bool) -> Result<Kept<()>, Gone> {
        self.ask(|done| Job::Enrol { enrolled, certified, done }).await
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Gone> {
        let (done, answer) = oneshot::channel();
        self.0.send(job(done)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}

struct Writer {
    store: Store,
    signer: LogSigner,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let batch = NonZeroUsize::new(BATCH_MAX).map_or(1, NonZeroUsize::get);
        let mut waiting = Vec::new();
        while jobs.blocking_recv_many(&mut waiting, batch) > 0 {
            let mut statements = Vec::new();
            for job in waiting.drain(..) {
                match job {
                    Job::Statement(statement, room, done) => statements.push((*statement, (room, done))),
                    // In its turn: what came before it is written before it.
                    other => {
                        self.keep(std::mem::take(&mut statements));
                        self.other(other);
                    }
                }
            }
            self.keep(statements);
        }
    }

    fn keep(&mut self, batch: Vec<(Statement, Waiting)>) {
        if batch.is_empty() {
            return;
        }
        let (statements, waiting): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        // Who does not wait for the answer any more sends it again, and gets it then.
        let receipts = self.receipts(&statements);
        drop(statements);
        let all = receipts.unwrap_or_else(|error| {
            let error = Arc::new(error);
            waiting.iter().map(|_| Err(Arc::clone(&error))).collect()
        });
        waiting.into_iter().zip(all).for_each(|((_, done), receipt)| drop(done.send(receipt)));
    }

    /// A receipt is of the checkpoint that is kept with the statement: whoever asks again gets the same.
    fn receipts(&mut self, statements: &[Statement]) -> Result<Vec<Kept<Receipted>>, Error> {
        let (signer, now) = (&self.signer, clock::now());
        let kept = self.store.keep(statements, now, |size, root, time_s| signer.sign(size, root, time_s))?;
        // After it is durable: what is signed for can be shown.
        let receipt = |kept: Placed| {
            let (place, repeated) = kept.map_err(Arc::new)?;
            Ok(Receipted { receipt: self.store.receipt(place).map_err(Arc::new)?, repeated })
        };
        Ok(kept.into_iter().map(receipt).collect())
    }

    fn other(&mut self, job: Job) {
        let now = clock::now();
        match job {
            Job::Statement(..) => {}
            Job::Challenge { id, peer, pending, expires_s, done } => {
                let kept = self.store.challenge((&id, &peer), &pending, now, expires_s);
                let _ = done.send(kept.map_err(Arc::new));
            }
            Job::TakeChallenge { id, peer, done } => {
                let _ = done.send(self.store.take_challenge(&id, &peer).map_err(Arc::new));
            }
            Job::Enrol { enrolled, certified, done } => {
                let _ = done.send(self.store.enrol(&enrolled, certified, now).map_err(Arc::new));
            }
        }
    }
}
