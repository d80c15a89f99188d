//! The agent's known acts beside a session: a round before the command starts, rounds while it runs, and one when it is over.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use agent_ebpf::{hook, level};
use attestation::codes;
use proto::evidence::{Canary, CanaryAct};

use super::{Beside, Besides, Round};
use crate::{
    cgroup::Cgroup,
    content::Content,
    evidence::Log,
    probe::{Attached, Probe},
    session::{self, Session, blind_spot},
};

/// How long what a round told may stay in the ring.
const TOLD_TIME_MAX: Duration = Duration::from_secs(1);

/// What a round is entered with.
pub(crate) struct Into<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) probe: &'a mut Probe,
    pub(crate) log: &'a mut Log,
    pub(crate) content: &'a mut Content,
}

/// The process that performs them, as long as it does.
pub(crate) struct Canaries {
    beside: Option<Beside>,
    /// Why there is none, until the log has it.
    fault: Option<String>,
    /// Rounds that were reported, and are not told by all hooks yet; each with whether it was asked for, and since when.
    heard: VecDeque<(Round, Instant)>,
    /// A round was asked for, and is not entered yet.
    asked: bool,
}

impl Canaries {
    /// Starts the process. It acts when it is first asked to.
    pub(crate) fn start(probe: &Probe, cgroup: Option<&Cgroup>, mean_ms: u64) -> Self {
        let before = |wanted: u16| {
            let is = |attached: &Attached| attached.hook == wanted && attached.level == level::OBJECT;
            probe.hooks().iter().any(is)
        };
        let besides = Besides {
            cut: before(hook::TRUNCATE),
            reach: before(hook::CONNECT),
            ask: probe.hooks().iter().any(Attached::is_asked),
            mean_ms,
        };
        match Beside::start(besides, cgroup.and_then(Cgroup::paths)) {
            Ok(beside) => Self { beside: Some(beside), ..Self::none(None) },
            Err(error) => Self::none(Some(error.to_string())),
        }
    }

    fn none(fault: Option<String>) -> Self {
        Self { beside: None, fault, heard: VecDeque::new(), asked: false }
    }

    /// Enters the rounds whose acts have been told, or were not within a second, without waiting: whoever has many sessions
    /// drains the ring for all of them. To be called after it did.
    pub(crate) fn poll(&mut self, session: &mut Session, probe: &Probe, log: &mut Log) -> Result<(), session::Error> {
        while let Some((round, since)) = self.heard.front() {
            let canary = entry(probe, round);
            if !session.has_told(&canary) && since.elapsed() < TOLD_TIME_MAX {
                break;
            }
            if round.asked {
                self.asked = false;
            }
            self.heard.pop_front();
            enter_round(session, probe, log, canary)?;
        }
        // What is heard now is in the ring by now, and told when that was drained again.
        let rounds = self.hear(Beside::rounds);
        self.heard.extend(rounds.into_iter().map(|round| (round, Instant::now())));
        self.confess(log)
    }

    /// Whether a round that was asked for is still to come.
    pub(crate) fn is_awaited(&self) -> bool {
        self.asked && (self.beside.is_some() || !self.heard.is_empty())
    }

    /// Asks for the last round; [`Self::poll`] enters it.
    pub(crate) fn ask_last(&mut self, session: &mut Session, probe: &Probe) -> Result<(), session::Error> {
        session.before_round(probe)?;
        self.ask(true);
        Ok(())
    }

    /// Takes it into the session, and asks for the first round.
    pub(crate) fn begin(&mut self, session: &mut Session, probe: &mut Probe) -> Result<(), session::Error> {
        let Some(beside) = &mut self.beside else { return Ok(()) };
        match session::start_ns(beside.pid()) {
            Ok(start_ns) => session.adopt_canary(probe, beside.pid(), start_ns)?,
            Err(error) => self.fault = Some(error.to_string()),
        }
        self.ask(false);
        Ok(())
    }

    /// Waits until the round that was asked for is over, and enters it.
    pub(crate) fn finish(&mut self, into: &mut Into<'_>) -> Result<(), session::Error> {
        let rounds = self.hear(Beside::await_asked);
        self.enter(rounds, into)
    }

