//! Which session has which slot of the kernel side, and whose event it is.

use super::{ask::Id, hierarchy::Subject, outside, provisional::Provisional, watched::Watched};
use crate::{decode, probe::Probe};

/// Slots that the kernel side may open sessions in by itself, as long as there are as many.
const OFFERED: usize = 16;
/// Slots that are never offered while they are free: for whoever asks.
const KEPT: usize = 4;

/// A slot.
enum Seat {
    Free,
    /// The kernel side may open a session in it.
    Offered,
    /// It did, and nobody knows yet what it is.
    Provisional(Box<Provisional>),
    Watched(Box<Watched>),
}

/// The slots, each with its session or free.
pub(super) struct Seats(Vec<Seat>);

impl Seats {
    pub(super) fn new(sessions_max: u32) -> Self {
        Self((0..sessions_max).map(|_| Seat::Free).collect())
    }

    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The first slot without a session.
    pub(super) fn free(&self) -> Option<u32> {
        let at = self.0.iter().position(|seat| matches!(seat, Seat::Free));
        at.and_then(|slot| u32::try_from(slot).ok())
    }

    /// Lends free slots to the kernel side, after every program that may have counted in them is through.
    ///
    /// # Errors
    /// If the kernel side fails.
    pub(super) fn offer(&mut self, probe: &mut Probe) -> anyhow::Result<()> {
        let is = |seat: &&Seat, wanted: fn(&Seat) -> bool| wanted(seat);
        let offered = self.0.iter().filter(|seat| is(seat, |seat| matches!(seat, Seat::Offered))).count();
        let free = self.0.iter().filter(|seat| is(seat, |seat| matches!(seat, Seat::Free))).count();
        let more = OFFERED.saturating_sub(offered).min(free.saturating_sub(KEPT));
        // A few at a time cost no more than one.
        if more == 0 || (offered > OFFERED / 2 && more < OFFERED / 4) {
            return Ok(());
        }
        probe.grace_period()?;
        for (slot, seat) in (0..).zip(&mut self.0).filter(|(_, seat)| matches!(seat, Seat::Free)).take(more) {
            probe.clear_accounts(slot, 0)?;
            probe.offer_slot(slot)?;
            *seat = Seat::Offered;
        }
        Ok(())
    }

    /// The loader is gone, and what it was lent.
    pub(super) fn take_back(&mut self) {
        for seat in self.0.iter_mut().filter(|seat| !matches!(seat, Seat::Watched(_))) {
            *seat = Seat::Free;
        }
    }

    pub(super) fn take(&mut self, slot: u32, watched: Watched) {
        if let Some(seat) = self.0.get_mut(slot as usize) {
            *seat = Seat::Watched(Box::new(watched));
        }
    }

    pub(super) fn leave(&mut self, slot: u32) -> Option<Watched> {
        let seat = self.0.get_mut(slot as usize).filter(|seat| matches!(seat, Seat::Watched(_)))?;
        match std::mem::replace(seat, Seat::Free) {
            Seat::Watched(watched) => Some(*watched),
            _ => None,
        }
    }

    /// Has somebody look what those provisional sessions are that nobody looked at; those that are nothing lose their place here.
    pub(super) fn look_at_new(
        &mut self,
        mut what: impl FnMut(&Provisional) -> anyhow::Result<Option<(Subject, String)>>,
    ) -> anyhow::Result<Vec<Provisional>> {
        let mut nothing = Vec::new();
        for seat in &mut self.0 {
            let Seat::Provisional(provisional) = seat else { continue };
            if provisional.subject.is_none() {
                provisional.subject = what(provisional)?;
            }
            if provisional.subject.is_none()
                && let Seat::Provisional(given_up) = std::mem::replace(seat, Seat::Free)
            {
                nothing.push(*given_up);
            }
        }
        Ok(nothing)
    }

    /// Provisional sessions of which it is known what they are: they lose their place here.
    pub(super) fn known(&mut self) -> Vec<Provisional> {
        let ready = |seat: &&mut Seat| matches!(seat, Seat::Provisional(provisional) if provisional.is_known());
        let seats = self.0.iter_mut().filter(ready);
        let known = seats.filter_map(|seat| match std::mem::replace(seat, Seat::Free) {
            Seat::Provisional(provisional) => Some(*provisional),
            _ => None,
        });
        known.collect()
    }

    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Watched> {
        match self.0.get_mut(slot as usize) {
            Some(Seat::Watched(watched)) => Some(watched),
            _ => None,
        }
    }

    pub(super) fn by_id(&mut self, id: &Id) -> Option<&mut Watched> {
        self.iter_mut().find(|watched| watched.id() == *id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Watched> {
        self.0.iter().filter_map(|seat| match seat {
            Seat::Watched(watched) => Some(watched.as_ref()),
            _ => None,
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Watched> {
        self.0.iter_mut().filter_map(|seat| match seat {
            Seat::Watched(watched) => Some(watched.as_mut()),
            _ => None,
        })
    }

    /// Takes everything that waits in the ring, each event for its session; how many.
    pub(super) fn drain(&mut self, probe: &mut Probe) -> usize {
        probe.drain(|bytes| match decode::decode(bytes) {
            Ok(event) => self.dispatch(event),
            Err(error) => self.iter_mut().for_each(|watched| watched.undecodable(&error)),
        })
    }

    fn dispatch(&mut self, event: decode::Event) {
        let (slot, at) = (event.head.slot, event.head.boottime_ns);
        if outside::may_write_unseen(&event) {
            let others = self.iter_mut().filter(|watched| watched.slot() != slot);
            others.for_each(|watched| watched.unseen_writer(at));
        }
        match self.0.get_mut(slot as usize) {
            Some(Seat::Watched(watched)) => watched.take(event),
            Some(Seat::Provisional(provisional)) => provisional.take(event),
            Some(seat @ Seat::Offered) => {
                if let Some(provisional) = Provisional::of(event) {
                    *seat = Seat::Provisional(Box::new(provisional));
                }
            }
            // Of a session that is over: its own account counted it.
            _ => {}
        }
    }
}
