//! Loss is data: what was dropped is counted until a statement says so.

use crate::account::Counts;
use crate::room::Work;
use crate::{Error, Spool};

/// What was dropped since a statement last said so.
///
/// The totals only grow. A statement says from which to which it goes, so whoever reads the statements finds what two of them
/// say that were signed at the same time, and what one said that was itself dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Of which spool: its random name.
    pub spool: [u8; 16],
    /// How many.
    pub counts: Counts,
    /// How many ever, with these.
    pub until: Counts,
    /// When the first of them was dropped, or before: never after.
    pub first_s: Option<u64>,
    /// When the last of them was.
    pub last_s: Option<u64>,
}

impl Spool {
    /// What no statement says yet.
    pub fn dropped(&self) -> Result<Dropped, Error> {
        self.read(|_, account| {
            let counts = account.dropped.less(account.settled).ok_or_else(|| Error::damaged("its account"))?;
            let (first_s, last_s) = account.dropped_s.unzip();
            Ok(Dropped { spool: account.spool, counts, until: account.dropped, first_s, last_s })
        })
    }

    /// A statement says what was dropped, and it is safe somewhere else than here; one that is put here is put by
    /// [`Spool::put_saying`].
    ///
    /// What was dropped since it was read stays. Once more, by this statement or another that says no more, changes nothing: what is
    /// settled is the total up to which it was said.
    pub fn settle(&mut self, said: &Dropped) -> Result<(), Error> {
        self.write(0, |work| work.settle(said))
    }
}

impl Work<'_> {
    pub fn settle(&mut self, said: &Dropped) -> Result<(), Error> {
        let account = &mut self.account;
        if said.spool != account.spool || account.dropped.less(said.until).is_none() {
            return Err(Error::NotDropped);
        }
        let settled = account.settled.or_more(said.until);
        if settled == account.settled {
            return Ok(());
        }
        account.settled = settled;
        let rest = account.dropped != settled;
        // The rest was dropped later than what was read; when its first was is not known closer.
        account.dropped_s = account.dropped_s.filter(|_| rest).map(|(first_s, last_s)| {
            let first_s = said.last_s.map_or(first_s, |read_s| read_s.clamp(first_s, last_s));
            (first_s, last_s)
        });
        Ok(())
    }
}
