//! What is sent: what waits, in its order, as fast as the collector takes it.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use attestation::{dsse, receipt::Entry};
use collector_api::Submission;
use prost::Message as _;
use tokio::sync::mpsc;

use super::{Error, Sent, Shared, answers::gone_is_done, now_s};

/// Bytes that are read from the spool at once.
const READ_BYTES_MAX: u64 = 8 << 20;
/// Between two looks at a spool in which nothing waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Between two looks at what is too old to wait any longer.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// Feeds a stream until nobody takes from it any more.
pub(super) async fn feed(spool: Shared, sent: Sent, give: mpsc::Sender<Submission>) -> Result<(), Error> {
    let (mut after, mut expired) = (0, None::<Instant>);
    loop {
        if expired.is_none_or(|expired| expired.elapsed() >= EXPIRE_EVERY) {
            spool.with(|spool| spool.tidy(now_s())).await?;
            expired = Some(Instant::now());
        }
        let waiting = spool.with(move |spool| spool.waiting(after, READ_BYTES_MAX)).await?;
        if waiting.is_empty() {
            tokio::select! {
                () = give.closed() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => continue,
            }
        }
        for held in waiting {
            after = held.number;
            let number = held.number;
            match submission(number, &held.envelope) {
                Some((submission, entry)) => {
                    sent.lock().unwrap_or_else(PoisonError::into_inner).insert(number, entry);
                    if give.send(submission).await.is_err() {
                        return Ok(());
                    }
                }
                // Nobody's statement: it was put there by something else than this program.
                None => {
                    let says = "what waits under this number is no statement";
                    spool
                        .with(move |spool| gone_is_done(spool.refuse(number, "UNREADABLE_FILE", says, now_s())))
                        .await?;
                }
            }
        }
    }
}

/// What is sent of an item, and what the collector's log is to have of it.
fn submission(number: u64, item: &[u8]) -> Option<(Submission, Entry)> {
    let submission = Submission { number, ..Submission::decode(item).ok()? };
    let envelope = dsse::read(submission.envelope.as_slice()).ok()?;
    Some((submission, Entry::of(&envelope)))
}