    /// Enters the rounds that were reported since the last look.
    pub(crate) fn look(&mut self, into: &mut Into<'_>) -> Result<(), session::Error> {
        let rounds = self.hear(Beside::rounds);
        self.enter(rounds, into)
    }

    /// The last round, when the command and its children are gone.
    pub(crate) fn end(&mut self, into: &mut Into<'_>) -> Result<(), session::Error> {
        into.session.before_round(into.probe)?;
        self.ask(true);
        self.finish(into)
    }

    fn ask(&mut self, last: bool) {
        self.asked = true;
        if let Some(Err(error)) = self.beside.as_mut().map(|beside| beside.ask(last)) {
            self.lost(&error);
        }
    }

    fn hear(&mut self, how: impl Fn(&mut Beside) -> std::io::Result<Vec<Round>>) -> Vec<Round> {
        match self.beside.as_mut().map(how) {
            None => Vec::new(),
            Some(Ok(rounds)) => rounds,
            Some(Err(error)) => {
                self.lost(&error);
                Vec::new()
            }
        }
    }

    fn lost(&mut self, error: &std::io::Error) {
        self.beside = None;
        self.fault = Some(error.to_string());
    }

    /// A report comes after the acts: what they told is in the ring, and in the log before the round.
    fn enter(&mut self, rounds: Vec<Round>, into: &mut Into<'_>) -> Result<(), session::Error> {
        let began_ns = rounds.first().map_or(0, |round| round.began_ns);
        let mut renames = 0;
        for round in rounds {
            let round = entry(into.probe, &round);
            drain(&round, into)?;
            renames += renamed(&round);
            into.session.round(into.log, round)?;
        }
        if renames > 0 {
            into.session.renamed(into.probe, into.log, began_ns, renames)?;
        }
        self.confess(into.log)
    }

    /// Why there are no more rounds, once.
    fn confess(&mut self, log: &mut Log) -> Result<(), session::Error> {
        if let Some(fault) = self.fault.take() {
            log.append(blind_spot(codes::CANARIES_ENDED, &fault, true))?;
        }
        Ok(())
    }
}

fn entry(probe: &Probe, round: &Round) -> Canary {
    Canary {
        round: round.number,
        began_boottime_ns: round.began_ns,
        ended_boottime_ns: round.ended_ns,
        acts: acts(probe, &round.acts),
    }
}

/// Enters one round whose events have been drained.
fn enter_round(session: &mut Session, probe: &Probe, log: &mut Log, round: Canary) -> Result<(), session::Error> {
    let (began_ns, renames) = (round.began_boottime_ns, renamed(&round));
    session.round(log, round)?;
    if renames > 0 {
        session.renamed(probe, log, began_ns, renames)?;
    }
    Ok(())
}

/// How many renames a round made.
fn renamed(round: &Canary) -> u64 {
    let renames = round.acts.iter().filter(|act| act.hook == u32::from(hook::RENAME));
    renames.map(|act| u64::from(act.count)).sum()
}

/// Acts by hook, of those that are attached.
fn acts(probe: &Probe, acts: &[(String, u32)]) -> Vec<CanaryAct> {
    let hook = |observation: &str| probe.hooks().iter().find(|attached| attached.observation == observation);
    let act = |(name, count): &(String, u32)| hook(name).map(|at| CanaryAct { hook: at.hook.into(), count: *count });
    let mut acts: Vec<CanaryAct> = acts.iter().filter_map(act).collect();
    acts.sort_unstable_by_key(|act| act.hook);
    acts
}

/// Drains until the acts have been told. A record that some other program has not finished holds up those behind it; what is
/// not there after a while was not told.
fn drain(round: &Canary, into: &mut Into<'_>) -> Result<(), session::Error> {
    let limit = Instant::now() + TOLD_TIME_MAX;
    loop {
        into.session.drain(into.probe, into.log, into.content)?;
        if into.session.has_told(round) || Instant::now() > limit {
            return Ok(());
        }
        into.content.pump();
        into.probe.wait(1)?;
    }
}
