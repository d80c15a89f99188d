//! The sessions of a node, all under one loader: a thread that empties the kernel's ring for every one of them, opens and closes
//! them as it is asked, and hands those that ended to whoever swears to them.
//!
//! It never waits for one session: the known acts, the ends and the digests of each go on beside those of the others. What the
//! kernel side tells belongs to the session of its slot and serial; what nobody understands may have been of any, and each
//! says so.

mod ask;
mod hierarchy;
mod kept;
mod opening;
mod outside;
mod provisional;
mod seats;
mod settle;
mod watched;

use std::{
    collections::VecDeque,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use node_api::Line;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, oneshot};

pub(crate) use ask::{Ask, Finished, Id, Outcome, Seen, State};
pub(crate) use hierarchy::Rules;
pub(crate) use kept::Keep;
pub(crate) use settle::{Limits, Means};

use hierarchy::Hierarchy;
use seats::Seats;
use watched::{Waiting, Watched};

use crate::{
    content::Wall,
    probe::{self, Probe},
    run::clock_now,
};

/// How long the ring is left to fill between two looks.
const DRAIN_EVERY_MS: i32 = 10;
/// The same where nothing has been told for a while: what comes then waits no longer, and fills no ring.
const QUIET_EVERY_MS: i32 = 100;
const QUIET_AFTER: Duration = Duration::from_secs(1);
/// How long orders are waited for where no session is open.
const IDLE: Duration = Duration::from_millis(250);
/// Priority of the thread that empties the ring: what a busy host tells must not wait for the host's own turns.
const DRAIN_NICE: i32 = -10;
/// Orders that wait.
const ORDERS_MAX: usize = 64;
/// Sessions that ended and are remembered.
const FINISHED_MAX: usize = 1000;
/// How long the loader stays when the last session is over: the next one need not wait for it.
const LOADER_STAYS: Duration = Duration::from_secs(30);

/// What the thread is asked.
pub(crate) enum Order {
    /// To open a session; answered when its known acts have been seen once.
    Open(Box<Ask>, oneshot::Sender<anyhow::Result<Id>>),
    /// To close it after a grace; answered when its statement stands, or cannot.
    Close(Id, Duration, oneshot::Sender<anyhow::Result<Arc<Finished>>>),
    /// To have somebody hear it from now on; root may hear more.
    Tail(Id, bool, oneshot::Sender<anyhow::Result<mpsc::Receiver<Line>>>),
    /// To say which there are.
    List(oneshot::Sender<Vec<Seen>>),
    /// To close all, as they are.
    Stop(oneshot::Sender<()>),
}

/// Whoever may ask.
#[derive(Clone)]
pub(crate) struct Watch {
    orders: Sender<Order>,
    /// Has the thread look at them.
    wake: Arc<OwnedFd>,
}

impl Watch {
    /// Starts the thread. What it ends with comes back: it ends by an order only, or because the kernel side failed.
    ///
    /// # Errors
    /// If there is no thread.
    pub(crate) fn start(means: Means) -> anyhow::Result<(Self, oneshot::Receiver<anyhow::Result<()>>)> {
        let (orders, asked) = bounded(ORDERS_MAX);
        let (ended, end) = oneshot::channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let woken = Arc::clone(&wake);
        let body = move || {
            let _ = ended.send(Watcher::new(means, asked, woken).run());
        };
        thread::Builder::new().name("watch".to_owned()).spawn(body).context("a thread could not be started")?;
        Ok((Self { orders, wake }, end))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// If the thread has ended, or has more to do than it can.
    pub(crate) async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> anyhow::Result<T> {
        let (reply, answer) = oneshot::channel();
        self.orders.try_send(order(reply)).ok().context("the agent has more orders than it can take: ask again")?;
        // Full, it wakes all the same.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        answer.await.context("the agent ends")
    }
}

struct Watcher {
    means: Arc<Means>,
    orders: Receiver<Order>,
    wake: Arc<OwnedFd>,
    /// When there was something to do last.
    busy: Instant,
    seats: Seats,
    /// What sessions are made of that nobody asked for.
    hierarchy: Option<Hierarchy>,
    /// Cgroups for which there was no slot, as they were counted last.
    unopened: u64,
    /// The kernel side, as long as there is a session, or may be one.
    probe: Option<Probe>,
    /// Since when there is none.
    idle: Instant,
    wall: Wall,
    finished: VecDeque<Arc<Finished>>,
    settled: (Sender<Finished>, Receiver<Finished>),
    /// Sessions that somebody swears to now, and who waits for that.
    settling: Vec<(Seen, Vec<Waiting>)>,
    stopping: Option<oneshot::Sender<()>>,
}

impl Watcher {
    fn new(means: Means, orders: Receiver<Order>, wake: Arc<OwnedFd>) -> Self {
        let seats = Seats::new(means.limits.sessions_max);
        Self {
            means: Arc::new(means),
            orders,
            wake,
            busy: Instant::now(),
            seats,
            hierarchy: None,
            unopened: 0,
            probe: None,
            idle: Instant::now(),
            wall: Wall::start(clock_now()),
            finished: VecDeque::new(),
            settled: crossbeam_channel::unbounded(),
            settling: Vec::new(),
            stopping: None,
        }
    }

