//! What a receipt says of the collector's log, held against the largest tree that was seen of it: a log only grows, and its time goes on.
//! One that was put back from an older copy, or that shows this node another tree than before, gives no receipt that is taken.

use std::time::Duration;

use attestation::{
    merkle::{Hash, MerkleError, verify_consistency},
    receipt::{LogKey, Receipt},
};
use collector_api::{ConsistencyProof, ConsistencyRequest, collector_client::CollectorClient};
use spool::Seen;
use tonic::{Code, transport::Channel};

use super::{Error, Sending, Shared, now_s};

/// How long the collector may take to show that its log only grew.
const PROOF_MAX: Duration = Duration::from_secs(60);
/// Hashes of such a proof at most: two for each level of the largest tree.
const HASHES_MAX: usize = 128;

/// Why a log is not the one that it was, or its time is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// It does not have what it had.
    #[error(
        "the collector's log had {seen} entries, and has no tree that goes on from those: {says}. It was put back from an older copy, \
         or shows others another log. If that is known, give it another key: `log.key` of its state, and log_key here"
    )]
    Smaller {
        /// Entries.
        seen: u64,
        /// In its words.
        says: String,
    },
    /// It has something else.
    #[error(
        "the collector's log of {size} entries is not the beginning or the end of the one of {seen} that was seen before: there are two \
         logs under one key"
    )]
    Forked {
        /// Entries of the one that the receipt leads to.
        size: u64,
        /// Of that which was seen.
        seen: u64,
        /// Why.
        source: MerkleError,
    },
    /// It grew, and its time went back.
    #[error(
        "the collector's log was signed for {size} entries at {time_s}, and for {seen} at {seen_s}: its time goes back"
    )]
    Back {
        /// Entries.
        size: u64,
        /// Seconds since 1970.
        time_s: u64,
        /// Entries of that which was seen.
        seen: u64,
        /// Seconds since 1970.
        seen_s: u64,
    },
    /// A time that this node's clock does not allow.
    #[error(
        "its time is {by_s} s {when}, and {max_s} s are taken: one of both clocks is wrong ([collector] clock_difference_max)"
    )]
    Clock {
        /// How far off.
        by_s: u64,
        /// Of what.
        when: &'static str,
        /// What is taken.
        max_s: u64,
    },
}

/// A log whose receipts are taken.
pub(super) struct Log<'a> {
    pub(super) key: &'a LogKey,
    pub(super) spool: &'a Shared,
    pub(super) client: CollectorClient<Channel>,
    /// How far its clock may be from this node's.
    pub(super) difference_max: Duration,
}

impl Log<'_> {
    /// The tree of a receipt that holds, if the log is the one that was seen before.
    pub(super) async fn hold(&self, number: u64, sending: &Sending, receipt: &Receipt) -> Result<Seen, Error> {
        let time_s = receipt.accept(self.key).map_err(|source| Error::Receipt { number, source })?;
        let log = |source| Error::Log { number, source };
        is_possible(time_s, sending.made_s, now_s(), self.difference_max).map_err(log)?;
        let (size, root) = receipt.tree();
        let tree = Seen { size, root: *root, time_s };
        let key = self.key.to_string();
        if let Some(seen) = self.spool.with(move |spool| spool.seen(&key)).await?
            && (seen.size, seen.root) != (tree.size, tree.root)
        {
            self.goes_on(number, &seen, &tree).await?;
        }
        Ok(tree)
    }

    async fn goes_on(&self, number: u64, seen: &Seen, tree: &Seen) -> Result<(), Error> {
        let log = |source| Error::Log { number, source };
        let (old, new) = if tree.size < seen.size { (tree, seen) } else { (seen, tree) };
        let hashes =
            if old.size == new.size { Vec::new() } else { self.proof(number, seen, [old.size, new.size]).await? };
        let held = verify_consistency(old.size, &old.root, new.size, &new.root, &hashes);
        held.map_err(|source| log(LogError::Forked { size: tree.size, seen: seen.size, source }))?;
        if old.size < new.size && old.time_s > new.time_s {
            let (size, time_s) = (tree.size, tree.time_s);
            return Err(log(LogError::Back { size, time_s, seen: seen.size, seen_s: seen.time_s }));
        }
        Ok(())
    }

    /// What the collector shows of two sizes of its log.
    async fn proof(&self, number: u64, seen: &Seen, [old, new]: [u64; 2]) -> Result<Vec<Hash>, Error> {
        let mut client = self.client.clone();
        let asked = client.prove_consistency(ConsistencyRequest { old, new });
        let asked = tokio::time::timeout(PROOF_MAX, asked).await.map_err(|_| Error::Unproven)?;
        let ConsistencyProof { hashes } = match asked {
            Ok(proof) => proof.into_inner(),
            // It does not have that size.
            Err(status) if status.code() == Code::OutOfRange => {
                let says = super::answers::words(status.message(), spool::DEFERRAL_BYTES_MAX);
                return Err(Error::Log { number, source: LogError::Smaller { seen: seen.size, says } });
            }
            Err(status) => return Err(Box::new(status).into()),
        };
        let none = || Error::Log { number, source: forked(seen, new) };
        if hashes.len() > HASHES_MAX {
            return Err(none());
        }
        hashes.into_iter().map(Hash::try_from).collect::<Result<_, _>>().map_err(|_| none())
    }
}

fn forked(seen: &Seen, size: u64) -> LogError {
    LogError::Forked { size, seen: seen.size, source: MerkleError::WrongLength }
}

/// Whether a statement of that age can have been logged at a time. It may have been long ago: an answer that was lost comes again, as of
/// then.
fn is_possible(time_s: u64, made_s: u64, now_s: u64, difference_max: Duration) -> Result<(), LogError> {
    let max_s = difference_max.as_secs();
    let (ahead, before) = (time_s.saturating_sub(now_s), made_s.saturating_sub(time_s));
    if ahead > max_s {
        return Err(LogError::Clock { by_s: ahead, when: "ahead of this node's clock", max_s });
    }
    if before > max_s {
        return Err(LogError::Clock {
            by_s: before,
            when: "before the statement was made by this node's clock",
            max_s,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_possible_from_when_the_statement_was_made_until_now() {
        let (made_s, now_s, max) = (10_000, 20_000, Duration::from_secs(60));
        let ok = |time_s| is_possible(time_s, made_s, now_s, max).is_ok();
        assert!(ok(made_s) && ok(15_000) && ok(now_s));
        assert_eq!([ok(made_s - 60), ok(made_s - 61), ok(now_s + 60), ok(now_s + 61)], [true, false, true, false]);
        assert!(!ok(0) && !ok(u64::MAX));
        // A clock that was ahead when it was made, and is not any more.
        assert!(is_possible(50, 100, 40, max).is_ok());
    }
}
