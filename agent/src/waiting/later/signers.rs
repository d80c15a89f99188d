//! Who is awaited: each followed for as long as something waits for it, and asked again at growing intervals.

use std::time::{Duration, Instant};

use crate::sign::{self, Awaited, Ready, Unable};

/// So many are followed at once, each by a thread: who waits for more of them gets its turn.
const FOLLOWED_MAX: usize = 16;
/// Who has a place for that long without signing anything gives it to another one, if one is awaited.
const PLACE_MAX: Duration = Duration::from_secs(10);
/// The first wait of who is asked anew each time, and the longest. A Workload API tells by itself.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How long what came later waits for what came before it, once its own signer is there.
const ORDER_MAX: Duration = Duration::from_secs(3);
/// How long nothing is told: who is just being asked has not answered yet.
const QUIET: Duration = Duration::from_secs(3);

/// Those that are followed.
#[derive(Default)]
pub(super) struct Signers {
    followed: Vec<Followed>,
}

struct Followed {
    awaited: Awaited,
    /// None where they could not be found.
    signers: Option<sign::Signers>,
    since: Instant,
    next: Instant,
    wait: Duration,
    /// Since when it can sign.
    back: Option<Instant>,
}

impl Signers {
    /// Whom to ask in this turn, those first for whom something has waited longest.
    pub(super) fn turn<'a>(&mut self, queue: impl Iterator<Item = &'a Awaited>) -> Vec<Awaited> {
        let mut wanted: Vec<&Awaited> = Vec::new();
        queue.for_each(|awaited| {
            if wanted.last() != Some(&awaited) && !wanted.contains(&awaited) {
                wanted.push(awaited);
            }
        });
        self.followed.retain(|followed| wanted.contains(&&followed.awaited));
        for awaited in &wanted {
            if self.followed.iter().any(|followed| followed.awaited == **awaited) {
                continue;
            }
            if self.followed.len() >= FOLLOWED_MAX {
                // Behind all others, who have not had a place for as long.
                let longest = self.followed.iter().enumerate().min_by_key(|(_, followed)| followed.since);
                let Some((index, _)) = longest.filter(|(_, followed)| followed.since.elapsed() > PLACE_MAX) else {
                    break;
                };
                self.followed.remove(index);
            }
            self.followed.push(Followed::new((*awaited).clone()));
        }
        let now = Instant::now();
        let mut due: Vec<_> = self.followed.iter().filter(|followed| followed.next <= now).collect();
        due.sort_by_key(|followed| wanted.iter().position(|awaited| **awaited == followed.awaited));
        due.into_iter().map(|followed| followed.awaited.clone()).collect()
    }

    /// Those who sign, now.
    pub(super) fn ready(&mut self, awaited: &Awaited) -> Result<Ready, sign::Error> {
        let Some(followed) = self.of(awaited) else { return awaited.open()?.ready() };
        let signers = match followed.signers.take() {
            Some(signers) => signers,
            None => awaited.open()?,
        };
        let ready = followed.signers.insert(signers).ready()?;
        followed.wait = WAITS[0];
        followed.since = Instant::now();
        followed.back.get_or_insert(followed.since);
        Ok(ready)
    }

    /// It cannot now. What is to be told of it, if it has lasted.
    pub(super) fn failed(&mut self, awaited: &Awaited, why: &(dyn std::error::Error + 'static)) -> Option<String> {
        let followed = self.of(awaited)?;
        followed.back = None;
        if !matches!(why.downcast_ref(), Some(sign::Error::Unable(Unable::Identity(_)))) {
            followed.next = Instant::now() + followed.wait;
            followed.wait = (followed.wait * 2).min(WAITS[1]);
        }
        (followed.since.elapsed() >= QUIET).then(|| sign::chain_of(why))
    }

    /// Whether others that were away may come back a moment later: one Workload API tells one after the other.
    pub(super) fn is_back_only_now(&self, awaited: &Awaited) -> bool {
        let back =
            self.followed.iter().find(|followed| followed.awaited == *awaited).and_then(|followed| followed.back);
        back.is_some_and(|back| back.elapsed() < ORDER_MAX)
    }

    fn of(&mut self, awaited: &Awaited) -> Option<&mut Followed> {
        self.followed.iter_mut().find(|followed| followed.awaited == *awaited)
    }
}

impl Followed {
    fn new(awaited: Awaited) -> Self {
        let now = Instant::now();
        Self { awaited, signers: None, since: now, next: now, wait: WAITS[0], back: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_followed_and_who_stays_away_gives_its_place_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let awaited =
            |name: usize| sign::Args::by(folder.path().join(name.to_string())).open().unwrap().awaited().unwrap();
        let all: Vec<Awaited> = (0..=FOLLOWED_MAX).map(awaited).collect();
        let mut signers = Signers::default();
        assert_eq!(signers.turn(all.iter()), all[..FOLLOWED_MAX]);
        assert_eq!(signers.turn(all.iter().rev()).len(), FOLLOWED_MAX);
        signers.followed[3].since -= PLACE_MAX + Duration::from_secs(1);
        let now = signers.turn(all.iter());
        assert!(now.len() == FOLLOWED_MAX && now.contains(&all[FOLLOWED_MAX]) && !now.contains(&all[3]));
        // Nothing waits for the others any more.
        assert_eq!(signers.turn(all[3..5].iter()), all[3..5]);
    }
}
