//! Delivers what waits in the spool to a collector, in order, and keeps its receipts.
//!
//! A statement leaves the spool when the collector's receipt for it is in the spool instead, or when the collector says that it will
//! never take it. Whatever else happens it is sent again: the collector knows what it has by its bytes, and answers with a receipt for
//! that. What it does not take for now waits for a time of its own, and those behind it go on. Between attempts the wait grows, and is
//! never the same on two nodes.

mod answers;
mod feed;
mod log;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use attestation::receipt::{Entry, LogKey, RECEIPT_BYTES_MAX, ReceiptError};
use collector_api::{Submission, collector_client::CollectorClient};
use spool::Spool;
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::transport::Channel;

use answers::{Answers, Settled};
use log::Log;
pub(crate) use log::LogError;

/// Bytes of an answer at most: a receipt, and words.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a collector may take to answer anything while statements are with it.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// How long it may take to read one statement: as long as the slowest line needs for the largest.
const READ_MAX: Duration = Duration::from_secs(3600);
/// So many statements in a row that it cannot take now: then it is the collector, and none of them.
const UNAVAILABLE_MAX: u32 = 4;
/// How long it may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(60);
/// How long a connection is used for another stream.
const CONNECTION_MAX: Duration = Duration::from_secs(15 * 60);
/// The first wait after a failure, and the longest.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];

/// Where to, and how.
pub(crate) struct Target {
    pub(crate) client: mtls::Client,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// By which the collector's receipts are held; without it, that they name what was sent is all that is looked at.
    pub(crate) log: Option<LogKey>,
    /// How far the log's clock may be from this node's.
    pub(crate) clock_difference_max: Duration,
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
    /// It takes the connection, and reads nothing.
    #[error("the collector has not read a statement for {} s", READ_MAX.as_secs())]
    Unread,
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
    /// The log is not what it was.
    #[error("the collector's receipt for statement {number} is not taken")]
    Log {
        /// Which.
        number: u64,
        /// Why.
        source: LogError,
    },
    /// It does not show what it has.
    #[error("the collector has not shown in time that its log only grew")]
    Unproven,
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
    /// A statement will never be taken, or is not for now.
    Refused { number: u64, code: &'a str, says: &'a str, is_final: bool },
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
type Sent = Arc<Mutex<BTreeMap<u64, Sending>>>;

/// A statement on its way.
struct Sending {
    entry: Entry,
    /// When it was made, by this node's clock.
    made_s: u64,
    queued: Instant,
    /// When the last of it was given to the connection, which takes no more than the collector reads.
    sent: Option<Instant>,
}

impl Sending {
    fn new(entry: Entry, made_s: u64) -> Self {
        Self { entry, made_s, queued: Instant::now(), sent: None }
    }
}

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
        // A stream that was answered ends now and then: the next one begins in a moment.
        if !(delivered && matches!(error, Error::Closed)) {
            tell(&Told::Waiting { why: &error });
        }
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
    let connected = Instant::now();
    let client = CollectorClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    // The collector may end a stream that it has answered, as after a large statement: another one over the same connection goes on, as
    // long as its certificates are fresh.
    while stream_to_its_end(target, &client, spool, tell, delivered).await? && connected.elapsed() < CONNECTION_MAX {}
    Ok(())
}

/// Over one stream, until it ends: whether anything was answered.
async fn stream_to_its_end(
    target: &Target,
    client: &CollectorClient<Channel>,
    spool: &Shared,
    tell: &impl Fn(&Told<'_>),
    delivered: &mut bool,
) -> Result<bool, Error> {
    let (give, take) = mpsc::channel(1);
    let sent = Sent::default();
    let mut feeding = Owned(tokio::spawn(feed::feed(spool.clone(), Arc::clone(&sent), give)));
    let stream = stream(take, Arc::clone(&sent));
    let log = target.log.as_ref();
    let log = log.map(|key| Log { key, spool, client: client.clone(), difference_max: target.clock_difference_max });
    let mut client = client.clone();
    let begun = tokio::time::timeout(BEGIN_MAX, client.submit(stream)).await.map_err(|_| Error::Unbegun)?;
    let mut answered = begun.map_err(Box::new)?.into_inner();
    let answers = Answers { log, spool, sent: &sent };
    let (mut answered_last, mut unavailable, mut any) = (Instant::now(), 0, false);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => is_in_time(&sent, answered_last, Instant::now())?,
            answer = answered.message() => {
                answered_last = Instant::now();
                let Some(answer) = answer.map_err(Box::new)? else { return Ok(any) };
                match answers.settle(answer, tell).await? {
                    Settled::Unavailable(why) => {
                        unavailable += 1;
                        if unavailable == UNAVAILABLE_MAX {
                            return Err(why);
                        }
                    }
                    Settled::Answered => {
                        (unavailable, any) = (0, true);
                        if !*delivered {
                            tell(&Told::Delivering);
                        }
                        *delivered = true;
                    }
                }
            }
            fed = &mut feeding.0 => return fed.map_err(|_| Error::Task)?.map(|()| any),
        }
    }
}

