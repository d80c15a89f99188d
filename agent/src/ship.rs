//! Delivers what waits in the spool to a collector, in order, and keeps its receipts.
//!
//! A statement leaves the spool when the collector's receipt for it is in the spool instead, or when the collector says that it will
//! never take it. Whatever else happens it is sent again: the collector knows what it has by its bytes, and answers with a receipt for
//! that. Between attempts the wait grows, and is never the same on two nodes.

mod answers;
mod feed;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use attestation::receipt::{Entry, LogKey, RECEIPT_BYTES_MAX, ReceiptError};
use collector_api::collector_client::CollectorClient;
use spool::Spool;
use tokio::{sync::mpsc, task::JoinHandle};

use answers::Answers;

/// Bytes of an answer at most: a receipt, and words.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a collector may take to answer anything while statements are with it.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// How long it may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(60);
/// The first wait after a failure, and the longest.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];

/// Where to, and how.
pub(crate) struct Target {
    pub(crate) client: mtls::Client,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// By which the collector's receipts are held; without it, that they name what was sent is all that is looked at.
    pub(crate) log: Option<LogKey>,
}

/// Why delivery stopped for now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The spool.
    #[error("the spool")]
    Spool(#[from] spool::Error),
    /// No connection.
    #[error("the collector cannot be reached")]
    Connection(#[from] mtls::Error),
    /// It broke off.
    #[error("the collector broke off: {}", .0.message())]
    Stream(#[from] Box<tonic::Status>),
    /// It ended.
    #[error("the collector closed the stream")]
    Closed,
    /// It takes the connection, and says nothing.
    #[error("the collector has not begun to answer within {} s", BEGIN_MAX.as_secs())]
    Unbegun,
    /// It takes statements, and says nothing.
    #[error("the collector has not answered for {} s", ANSWER_MAX.as_secs())]
    Silent,
    /// It cannot take a statement now.
    #[error("the collector cannot take statement {number} now: {says}")]
    Unavailable {
        /// Which.
        number: u64,
        /// In its words.
        says: String,
    },
    /// It answered what nobody asked.
    #[error("the collector answered for statement {0}, which was not sent")]
    NotSent(u64),
    /// Its receipt proves nothing.
    #[error("the collector's receipt for statement {number} does not hold")]
    Receipt {
        /// Which.
        number: u64,
        /// Why.
        source: ReceiptError,
    },
    /// Its receipt is for something else.
    #[error("the collector's receipt for statement {0} is for another one")]
    OtherReceipt(u64),
    /// A thread ended early.
    #[error("a task of the delivery ended early")]
    Task,
}

impl Error {
    /// Whether it is ours alone, so that trying again soon changes nothing.
    fn is_fatal(&self) -> bool {
        matches!(self, Self::Spool(error) if !matches!(error, spool::Error::DiskFull | spool::Error::Busy | spool::Error::TooMuch { .. }))
    }
}

/// What there is to tell of the delivery.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// Statements are answered again, or for the first time.
    Delivering,
    /// A statement will never be taken.
    Refused { number: u64, code: &'a str, says: &'a str },
    /// Nothing is delivered for now.
    Waiting { why: &'a Error },
}

/// The spool, for several tasks of one process.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Spool>>);

impl Shared {
    pub(crate) fn new(spool: Spool) -> Self {
        Self(Arc::new(Mutex::new(spool)))
    }

    /// Asks the spool on a thread that may wait for the disk.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Spool) -> Result<T, spool::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let spool = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || ask(&mut spool.lock().unwrap_or_else(PoisonError::into_inner)));
        Ok(asked.await.map_err(|_| Error::Task)??)
    }
}

/// How often it is looked at whether the collector answers.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was sent and is not answered yet.
type Sent = Arc<Mutex<BTreeMap<u64, Entry>>>;

/// Ends a task with its owner.
struct Owned(JoinHandle<Result<(), Error>>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Delivers for as long as the spool can be used.
///
/// # Errors
/// Why it cannot be any more.
pub(crate) async fn run(
    target: &Target,
    spool: Shared,
    tell: impl Fn(&Told<'_>),
) -> Result<std::convert::Infallible, Error> {
    let mut wait = WAITS[0];
    loop {
        let mut delivered = false;
        let error = deliver(target, &spool, &tell, &mut delivered).await;
        if error.is_fatal() {
            return Err(error);
        }
        if delivered {
            wait = WAITS[0];
        }
        let now = wait.mul_f64(0.5 + 0.5 * chance());
        tell(&Told::Waiting { why: &error });
        tokio::time::sleep(now).await;
        wait = (wait * 2).min(WAITS[1]);
    }
}

/// Over one connection, until that ends.
async fn deliver(target: &Target, spool: &Shared, tell: &impl Fn(&Told<'_>), delivered: &mut bool) -> Error {
    match attempt(target, spool, tell, delivered).await {
        Ok(()) => Error::Closed,
        Err(error) => error,
    }
}

async fn attempt(
    target: &Target,
    spool: &Shared,
    tell: &impl Fn(&Told<'_>),
    delivered: &mut bool,
) -> Result<(), Error> {
    let channel = target.client.connect(&target.host, target.port).await?;
    let (give, take) = mpsc::channel(1);
    let sent = Sent::default();
    let mut feeding = Owned(tokio::spawn(feed::feed(spool.clone(), Arc::clone(&sent), give)));
    let stream = futures_util::stream::unfold(take, |mut take| async move { Some((take.recv().await?, take)) });
    let mut client = CollectorClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let begun = tokio::time::timeout(BEGIN_MAX, client.submit(stream)).await.map_err(|_| Error::Unbegun)?;
    let mut answered = begun.map_err(Box::new)?.into_inner();
    let answers = Answers { log: target.log.as_ref(), spool, sent: &sent };
    let mut waiting_since = Instant::now();
    loop {
        let none = sent.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if none {
            waiting_since = Instant::now();
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {
                if waiting_since.elapsed() > ANSWER_MAX {
                    return Err(Error::Silent);
                }
            }
            answer = answered.message() => {
                waiting_since = Instant::now();
                let Some(answer) = answer.map_err(Box::new)? else { return Ok(()) };
                answers.settle(answer, tell).await?;
                if !*delivered {
                    tell(&Told::Delivering);
                }
                *delivered = true;
            }
            fed = &mut feeding.0 => return fed.map_err(|_| Error::Task)?,
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Between 0 and 1.
fn chance() -> f64 {
    let mut byte = [0];
    let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    f64::from(byte[0]) / 255.0
}

/// The key of a log, in a file.
///
/// # Errors
/// What is wrong, in a sentence.
pub(crate) fn log_key(path: &Path) -> Result<LogKey, String> {
    let named = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let text = testimony_verify::files::read_at_most(path, RECEIPT_BYTES_MAX as u64).map_err(|error| named(&error))?;
    LogKey::read(&String::from_utf8_lossy(&text)).map_err(|error| named(&error))
}
