//! One session of a node, from its opening to the moment when nothing more comes of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use attestation::codes;
use attestation::evidence::describe;
use crossbeam_channel::Sender;
use node_api::Line;
use proto::evidence::{Container, Frame, frame::Body};
use tokio::sync::{
    mpsc::{self, Receiver, error::TrySendError},
    oneshot,
};

use super::{
    ask::{About, Finished, Id, Seen, State},
    settle::{self, Ending, Means},
};
use crate::{
    canary::Canaries,
    cgroup::Cgroup,
    content::Content,
    decode,
    evidence::{Log, Tap},
    platform::Platforms,
    probe::Probe,
    run::output::Output,
    session::{self, Session, boottime_ns},
};

/// How long a session stays open in which nothing lives.
const EMPTY_MAX: Duration = Duration::from_millis(500);
/// Lines that wait for a reader.
const LINES_MAX: usize = 4096;

/// Who waits for the end.
pub(super) type Waiting = oneshot::Sender<anyhow::Result<Arc<Finished>>>;

/// A session, and all that is done for it.
pub(super) struct Watched {
    pub(super) about: About,
    pub(super) session: Session,
    pub(super) log: Log,
    pub(super) content: Content,
    pub(super) canaries: Canaries,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) platform: Platforms,
    pub(super) output: Output,
    pub(super) phase: Phase,
    /// Events that were taken.
    pub(super) events: u64,
    /// Programs of other users than its own run in it.
    pub(super) of_others: bool,
    /// Its evidence cannot be kept any further.
    pub(super) broken: Option<String>,
    pub(super) waiting: Vec<Waiting>,
    /// What the store of its runtime says of a container, if that is still to come.
    pub(super) container: Option<crossbeam_channel::Receiver<Container>>,
    /// Since when nothing lives in it.
    pub(super) empty: Option<Instant>,
}

/// How far a session is.
pub(super) enum Phase {
    /// The first round of known acts is awaited; then whoever opened it may begin.
    Opening(Option<oneshot::Sender<anyhow::Result<Id>>>),
    /// It runs, until it is closed.
    Open,
    /// Processes may still end by themselves until then.
    Grace(Instant),
    /// The last round of known acts is awaited.
    Last,
    /// Nothing more is awaited.
    Over,
}

impl Watched {
    pub(super) fn id(&self) -> Id {
        self.about.id
    }