/// What is given to the connection. It asks for the next one when it has room for more than the one before, which is sent by then.
fn stream(take: mpsc::Receiver<Submission>, sent: Sent) -> impl futures_util::Stream<Item = Submission> {
    futures_util::stream::unfold((take, sent, None), |(mut take, sent, before)| async move {
        if let Some(before) = before {
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.entry(before).and_modify(|before: &mut Sending| before.sent = Some(Instant::now()));
        }
        let next = take.recv().await?;
        let number = next.number;
        Some((next, (take, sent, Some(number))))
    })
}

/// Whether the collector still reads, and answers what it read.
fn is_in_time(sent: &Sent, answered_last: Instant, now: Instant) -> Result<(), Error> {
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    let oldest = sent.values().filter_map(|sending| sending.sent).min();
    if oldest.is_some_and(|oldest| now.saturating_duration_since(oldest.max(answered_last)) > ANSWER_MAX) {
        return Err(Error::Silent);
    }
    // What it does not read holds up what is queued behind it: the one that waits longest says so.
    let queued = sent.values().filter(|sending| sending.sent.is_none()).map(|sending| sending.queued).min();
    let read_last = sent.values().filter_map(|sending| sending.sent).max();
    let since = queued.map(|queued| read_last.map_or(queued, |read| queued.max(read)).max(answered_last));
    if since.is_some_and(|since| now.saturating_duration_since(since) > READ_MAX) { Err(Error::Unread) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_late_from_when_its_statement_was_sent_and_not_from_when_it_was_queued() {
        let (begin, sent) = (Instant::now(), Sent::default());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let entry = || Entry::new([0; 32], [b"signature".as_slice()]);
        let put = |number, sending| drop(sent.lock().unwrap().insert(number, sending));
        let (answer_s, read_s) = (ANSWER_MAX.as_secs(), READ_MAX.as_secs());
        // Nothing is on its way.
        assert!(is_in_time(&sent, begin, at(10 * read_s)).is_ok());
        // Queued, and not read yet.
        put(1, Sending { entry: entry(), made_s: 0, queued: begin, sent: None });
        assert!(is_in_time(&sent, begin, at(read_s)).is_ok());
        assert!(matches!(is_in_time(&sent, begin, at(read_s + 1)), Err(Error::Unread)));
        // Sent, long after it was queued.
        put(1, Sending { entry: entry(), made_s: 0, queued: begin, sent: Some(at(1000)) });
        assert!(is_in_time(&sent, begin, at(1000 + answer_s)).is_ok());
        assert!(matches!(is_in_time(&sent, begin, at(1001 + answer_s)), Err(Error::Silent)));
        // Others are answered meanwhile, or read.
        assert!(is_in_time(&sent, at(1001), at(1001 + answer_s)).is_ok());
        put(2, Sending { entry: entry(), made_s: 0, queued: begin, sent: None });
        assert!(is_in_time(&sent, at(1000 + read_s), at(1000 + read_s + 1)).is_ok());
    }

    #[tokio::test]
    async fn what_is_taken_from_the_stream_is_sent_when_the_next_is_asked_for() {
        use futures_util::StreamExt as _;
        let (give, take) = mpsc::channel(4);
        let sent = Sent::default();
        for number in [1, 2] {
            let sending = Sending::new(Entry::new([0; 32], [b"signature".as_slice()]), 0);
            sent.lock().unwrap().insert(number, sending);
            give.send(Submission { number, ..Submission::default() }).await.unwrap();
        }
        let mut stream = std::pin::pin!(stream(take, Arc::clone(&sent)));
        let is_sent = |number| sent.lock().unwrap()[&number].sent.is_some();
        assert_eq!((stream.next().await.unwrap().number, is_sent(1)), (1, false));
        assert_eq!((stream.next().await.unwrap().number, is_sent(1), is_sent(2)), (2, true, false));
        // One that was answered meanwhile does not come back.
        sent.lock().unwrap().remove(&2);
        drop(give);
        assert!(stream.next().await.is_none() && !sent.lock().unwrap().contains_key(&2));
    }
}
