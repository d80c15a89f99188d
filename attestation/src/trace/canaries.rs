//! Known acts of the agent's own: what each hook was seen to see, and for how long nobody knows whether it saw anything.

use super::builder::TraceError;
use super::coverage::{Findings, HookRow, label};
use crate::codes;
use proto::evidence as log;
use std::collections::BTreeMap;

/// Nanoseconds between two rounds that a complete session may have at most.
pub const INTERVAL_MAX_NS: u64 = 60_000_000_000;

/// Observations that may have no acts of their own: the programs of others tell the first two, and there is nothing to enter
/// where membership is by inheritance alone.
pub const UNTRIED_OBSERVATIONS: [&str; 3] = ["attention", "outside-write", "membership"];
/// What a session says of membership where it has a cgroup, which can be entered.
const BY_CGROUP: &str = "cgroup+inheritance";

/// What the rounds say of one hook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Canaries {
    /// Rounds in which the hook saw every act that was made for it.
    pub seen: u64,
    /// Rounds in which it did not.
    pub silent: u64,
    /// Begin of the first and end of the last round in which it saw them, CLOCK_BOOTTIME in nanoseconds.
    pub first_last: Option<(u64, u64)>,
    /// The longest time, in nanoseconds, from one such round's begin (or the session's) to the end of the next (or the
    /// session's): a hook that was muted for longer shows.
    pub longest_ns: u64,
    /// Begin of the last such round.
    since_ns: u64,
    /// Whether the last round had an act for it.
    in_last: bool,
}

impl Canaries {
    fn round(&mut self, began_ns: u64, ended_ns: u64, seen: bool) {
        if !seen {
            self.silent += 1;
            return;
        }
        self.seen += 1;
        self.until(ended_ns);
        self.since_ns = began_ns;
        self.first_last = Some((self.first_last.map_or(began_ns, |(first, _)| first), ended_ns));
    }

    fn until(&mut self, now_ns: u64) {
        self.longest_ns = self.longest_ns.max(now_ns.saturating_sub(self.since_ns));
    }
}

/// The rounds of a session, as they come.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Hook and time of the events later than the last round.
    waiting: Vec<(u32, u64)>,
    hooks: BTreeMap<u32, Canaries>,
    next: u64,
    last_ended_ns: u64,
}

impl Rounds {
    /// Bytes that an event waits with.
    pub(super) const EVENT_BYTES: usize = size_of::<(u32, u64)>();

    /// Enters a hook of a session that began at a time.
    pub(super) fn declare(&mut self, hook: u32, opened_ns: u64) {
        self.hooks.insert(hook, Canaries { since_ns: opened_ns, ..Canaries::default() });
        self.last_ended_ns = opened_ns;
    }

    /// An event of a known act.
    pub(super) fn event(&mut self, event: &log::Event) {
        self.waiting.push((event.hook, event.boottime_ns));
    }

    /// A round is over, and its events are here.
    pub(super) fn round(&mut self, round: &log::Canary) -> Result<(), TraceError> {
        let (began, ended) = (round.began_boottime_ns, round.ended_boottime_ns);
        let in_order = round.round == self.next && self.last_ended_ns <= began && began <= ended;
        let sorted = round.acts.iter().map(|act| act.hook).is_sorted_by(|one, other| one < other);
        let known = |act: &log::CanaryAct| act.count > 0 && self.hooks.contains_key(&act.hook);
        if !in_order || !sorted || !round.acts.iter().all(known) {
            return Err(TraceError::Value("canary"));
        }
        for hook in self.hooks.values_mut() {
            hook.in_last = false;
        }
        for act in &round.acts {
            let seen =
                self.waiting.iter().filter(|(hook, at)| *hook == act.hook && (began..=ended).contains(at)).count();
            if let Some(hook) = self.hooks.get_mut(&act.hook) {
                hook.in_last = true;
                hook.round(began, ended, seen as u64 >= u64::from(act.count));
            }
        }
        // Those of the next round may be here already.
        self.waiting.retain(|(_, at)| *at > ended);
        (self.next, self.last_ended_ns) = (round.round + 1, ended);
        Ok(())
    }

