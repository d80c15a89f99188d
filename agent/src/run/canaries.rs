//! The agent's known acts beside a session: a round before the command starts, rounds while it runs, and one when it is over.

use std::time::{Duration, Instant};

use agent_ebpf::{hook, level};
use attestation::codes;
use proto::evidence::{Canary, CanaryAct};

use super::cgroup::Cgroup;
use crate::{
    canary::{Beside, Besides, Round},
    content::Content,
    evidence::Log,
    probe::{Attached, Probe},
    session::{self, Session, blind_spot},
};

/// How long what a round told may stay in the ring.
const TOLD_TIME_MAX: Duration = Duration::from_secs(1);

/// What a round is entered with.
pub(super) struct Into<'a> {
    pub(super) session: &'a mut Session,
    pub(super) probe: &'a mut Probe,
    pub(super) log: &'a mut Log,
    pub(super) content: &'a mut Content,
}

/// The process that performs them, as long as it does.
pub(super) struct Canaries {
    beside: Option<Beside>,
    /// Why there is none, until the log has it.
    fault: Option<String>,
}

impl Canaries {
    /// Starts the process. It acts when it is first asked to.
    pub(super) fn start(probe: &Probe, cgroup: Option<&Cgroup>) -> Self {
        let before = |wanted: u16| {
            let is = |attached: &Attached| attached.hook == wanted && attached.level == level::OBJECT;
            probe.hooks().iter().any(is)
        };
        let besides = Besides {
            cut: before(hook::TRUNCATE),
            reach: before(hook::CONNECT),
            ask: probe.hooks().iter().any(Attached::is_asked),
        };
        match Beside::start(besides, cgroup.and_then(Cgroup::paths)) {
            Ok(beside) => Self { beside: Some(beside), fault: None },
            Err(error) => Self { beside: None, fault: Some(error.to_string()) },
        }
    }

    /// Takes it into the session, and asks for the first round.
    pub(super) fn begin(&mut self, session: &mut Session, probe: &mut Probe) -> Result<(), session::Error> {
        let Some(beside) = &mut self.beside else { return Ok(()) };
        match super::launch::start_ns(beside.pid()) {
            Ok(start_ns) => session.adopt_canary(probe, beside.pid(), start_ns)?,
            Err(error) => self.fault = Some(error.to_string()),
        }
        self.ask(false);
        Ok(())
    }

    /// Waits until the round that was asked for is over, and enters it.
    pub(super) fn finish(&mut self, into: &mut Into<'_>) -> Result<(), session::Error> {
        let rounds = self.hear(Beside::await_asked);
        self.enter(rounds, into)
    }

    /// Enters the rounds that were reported since the last look.
    pub(super) fn look(&mut self, into: &mut Into<'_>) -> Result<(), session::Error> {
        let rounds = self.hear(Beside::rounds);
        self.enter(rounds, into)
    }

    /// The last round, when the command and its children are gone.
    pub(super) fn end(&mut self, into: &mut Into<'_>) -> Result<(), session::Error> {
        into.session.before_round(into.probe)?;
        self.ask(true);
        self.finish(into)
    }

    fn ask(&mut self, last: bool) {
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
            let round = Canary {
                round: round.number,
                began_boottime_ns: round.began_ns,
                ended_boottime_ns: round.ended_ns,
                acts: acts(into.probe, &round.acts),
            };
            drain(&round, into)?;
            let renamed = round.acts.iter().filter(|act| act.hook == u32::from(hook::RENAME));
            renames += renamed.map(|act| u64::from(act.count)).sum::<u64>();
            into.session.round(into.log, round)?;
        }
        if renames > 0 {
            into.session.renamed(into.probe, into.log, began_ns, renames)?;
        }
        if let Some(fault) = self.fault.take() {
            into.log.append(blind_spot(codes::CANARIES_ENDED, &fault, true))?;
        }
        Ok(())
    }
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
