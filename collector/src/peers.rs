//! What each node may take of the collector, and all of them together: connections, streams, memory, and turns of the processors. Who has
//! the certificate to send may still send whatever it likes, as often as it likes, and read no answer: it then takes its own share, and
//! none of anybody else's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::settings::Limits;

/// Of the memory for submissions, one node's part: others go on beside the greediest.
const PART_OF_ONE: u32 = 2;
/// Nodes that are remembered before those that are gone are forgotten.
const TIDY_ABOVE: usize = 1024;

/// All of them.
pub(crate) struct Peers {
    connections: Arc<Semaphore>,
    memory_kib: Arc<Semaphore>,
    processors: Arc<Semaphore>,
    of_one: OfOne,
    shares: Mutex<HashMap<Arc<str>, Weak<Share>>>,
}

/// How much one of them may take.
#[derive(Clone, Copy)]
struct OfOne {
    connections: usize,
    memory_kib: usize,
    turns: usize,
}

/// One of them, as long as it is there.
pub(crate) struct Share {
    connections: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    memory_kib: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// Something that one of them takes, until it is dropped: its own, and of what all have.
pub(crate) struct Place {
    _own: OwnedSemaphorePermit,
    _of_all: Option<OwnedSemaphorePermit>,
    _share: Arc<Share>,
}

/// Streams of statements of one connection, at most, and other calls of one node at a time: each of them needs one.
pub(crate) const STREAMS_MAX: u32 = 4;
const CALLS_MAX: usize = 4;

impl Peers {
    pub(crate) fn new(limits: &Limits) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let memory_kib = u32::try_from(limits.memory.get() >> 10).unwrap_or(u32::MAX);
        let of_one = OfOne {
            connections: limits.connections_of_one,
            memory_kib: kib(memory_kib / PART_OF_ONE),
            turns: processors.div_ceil(2),
        };
        Self {
            connections: Arc::new(Semaphore::new(limits.connections)),
            memory_kib: Arc::new(Semaphore::new(kib(memory_kib))),
            processors: Arc::new(Semaphore::new(processors)),
            of_one,
            shares: Mutex::default(),
        }
    }

    /// Its share, by its name.
    pub(crate) fn share(&self, peer: &str) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(peer).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() >= TIDY_ABOVE {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Share::new(self.of_one));
        shares.insert(peer.into(), Arc::downgrade(&share));
        share
    }

    /// A place for a connection, if there is one.
    pub(crate) fn connection(&self, peer: &str) -> Result<Place, &'static str> {
        let share = self.share(peer);
        let own = Arc::clone(&share.connections).try_acquire_owned();
        let own = own.map_err(|_| "as many connections as one name may have are open")?;
        let of_all = Arc::clone(&self.connections).try_acquire_owned();
        let of_all = of_all.map_err(|_| "as many connections as there may be are open")?;
        Ok(Place { _own: own, _of_all: Some(of_all), _share: share })
    }

    /// Memory for a message of so many bytes, when there is some; nobody gets it before who asked earlier.
    pub(crate) async fn memory(&self, share: &Arc<Share>, bytes: usize) -> Result<Place, AcquireError> {
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).saturating_add(1);
        let own = Arc::clone(&share.memory_kib).acquire_many_owned(kib).await?;
        let of_all = Arc::clone(&self.memory_kib).acquire_many_owned(kib).await?;
        Ok(Place { _own: own, _of_all: Some(of_all), _share: Arc::clone(share) })
    }

    /// A processor, when it is its turn: who asks for many at once waits for them behind its own.
    pub(crate) async fn turn(&self, share: &Arc<Share>) -> Result<Place, AcquireError> {
        let own = Arc::clone(&share.turns).acquire_owned().await?;
        let of_all = Arc::clone(&self.processors).acquire_owned().await?;
        Ok(Place { _own: own, _of_all: Some(of_all), _share: Arc::clone(share) })
    }
}

impl Share {
    fn new(of_one: OfOne) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            connections: semaphore(of_one.connections),
            streams: semaphore(of_one.connections),
            calls: semaphore(CALLS_MAX),
            memory_kib: semaphore(of_one.memory_kib),
            turns: semaphore(of_one.turns),
        }
    }

    /// A place for a stream of statements, if there is one.
    pub(crate) fn stream(self: &Arc<Self>) -> Option<Place> {
        self.place(&self.streams)
    }

    /// A place for another call, if there is one.
    pub(crate) fn call(self: &Arc<Self>) -> Option<Place> {
        self.place(&self.calls)
    }

    fn place(self: &Arc<Self>, of: &Arc<Semaphore>) -> Option<Place> {
        let own = Arc::clone(of).try_acquire_owned().ok()?;
        Some(Place { _own: own, _of_all: None, _share: Arc::clone(self) })
    }
}

fn kib(kib: u32) -> usize {
    usize::try_from(kib).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Peers {
        Peers::new(&Limits { connections: 3, connections_of_one: 2, memory: config::Bytes::new(256 << 20) })
    }

    #[test]
    fn one_has_its_connections_and_all_have_theirs() {
        let peers = peers();
        let one = [peers.connection("one").unwrap(), peers.connection("one").unwrap()];
        assert!(peers.connection("one").err().unwrap().contains("one name"));
        let other = peers.connection("other").unwrap();
        assert!(peers.connection("third").err().unwrap().contains("as there may be"));
        drop(one);
        let third = [peers.connection("third").unwrap(), peers.connection("third").unwrap()];
        drop((other, third));
    }

    #[tokio::test]
    async fn the_greediest_leaves_memory_and_a_turn_for_others() {
        let peers = peers();
        let (one, other) = (peers.share("one"), peers.share("other"));
        let half = peers.memory(&one, (128 << 20) - 1024).await.unwrap();
        let soon = |future| tokio::time::timeout(std::time::Duration::from_millis(50), future);
        assert!(soon(Box::pin(peers.memory(&one, 1))).await.is_err());
        drop(soon(Box::pin(peers.memory(&other, 64 << 20))).await.unwrap().unwrap());
        drop(half);
        drop(soon(Box::pin(peers.memory(&one, 1))).await.unwrap().unwrap());
        let streams: Vec<Place> = std::iter::from_fn(|| one.stream()).collect();
        assert_eq!((streams.len(), other.stream().is_some()), (2, true));
        let calls: Vec<Place> = std::iter::from_fn(|| one.call()).collect();
        assert_eq!((calls.len(), other.call().is_some()), (CALLS_MAX, true));
    }

    #[test]
    fn who_is_gone_is_forgotten_and_who_is_there_is_not() {
        let peers = peers();
        let place = peers.connection("here").unwrap();
        (0..3 * TIDY_ABOVE).for_each(|number| drop(peers.share(&number.to_string())));
        assert!(peers.shares.lock().unwrap().len() <= TIDY_ABOVE);
        let second = peers.connection("here").unwrap();
        assert!(peers.connection("here").is_err());
        drop((place, second));
    }
}
