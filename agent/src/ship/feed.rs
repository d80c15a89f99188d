//! What is sent: what waits, in its order, as fast as the collector takes it; and what it did not take for now, when its time comes.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use attestation::{dsse, receipt::Entry};
use collector_api::Submission;
use prost::Message as _;
use spool::Held;
use tokio::sync::mpsc;

use super::{Error, Sending, Sent, Shared, answers::gone_is_done, now_s};

/// Bytes that are read from the spool at once.
const READ_BYTES_MAX: u64 = 8 << 20;
/// Between two looks at a spool in which nothing waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Between two looks at what is too old to wait any longer.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// Of those whose time has come again, so many between those that wait for the first time.
const AGAIN_MAX: u32 = 16;

/// Feeds a stream until nobody takes from it any more.
pub(super) async fn feed(spool: Shared, sent: Sent, give: mpsc::Sender<Submission>) -> Result<(), Error> {
    let (mut after, mut expired) = (0, None::<Instant>);
    loop {
        if expired.is_none_or(|expired| expired.elapsed() >= EXPIRE_EVERY) {
            spool.with(|spool| spool.tidy(now_s())).await?;
            expired = Some(Instant::now());
        }
        let mut feeding = Feeding { spool: &spool, sent: &sent, give: &give };
        let again = again(&mut feeding, after).await?;
        let waiting = spool.with(move |spool| spool.waiting_at(after, now_s(), READ_BYTES_MAX)).await?;
        if waiting.is_empty() && !again {
            tokio::select! {
                () = give.closed() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => continue,
            }
        }
        for held in waiting {
            after = held.number;
            if !feeding.give(held).await? {
                return Ok(());
            }
        }
    }
}

/// Sends what was put off and whose time has come. Whether there was any.
async fn again(feeding: &mut Feeding<'_>, until: u64) -> Result<bool, Error> {
    let mut found = false;
    for number in feeding.spool.with(|spool| spool.due(now_s(), AGAIN_MAX)).await? {
        // What is above comes in its turn, and what is on its way comes no second time.
        let is_sent = feeding.sent.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&number);
        if number > until || is_sent {
            continue;
        }
        if let Some(held) = feeding.spool.with(move |spool| spool.held(number)).await? {
            found = true;
            if !feeding.give(held).await? {
                break;
            }
        }
    }
    Ok(found)
}

struct Feeding<'a> {
    spool: &'a Shared,
    sent: &'a Sent,
    give: &'a mpsc::Sender<Submission>,
}

impl Feeding<'_> {
    /// Whether somebody took it.
    async fn give(&mut self, held: Held) -> Result<bool, Error> {
        let number = held.number;
        if let Some((submission, entry)) = submission(number, &held.envelope) {
            let sending = Sending::new(entry, held.made_s);
            self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sending);
            return Ok(self.give.send(submission).await.is_ok());
        }
        // Nobody's statement: it was put there by something else than this program.
        let says = "what waits under this number is no statement";
        let refuse =
            move |spool: &mut spool::Spool| gone_is_done(spool.refuse(number, "UNREADABLE_FILE", says, now_s()));
        self.spool.with(refuse).await?;
        Ok(true)
    }
}

/// What is sent of an item, and what the collector's log is to have of it.
fn submission(number: u64, item: &[u8]) -> Option<(Submission, Entry)> {
    let submission = Submission { number, ..Submission::decode(item).ok()? };
    let envelope = dsse::read(submission.envelope.as_slice()).ok()?;
    Some((submission, Entry::of(&envelope)))
}