    /// Until it is told to stop, and every statement stands.
    fn run(mut self) -> anyhow::Result<()> {
        // Of this thread alone. Where it is refused, the ring may fill up sooner, and what is lost is counted.
        let _ = rustix::process::setpriority_process(None, DRAIN_NICE);
        self.start_rules()?;
        loop {
            self.wait()?;
            self.wall.look();
            self.drain()?;
            self.name()?;
            self.look()?;
            while let Ok(finished) = self.settled.1.try_recv() {
                self.remember(Arc::new(finished));
            }
            if self.is_over() {
                return Ok(());
            }
        }
    }

    /// Has the kernel side open sessions by itself, if the configuration has rules.
    fn start_rules(&mut self) -> anyhow::Result<()> {
        if self.means.rules.any() {
            let mut hierarchy = Hierarchy::new(self.means.rules.clone())?;
            self.loaded()?;
            if let Some(probe) = &mut self.probe {
                self.seats.offer(probe)?;
                hierarchy.start(probe)?;
            }
            self.hierarchy = Some(hierarchy);
        }
        Ok(())
    }

    fn loaded(&mut self) -> anyhow::Result<&mut Probe> {
        let slots = self.seats.slots();
        match &mut self.probe {
            Some(probe) => Ok(probe),
            none => {
                let limits = probe::Limits { slots, ..probe::Limits::default() };
                Ok(none.insert(Probe::start(&limits)?))
            }
        }
    }

    /// Whether it was told to stop, and nothing is left to do.
    fn is_over(&mut self) -> bool {
        let over = self.stopping.is_some() && self.seats.is_empty() && self.settling.is_empty();
        if over && let Some(told) = self.stopping.take() {
            let _ = told.send(());
        }
        over
    }

    /// Waits for events or orders, and does what was ordered.
    fn wait(&mut self) -> anyhow::Result<()> {
        let Some(probe) = &self.probe else {
            match self.orders.recv_timeout(IDLE) {
                Ok(order) => self.order(order),
                Err(RecvTimeoutError::Timeout) => {}
                // Whoever could ask is gone.
                Err(RecvTimeoutError::Disconnected) => self.stop(None),
            }
            return Ok(());
        };
        let quiet = self.busy.elapsed() > QUIET_AFTER && self.settling.is_empty();
        probe.wait_with(if quiet { QUIET_EVERY_MS } else { DRAIN_EVERY_MS }, self.wake.as_fd())?;
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        while let Ok(order) = self.orders.try_recv() {
            self.busy = Instant::now();
            self.order(order);
        }
        if self.hierarchy.is_none() && self.seats.is_empty() && self.idle.elapsed() > LOADER_STAYS {
            self.probe = None;
            self.seats.take_back();
        }
        Ok(())
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Open(ask, reply) => {
                if let Err((error, reply)) = self.open(*ask, reply) {
                    let _ = reply.send(Err(error));
                }
            }
            Order::Close(id, grace, reply) => match self.seats.by_id(&id) {
                Some(watched) => watched.close_after(grace, Some(reply)),
                None => self.closes_already(&id, reply),
            },
            Order::Tail(id, root, reply) => {
                let none = || anyhow::anyhow!("the session is over: its statement has all of it");
                let _ = reply.send(self.seats.by_id(&id).map_or_else(|| Err(none()), |watched| watched.tail(root)));
            }
            Order::List(reply) => {
                let open = self.seats.iter().map(Watched::seen);
                let settling = self.settling.iter().map(|(seen, _)| seen.clone());
                let finished = self.finished.iter().map(|finished| finished.seen());
                let _ = reply.send(open.chain(settling).chain(finished).collect());
            }
            Order::Stop(told) => self.stop(Some(told)),
        }
    }

    fn stop(&mut self, told: Option<oneshot::Sender<()>>) {
        self.stopping = Some(told.unwrap_or_else(|| oneshot::channel().0));
        self.seats.iter_mut().for_each(|watched| watched.close_after(Duration::ZERO, None));
    }

    /// A session that ended by itself, or that another closed, has its answer, or will have.
    fn closes_already(&mut self, id: &Id, reply: Waiting) {
        if let Some((_, waiting)) = self.settling.iter_mut().find(|(seen, _)| seen.about.id == *id) {
            return waiting.push(reply);
        }
        let known = self.finished.iter().find(|finished| finished.id() == *id);
        let none = || anyhow::anyhow!("there is no such session");
        let _ = reply.send(known.cloned().ok_or_else(none));
    }

