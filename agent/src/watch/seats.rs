//! Which session has which slot of the kernel side, and whose event it is.

use super::{ask::Id, outside, watched::Watched};
use crate::{decode, probe::Probe};

/// The slots, each with its session or free.
pub(super) struct Seats(Vec<Option<Watched>>);

impl Seats {
    pub(super) fn new(sessions_max: u32) -> Self {
        Self((0..sessions_max).map(|_| None).collect())
    }

    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The first slot without a session.
    pub(super) fn free(&self) -> Option<u32> {
        self.0.iter().position(Option::is_none).and_then(|slot| u32::try_from(slot).ok())
    }

    pub(super) fn take(&mut self, slot: u32, watched: Watched) {
        if let Some(seat) = self.0.get_mut(slot as usize) {
            *seat = Some(watched);
        }
    }

    pub(super) fn leave(&mut self, slot: u32) -> Option<Watched> {
        self.0.get_mut(slot as usize).and_then(Option::take)
    }

    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Watched> {
        self.0.get_mut(slot as usize).and_then(Option::as_mut)
    }

    pub(super) fn by_id(&mut self, id: &Id) -> Option<&mut Watched> {
        self.iter_mut().find(|watched| watched.id() == *id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Watched> {
        self.0.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Watched> {
        self.0.iter_mut().flatten()
    }

    /// Takes everything that waits in the ring, each event for its session.
    pub(super) fn drain(&mut self, probe: &mut Probe) {
        probe.drain(|bytes| match decode::decode(bytes) {
            Ok(event) => self.dispatch(event),
            Err(error) => self.iter_mut().for_each(|watched| watched.undecodable(&error)),
        });
    }

    fn dispatch(&mut self, event: decode::Event) {
        let slot = event.head.slot;
        if outside::may_write_unseen(&event) {
            let others = self.iter_mut().filter(|watched| watched.slot() != slot);
            others.for_each(|watched| watched.unseen_writer(event.head.boottime_ns));
        }
        // Of a session that is over, or of none that was opened here: its own account counts it.
        if let Some(watched) = self.at(slot) {
            watched.take(event);
        }
    }
}