    /// Enters what is known of each hook in its row, and what is not as gaps. A session without rounds claims nothing of them.
    pub(super) fn judge(
        mut self,
        membership: &str,
        closed: Option<&log::SessionClosed>,
        rows: &mut [HookRow],
        findings: &mut Findings,
    ) {
        if self.next == 0 {
            return;
        }
        for row in rows {
            let Some(mut canaries) = self.hooks.remove(&row.hook.id) else { continue };
            canaries.until(closed.map_or(self.last_ended_ns, |closed| closed.closed_boottime_ns));
            let observation = row.hook.observation.as_str();
            let enters = observation == "membership" && membership == BY_CGROUP;
            if canaries.seen + canaries.silent == 0 && UNTRIED_OBSERVATIONS.contains(&observation) && !enters {
                continue;
            }
            row.canaries = Some(canaries);
            if canaries.silent > 0 {
                findings.gaps_of(codes::HOOK_SILENT, &label(&row.hook), canaries.silent);
            } else if canaries.seen == 0 || (closed.is_some() && !canaries.in_last) {
                findings.gap(codes::HOOK_NOT_TRIED, &label(&row.hook));
            }
            if canaries.seen > 0 && canaries.longest_ns > INTERVAL_MAX_NS {
                findings.gap(codes::CANARIES_LATE, &label(&row.hook));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::Session;
    use crate::trace::Trace;

    const HOOKS: [u32; 3] = [1, 4, 9];

    fn row(trace: &Trace, hook: u32) -> Option<Canaries> {
        trace.coverage().iter().find(|row| row.hook.id == hook).and_then(|row| row.canaries)
    }

    fn gaps(trace: &Trace) -> Vec<(&str, &str, u64)> {
        trace.gaps().iter().map(|gap| (gap.code.as_str(), gap.detail.as_str(), gap.count)).collect()
    }

    fn closed(mut session: Session) -> Trace {
        session.accounts();
        session.close("ended", 0);
        session.trace().unwrap()
    }

    #[test]
    fn a_hook_that_is_silent_in_one_round_of_many_ends_completeness() {
        let mut session = Session::build_open();
        session.canaries(0, &HOOKS, &HOOKS);
        session.wait(3_000_000_000);
        session.canaries(1, &[1, 9], &HOOKS);
        session.canaries(2, &HOOKS, &HOOKS);
        let trace = closed(session);
        let silent = row(&trace, 4).unwrap();
        assert_eq!((silent.seen, silent.silent), (2, 1));
        assert!(silent.longest_ns > row(&trace, 1).unwrap().longest_ns);
        assert!(gaps(&trace).contains(&(codes::HOOK_SILENT, "open#4", 1)) && !trace.complete() && trace.lossless());
    }

    #[test]
    fn a_session_without_rounds_claims_nothing_and_one_with_rounds_tries_every_hook() {
        assert!(Session::build().trace().unwrap().coverage().iter().all(|row| row.canaries.is_none()));
        let mut session = Session::build_open();
        session.canaries(0, &HOOKS, &HOOKS);
        let trace = closed(session);
        assert!(gaps(&trace).contains(&(codes::HOOK_NOT_TRIED, "exec#2", 1)));
        assert!(!gaps(&trace).iter().any(|gap| gap.1.starts_with("attention")), "others' programs tell it");
    }

    #[test]
    fn what_came_before_or_after_a_round_is_not_of_it() {
        let mut session = Session::build_open();
        session.canaries(0, &HOOKS, &HOOKS);
        // Told, but before the second round began.
        session.event(4, 1, log::event::Body::Canary(log::CanaryEvent {}));
        session.wait(1);
        session.canaries(1, &[1, 9], &HOOKS);
        assert_eq!(row(&closed(session), 4).unwrap().silent, 1);
    }

    #[test]
    fn two_rounds_that_are_heard_of_together_have_their_own_events() {
        let mut session = Session::build_open();
        session.canaries(0, &HOOKS, &HOOKS);
        let first = session.frames.pop().unwrap();
        session.wait(1);
        session.canaries(1, &HOOKS, &HOOKS);
        let second = session.frames.len() - 1;
        session.frames.insert(second, first);
        let canaries = row(&closed(session), 4).unwrap();
        assert_eq!((canaries.seen, canaries.silent), (2, 0));
    }

    #[test]
    fn a_hook_that_the_last_round_has_no_act_for_is_not_known_to_have_held() {
        let mut session = Session::build_open();
        session.canaries(0, &HOOKS, &HOOKS);
        session.canaries(1, &HOOKS, &HOOKS[..2]);
        let trace = closed(session);
        assert!(gaps(&trace).contains(&(codes::HOOK_NOT_TRIED, "symlink#9", 1)), "{:?}", gaps(&trace));
        assert!(!gaps(&trace).iter().any(|gap| gap.1 == "open#4"));
    }

    #[test]
    fn a_minute_without_a_round_ends_completeness() {
        let mut session = Session::build_open();
        session.canaries(0, &HOOKS, &HOOKS);
        session.wait(INTERVAL_MAX_NS);
        let trace = closed(session);
        assert!(gaps(&trace).contains(&(codes::CANARIES_LATE, "fork#1", 1)), "{:?}", gaps(&trace));
    }

    #[test]
    fn rounds_out_of_order_or_without_acts_are_none() {
        for (round, hooks) in [(1, &HOOKS[..]), (0, &[9, 4]), (0, &[4, 4]), (0, &[99])] {
            let mut session = Session::build_open();
            session.canaries(round, &[], hooks);
            let trace = closed(session);
            assert!(gaps(&trace).iter().any(|gap| gap.0 == codes::MALFORMED_LOG), "{round} {hooks:?}");
            assert!(trace.coverage().iter().all(|row| row.canaries.is_none()));
        }
    }
}