    /// Opens a session as it was asked; it answers by itself when it is ready.
    fn open(
        &mut self,
        ask: Ask,
        reply: oneshot::Sender<anyhow::Result<Id>>,
    ) -> Result<(), (anyhow::Error, oneshot::Sender<anyhow::Result<Id>>)> {
        match self.try_open(ask) {
            Ok(slot) => {
                if let Some(watched) = self.seats.at(slot) {
                    watched.answer_when_ready(reply);
                }
                Ok(())
            }
            Err(error) => Err((error, reply)),
        }
    }

    fn try_open(&mut self, ask: Ask) -> anyhow::Result<u32> {
        anyhow::ensure!(self.stopping.is_none(), "the agent ends");
        let own = self.seats.iter().filter(|watched| watched.about.uid == ask.uid).count();
        anyhow::ensure!(
            ask.uid == 0 || own < self.means.limits.per_user_max as usize,
            "as many sessions of yours are open as the configuration allows: close one"
        );
        self.loaded()?;
        let probe = self.probe.as_mut().context("the kernel side is not loaded")?;
        let slot = self.seats.free().context("as many sessions are open as the configuration allows: close one")?;
        let watched = opening::open(ask, slot, (probe, &mut self.wall), &self.means)?;
        self.seats.take(slot, watched);
        Ok(slot)
    }

    /// Takes everything that waits in the ring.
    fn drain(&mut self) -> anyhow::Result<()> {
        if let Some(probe) = &mut self.probe
            && self.seats.drain(probe) > 0
        {
            self.busy = Instant::now();
        }
        Ok(())
    }

    /// Gives the sessions that the kernel side opened by itself to what they are, or gives them up.
    fn name(&mut self) -> anyhow::Result<()> {
        let (Some(probe), Some(hierarchy)) = (&mut self.probe, &mut self.hierarchy) else { return Ok(()) };
        for nothing in self.seats.look_at_new(|made| hierarchy.made(probe, made))? {
            opening::discard(nothing.place(), probe)?;
        }
        for mut provisional in self.seats.known() {
            let place = provisional.place();
            let subject = provisional.subject.take().filter(|_| self.stopping.is_none());
            let Some(subject) = subject else {
                opening::discard(place, probe)?;
                continue;
            };
            match opening::take_over(provisional, subject, (probe, &mut self.wall), &self.means) {
                Ok(watched) => self.seats.take(place.0, watched),
                Err(error) => {
                    crate::run::summary::warn(&format!("a session could not be opened: {error:#}"));
                    opening::discard(place, probe)?;
                }
            }
        }
        let unopened = probe.unopened()?;
        if unopened > self.unopened {
            let more = unopened - std::mem::replace(&mut self.unopened, unopened);
            self.means.not_opened(more);
            crate::run::summary::warn(&format!("{more} cgroups were made that have no session: no place was free"));
            // Some of them may be folders of others.
            hierarchy.start(probe)?;
        }
        let late = hierarchy.take_late();
        if late > 0 {
            self.means.not_opened(late);
            crate::run::summary::warn(&format!(
                "{late} cgroups have no session: they were made before it was known where"
            ));
        }
        self.seats.offer(probe)
    }

    /// Looks after every session: its known acts, its digests, its end.
    fn look(&mut self) -> anyhow::Result<()> {
        let Some(probe) = &mut self.probe else { return Ok(()) };
        let mut over = Vec::new();
        for watched in self.seats.iter_mut() {
            watched.look(probe)?;
            if watched.is_over() {
                over.push(watched.slot());
            }
        }
        for slot in over {
            // The ring is drained when it is shut, for all of them.
            let Some(survivors) = self.seats.at(slot).map(|watched| watched.shut(probe)).transpose()? else { continue };
            self.seats.drain(probe);
            outside::lost_elsewhere(&mut self.seats, probe, slot)?;
            let Some(watched) = self.seats.leave(slot) else { continue };
            let (means, told) = (Arc::clone(&self.means), self.settled.0.clone());
            let seen = watched.seen();
            let waiting = watched.settle(&survivors, probe, means, told)?;
            self.settling.push((seen, waiting));
        }
        if !self.seats.is_empty() {
            self.idle = Instant::now();
        }
        Ok(())
    }

    fn remember(&mut self, finished: Arc<Finished>) {
        if let Some(at) = self.settling.iter().position(|(seen, _)| seen.about.id == finished.id()) {
            let (_, waiting) = self.settling.swap_remove(at);
            // Who waited may be gone.
            waiting.into_iter().for_each(|reply| drop(reply.send(Ok(Arc::clone(&finished)))));
        }
        if self.finished.len() >= FINISHED_MAX {
            self.finished.pop_front();
        }
        self.finished.push_back(finished);
    }
}
