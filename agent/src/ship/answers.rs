//! What the collector answers: a receipt is held against what was sent before it stands for it.

use std::sync::PoisonError;

use attestation::{
    escape::escape,
    receipt::{Entry, LogKey, Receipt},
};
use collector_api::{Accepted, Answer, Refused, Unavailable, answer::Outcome};
use spool::{CODE_BYTES_MAX, SAYS_BYTES_MAX};

use super::{Error, Sent, Shared, Told, now_s};

/// Answers of one stream.
pub(super) struct Answers<'a> {
    pub(super) log: Option<&'a LogKey>,
    pub(super) spool: &'a Shared,
    pub(super) sent: &'a Sent,
}

impl Answers<'_> {
    /// Does what an answer says, if it may say that.
    pub(super) async fn settle(&self, answer: Answer, tell: &impl Fn(&Told<'_>)) -> Result<(), Error> {
        let number = answer.number;
        let entry = self.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let entry = entry.ok_or(Error::NotSent(number))?;
        match answer.outcome {
            Some(Outcome::Accepted(Accepted { receipt, repeated: _ })) => {
                self.hold(number, &entry, &receipt)?;
                self.spool.with(move |spool| gone_is_done(spool.acknowledge(number, &receipt, now_s()))).await
            }
            Some(Outcome::Refused(Refused { code, says })) => {
                let (code, says) = (words(&code, CODE_BYTES_MAX), words(&says, SAYS_BYTES_MAX));
                tell(&Told::Refused { number, code: &code, says: &says });
                self.spool.with(move |spool| gone_is_done(spool.refuse(number, &code, &says, now_s()))).await
            }
            Some(Outcome::Unavailable(Unavailable { says })) => {
                Err(Error::Unavailable { number, says: words(&says, SAYS_BYTES_MAX) })
            }
            None => Err(Error::Unavailable { number, says: "it answers what this version does not know".to_owned() }),
        }
    }

    fn hold(&self, number: u64, entry: &Entry, receipt: &[u8]) -> Result<(), Error> {
        let receipt = Receipt::read(receipt).map_err(|source| Error::Receipt { number, source })?;
        if receipt.entry() != entry {
            return Err(Error::OtherReceipt(number));
        }
        let held = self.log.map_or(Ok(0), |log| receipt.accept(log));
        held.map(drop).map_err(|source| Error::Receipt { number, source })
    }
}

/// Of a stranger's words, those that can be shown, in so many bytes at most: the spool takes no more.
fn words(says: &str, bytes_max: usize) -> String {
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
    fn a_collectors_words_are_no_longer_than_the_spool_takes() {
        for says in ["A".repeat(64), "A".repeat(65), "\u{e9}".repeat(40), "\u{1b}".repeat(64), String::new()] {
            let shown = words(&says, CODE_BYTES_MAX);
            assert!(shown.len() <= CODE_BYTES_MAX && !shown.contains('\u{1b}'), "{shown}");
        }
        assert_eq!(words("QUOTE_MISSING", CODE_BYTES_MAX), "QUOTE_MISSING");
    }
}
