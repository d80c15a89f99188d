//! What the collector answers: a receipt is held against what was sent before it stands for it; what is not taken for now is put off.

use std::{sync::PoisonError, time::Duration};

use attestation::{
    escape::escape,
    receipt::{Entry, Receipt},
};
use collector_api::{Accepted, Answer, Lasting, Refused, Unavailable, answer::Outcome};
use spool::{CODE_BYTES_MAX, SAYS_BYTES_MAX};

use super::{Error, Sending, Sent, Shared, Told, chance, log::Log, now_s};

/// Waits before a statement is sent again that is not taken for now: at first, and at most.
const FOR_NOW: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(3600)];
/// The same where the collector could not look at it.
const UNAVAILABLE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];

/// What came of an answer.
pub(super) enum Settled {
    /// There is nothing more to do, or not before long.
    Answered,
    /// The collector cannot take this one now; whether that is this one's fault, those behind it will show.
    Unavailable(Error),
}

/// Answers of one stream.
pub(super) struct Answers<'a> {
    pub(super) log: Option<Log<'a>>,
    pub(super) spool: &'a Shared,
    pub(super) sent: &'a Sent,
}

impl Answers<'_> {
    /// Does what an answer says, if it may say that.
    pub(super) async fn settle(&self, answer: Answer, tell: &impl Fn(&Told<'_>)) -> Result<Settled, Error> {
        let number = answer.number;
        let sending = self.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let sending = sending.ok_or(Error::NotSent(number))?;
        match answer.outcome {
            Some(Outcome::Accepted(Accepted { receipt, repeated: _ })) => {
                self.accepted(number, &sending, receipt).await?;
                Ok(Settled::Answered)
            }
            Some(Outcome::Refused(refused)) => {
                self.refused(number, &refused, tell).await?;
                Ok(Settled::Answered)
            }
            Some(Outcome::Unavailable(Unavailable { says })) => self.unavailable(number, &says).await,
            None => self.unavailable(number, "it answers what this version does not know").await,
        }
    }

    async fn accepted(&self, number: u64, sending: &Sending, bytes: Vec<u8>) -> Result<(), Error> {
        let receipt = read(number, &sending.entry, &bytes)?;
        let Some(log) = &self.log else {
            return self.spool.with(move |spool| gone_is_done(spool.acknowledge(number, &bytes, now_s()))).await;
        };
        let (key, tree) = (log.key.to_string(), log.hold(number, sending, &receipt).await?);
        let acknowledge =
            move |spool: &mut spool::Spool| gone_is_done(spool.acknowledge_in(number, &bytes, now_s(), (&key, &tree)));
        self.spool.with(acknowledge).await
    }

    async fn refused(&self, number: u64, refused: &Refused, tell: &impl Fn(&Told<'_>)) -> Result<(), Error> {
        let (code, says) = (words(&refused.code, CODE_BYTES_MAX), words(&refused.says, SAYS_BYTES_MAX));
        // What a later version may say besides is no reason to give a statement up.
        let is_final = refused.lasting() == Lasting::Final;
        tell(&Told::Refused { number, code: &code, says: &says, is_final });
        if is_final {
            return self.spool.with(move |spool| gone_is_done(spool.refuse(number, &code, &says, now_s()))).await;
        }
        self.put_off(number, code, says, FOR_NOW).await
    }

    async fn unavailable(&self, number: u64, says: &str) -> Result<Settled, Error> {
        let says = words(says, SAYS_BYTES_MAX);
        self.put_off(number, String::new(), says.clone(), UNAVAILABLE).await?;
        Ok(Settled::Unavailable(Error::Unavailable { number, says }))
    }

    async fn put_off(&self, number: u64, code: String, says: String, waits: [Duration; 2]) -> Result<(), Error> {
        let wait = move |tries| wait(tries, waits, chance());
        let put_off =
            move |spool: &mut spool::Spool| gone_is_done(spool.defer(number, (&code, &says), now_s(), wait).map(drop));
        self.spool.with(put_off).await
    }
}

/// A receipt that names what was sent. Nothing of it is believed yet.
fn read(number: u64, entry: &Entry, receipt: &[u8]) -> Result<Receipt, Error> {
    let receipt = Receipt::read(receipt).map_err(|source| Error::Receipt { number, source })?;
    // A log has of an envelope what it verified; the same statement with other signatures beside those is no other one.
    if receipt.entry().is_within(entry) { Ok(receipt) } else { Err(Error::OtherReceipt(number)) }
}

/// How long it is until the next try: twice as long each time, and never the same for two statements.
fn wait(tries: u64, [first, most]: [Duration; 2], chance: f64) -> Duration {
    let doubled = u32::try_from(tries.saturating_sub(1)).ok().and_then(|tries| 2_u32.checked_pow(tries));
    let wait = doubled.and_then(|times| first.checked_mul(times)).map_or(most, |wait| wait.min(most));
    wait.mul_f64(0.5 + 0.5 * chance)
}

/// Of a stranger's words, those that can be shown, in so many bytes at most: the spool takes no more.
pub(super) fn words(says: &str, bytes_max: usize) -> String {
    // Before it is escaped, which makes it longer, and after.
    let mut shown = escape(says.as_bytes().get(..bytes_max).unwrap_or(says.as_bytes())).into_owned();
    while shown.len() > bytes_max {
        shown.pop();
    }
    shown
}

/// What was dropped for want of room or for its age while the collector took it is counted as dropped, and there is nothing left to do.
pub(super) fn gone_is_done(settled: Result<(), spool::Error>) -> Result<(), spool::Error> {
    match settled {
        Err(spool::Error::NotWaiting(_)) => Ok(()),
        settled => settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit() {
        let waits = [Duration::from_secs(5), Duration::from_secs(60)];
        let seconds = |tries, chance| wait(tries, waits, chance).as_secs_f64();
        assert_eq!(
            [1, 2, 3, 4, 5, 64, u64::MAX].map(|tries| seconds(tries, 1.0)),
            [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]
        );
        assert_eq!((seconds(0, 0.0), seconds(9, 0.0)), (2.5, 30.0));
    }

    #[test]
    fn a_collectors_words_are_no_longer_than_the_spool_takes() {
        for says in ["A".repeat(64), "A".repeat(65), "\u{e9}".repeat(40), "\u{1b}".repeat(64), String::new()] {
            let shown = words(&says, CODE_BYTES_MAX);
            assert!(shown.len() <= CODE_BYTES_MAX && !shown.contains('\u{1b}'), "{shown}");
        }
        assert_eq!(words("QUOTE_MISSING", CODE_BYTES_MAX), "QUOTE_MISSING");
    }
}