    pub(super) fn slot(&self) -> u32 {
        self.session.slot()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    pub(super) fn seen(&self) -> Seen {
        let state = match self.phase {
            Phase::Opening(_) | Phase::Open => State::Open,
            _ => State::Closing,
        };
        Seen {
            about: self.about.clone(),
            state,
            events: self.events,
            living: u32::try_from(self.session.living()).unwrap_or(u32::MAX),
            statement: None,
            says: self.broken.clone().unwrap_or_default(),
        }
    }

    pub(super) fn answer_when_ready(&mut self, reply: oneshot::Sender<anyhow::Result<Id>>) {
        if let Phase::Opening(waiting) = &mut self.phase {
            *waiting = Some(reply);
        }
    }

    /// Has it end when its processes have, at the latest after `grace`. Who asks again is answered too.
    pub(super) fn close_after(&mut self, grace: Duration, reply: Option<Waiting>) {
        self.waiting.extend(reply);
        // A day at most: an instant has its limits.
        let until = Instant::now() + grace.min(Duration::from_secs(86_400));
        match &mut self.phase {
            Phase::Opening(_) | Phase::Open => self.phase = Phase::Grace(until),
            Phase::Grace(limit) => *limit = until.min(*limit),
            Phase::Last | Phase::Over => {}
        }
    }

    /// Takes an event of its slot.
    pub(super) fn take(&mut self, event: decode::Event) {
        self.events += 1;
        if !self.of_others && self.is_of_others(&event) {
            self.of_others = true;
            self.log.of_others();
        }
        if self.broken.is_none() {
            let taken = self.session.take(event, &mut self.log, &mut self.content);
            self.hold(taken);
        }
    }

    /// Whether an event says that a program runs with the rights of somebody else: what that does is not for the session's user to know.
    fn is_of_others(&self, event: &decode::Event) -> bool {
        match &event.body {
            // The agent's own known acts.
            _ if event.head.serial != self.session.serial() => false,
            decode::Body::Exec { fixed, .. } => [fixed.uid, fixed.euid].iter().any(|uid| *uid != self.about.uid),
            decode::Body::Joined(_) => true,
            _ => false,
        }
    }

    /// Has somebody hear it from now on.
    pub(super) fn tail(&mut self, root: bool) -> anyhow::Result<Receiver<Line>> {
        anyhow::ensure!(root || !self.of_others, "programs of other users run in the session: root alone may hear it");
        let (lines, taken) = mpsc::channel(LINES_MAX);
        let mut missed = 0;
        let take = move |frame: &Frame| match lines.try_send(Line { text: describe(frame), missed }) {
            Ok(()) => {
                missed = 0;
                true
            }
            Err(TrySendError::Full(_)) => {
                missed += 1;
                true
            }
            Err(TrySendError::Closed(_)) => false,
        };
        self.log.tap(Tap { of_others: root, take: Box::new(take) });
        Ok(taken)
    }

    pub(super) fn undecodable(&mut self, error: &decode::Error) {
        if self.broken.is_none() {
            let taken = self.session.undecodable(error, &mut self.log, &mut self.content);
            self.hold(taken);
        }
    }

    pub(super) fn unseen_writer(&mut self, boottime_ns: u64) {
        self.content.unseen_writer(boottime_ns);
    }

    /// Whatever befalls the evidence of one session, the others go on.
    fn hold(&mut self, taken: Result<(), session::Error>) {
        if let Err(error) = taken {
            self.broken = Some(format!("{:#}", anyhow::Error::from(error)));
            self.phase = Phase::Over;
        }
    }

    /// Looks after its known acts, its digests and its end. To be called when the ring was drained.
    ///
    /// # Errors
    /// If the kernel side fails.
    pub(super) fn look(&mut self, probe: &Probe) -> anyhow::Result<()> {
        if self.broken.is_some() {
            return Ok(());
        }
        let polled = self.canaries.poll(&mut self.session, probe, &mut self.log);
        self.hold(polled);
        self.content.pump();
        if let Some(container) = self.container.as_ref().and_then(|told| told.try_recv().ok()) {
            self.container = None;
            self.about.name_by(&container);
            let appended = self.log.append(Body::Container(container)).map_err(session::Error::from);
            self.hold(appended);
        }
        let ticked = self.log.tick().map_err(session::Error::from);
        self.hold(ticked);
        self.go_on(probe)
    }

    fn go_on(&mut self, probe: &Probe) -> anyhow::Result<()> {
        let awaited = self.canaries.is_awaited();
        match &mut self.phase {
            Phase::Opening(waiting) if !awaited => {
                let told = waiting.take().is_none_or(|reply| reply.send(Ok(self.about.id)).is_ok());
                // Who does not wait any more cannot begin: nothing will come of it.
                self.phase = if told { Phase::Open } else { Phase::Over };
            }
            Phase::Open if self.session.living() > 0 => self.empty = None,
            Phase::Open => {
                // Whoever opened it is gone, or what it was of has ended.
                let since = *self.empty.get_or_insert_with(Instant::now);
                if since.elapsed() > EMPTY_MAX {
                    self.phase = Phase::Grace(Instant::now());
                }
            }
            Phase::Grace(until) if !awaited && (self.session.living() == 0 || Instant::now() >= *until) => {
                self.canaries.ask_last(&mut self.session, probe)?;
                self.phase = Phase::Last;
            }
            Phase::Last if !awaited => self.phase = Phase::Over,
            _ => {}
        }
        Ok(())
    }

    /// Takes no more events; the processes that are left.
    ///
    /// # Errors
    /// If the kernel side fails.
    pub(super) fn shut(&mut self, probe: &mut Probe) -> anyhow::Result<Vec<(u32, u64)>> {
        Ok(self.session.shut(probe)?)
    }

    /// Reads what the kernel side counted, and hands all to a thread that swears to it. Who waits for that comes back.
    ///
    /// # Errors
    /// If the kernel side fails, or there is no thread.
    pub(super) fn settle(
        mut self,
        survivors: &[(u32, u64)],
        probe: &mut Probe,
        means: Arc<Means>,
        told: Sender<Finished>,
    ) -> anyhow::Result<Vec<Waiting>> {
        if let Some(why) = &self.broken {
            let spot = session::blind_spot(codes::EVIDENCE_NOT_WRITTEN, why, true);
            // What cannot be written says so by being cut.
            let _ = self.log.append(spot);
        }
        if let Err(error) = self.session.account(survivors, probe, &mut self.log, &mut self.content) {
            match error {
                session::Error::Probe(error) => return Err(error.into()),
                session::Error::Evidence(error) => self.broken = Some(sign_chain(&error)),
            }
        }
        drop(self.canaries);
        self.platform.closing();
        let ending = Ending {
            about: self.about,
            events: self.events,
            of_others: self.of_others,
            root_status: self.session.root_status().and_then(|status| i32::try_from(status).ok()).unwrap_or(-1),
            closed_ns: boottime_ns(),
            misses: self.session.all_misses(probe),
            own_programs: probe.own_programs(),
            survivors: !survivors.is_empty(),
            log: self.log,
            content: self.content,
            platform: self.platform,
            output: self.output,
            broken: self.broken,
            container: self.container,
        };
        drop(self.cgroup);
        let waiting = self.waiting;
        let body = move || drop(told.send(settle::settle(ending, &means)));
        std::thread::Builder::new().name("settle".to_owned()).spawn(body).context("a thread could not be started")?;
        Ok(waiting)
    }
}

fn sign_chain(error: &dyn std::error::Error) -> String {
    crate::sign::chain_of(error)
}
