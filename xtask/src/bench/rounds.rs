//! The rounds of a workload, and which of its tracers still need more of them.

use std::collections::BTreeMap;

use anyhow::Result;

use super::sample::{self, Sample};
use super::stats::{Dice, Estimate, ROUNDS_MIN, median};
use super::subject::Subject;
use super::workloads::{Bench, Workload};

/// One measurement of each way to run it.
type Round = BTreeMap<Subject, Sample>;

/// A workload and its rounds.
pub(super) struct Series {
    pub(super) workload: Workload,
    rounds: Vec<Round>,
    /// Whether rounds are added until the goal is met or missed, too.
    decides: bool,
}

impl Series {
    pub(super) fn new(workload: Workload, decides: bool) -> Self {
        Series { workload, rounds: Vec::new(), decides }
    }

    /// Measures bare twice and every tracer that is not resolved, in random order.
    pub(super) fn add_round(&mut self, bench: &Bench, dice: &mut Dice) -> Result<()> {
        let mut subjects = vec![Subject::Bare, Subject::BareAgain];
        subjects.extend(self.workload.tracers.iter().filter(|tracer| self.wants(**tracer)));
        dice.shuffle(&mut subjects);
        let mut round = Round::new();
        for subject in subjects {
            round.insert(subject, sample::take(bench, &self.workload, subject)?);
        }
        self.rounds.push(round);
        Ok(())
    }

    /// Whether every tracer's ratio is larger than its noise.
    pub(super) fn is_resolved(&self) -> bool {
        !self.workload.tracers.iter().any(|tracer| self.wants(*tracer))
    }

    /// Whether a tracer needs more rounds.
    fn wants(&self, tracer: Subject) -> bool {
        let is_open = || {
            let goal = self.workload.goal.filter(|_| self.decides && tracer == Subject::Testimony);
            goal.zip(self.wall_ratio(tracer)).is_some_and(|(goal, ratio)| ratio.outcome(goal).is_none())
        };
        !self.resolves(tracer) || is_open()
    }

    pub(super) fn resolves(&self, subject: Subject) -> bool {
        let promised = match subject {
            Subject::Testimony => self.workload.goal.map_or(0.0, |goal| goal - 1.0),
            _ => 0.0,
        };
        self.wall_ratio(subject).is_some_and(|ratio| ratio.resolves(promised))
    }

    /// Own wall time against bare, paired by round.
    pub(super) fn wall_ratio(&self, subject: Subject) -> Option<Estimate> {
        self.ratio(subject, |sample| sample.wall_s)
    }

    /// CPU time of the session against bare, paired by round.
    pub(super) fn cpu_ratio(&self, subject: Subject) -> Option<Estimate> {
        self.ratio(subject, |sample| sample.session_cpu_s)
    }

    /// The first bare is the measure of the second; a tracer's is the mean of both.
    fn ratio(&self, subject: Subject, of: impl Fn(&Sample) -> f64) -> Option<Estimate> {
        let ratio = |round: &Round| {
            let (first, second) = (of(round.get(&Subject::Bare)?), of(round.get(&Subject::BareAgain)?));
            let own = of(round.get(&subject)?);
            match subject {
                Subject::Bare => None,
                Subject::BareAgain => Some(own / first),
                _ => Some(own / ((first + second) / 2.0)),
            }
        };
        Estimate::of(&self.rounds.iter().filter_map(ratio).collect::<Vec<_>>())
    }

    pub(super) fn median_of(&self, subject: Subject, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(&self.samples(subject).map(of).collect::<Vec<_>>())
    }

    pub(super) fn samples(&self, subject: Subject) -> impl Iterator<Item = &Sample> {
        self.rounds.iter().filter_map(move |round| round.get(&subject))
    }
}

/// How far all are, in a line.
pub(super) fn state(series: &[Series]) -> String {
    let one = |series: &Series| {
        let open = series.workload.tracers.iter().filter(|tracer| !series.resolves(**tracer));
        let open: Vec<&str> = open.map(|tracer| tracer.name()).collect();
        let open = if open.is_empty() { "resolved".to_owned() } else { format!("open: {}", open.join(", ")) };
        format!("{}: {} of at least {ROUNDS_MIN} rounds, {open}", series.workload.name, series.rounds.len())
    };
    series.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::{Round, Sample, Series, Subject, Workload};

    fn series(walls: &[[f64; 3]]) -> Series {
        let workload = Workload {
            name: String::new(),
            command: Vec::new(),
            tracers: vec![Subject::Testimony],
            goal: Some(1.3),
            at_once: 1,
            outside: false,
            makes: None,
            weight: 1,
        };
        let sample = |wall_s: f64| Sample { wall_s, session_cpu_s: wall_s, agent_cpu_s: 0.0, lost: false };
        let round = |[bare, again, traced]: &[f64; 3]| {
            let of = [(Subject::Bare, *bare), (Subject::BareAgain, *again), (Subject::Testimony, *traced)];
            Round::from_iter(of.map(|(subject, wall_s)| (subject, sample(wall_s))))
        };
        Series { workload, rounds: walls.iter().map(round).collect(), decides: false }
    }

    #[test]
    fn a_tracer_is_held_against_the_mean_of_both_bares_of_its_round() {
        let series = series(&[[1.0, 3.0, 4.0]]);
        assert!((series.wall_ratio(Subject::Testimony).unwrap().median - 2.0).abs() < 1e-9);
        assert!((series.wall_ratio(Subject::BareAgain).unwrap().median - 3.0).abs() < 1e-9);
        assert_eq!(series.wall_ratio(Subject::Strace), None);
    }

    #[test]
    fn a_goal_that_is_open_asks_for_more_rounds_where_it_is_to_be_decided() {
        let mut series = series(&[
            [1.0, 1.0, 1.25],
            [1.0, 1.0, 1.25],
            [1.0, 1.0, 1.25],
            [1.0, 1.0, 1.25],
            [1.0, 1.0, 1.25],
            [1.0, 1.0, 1.31],
        ]);
        assert!(series.is_resolved());
        series.decides = true;
        assert!(!series.is_resolved());
        series.workload.goal = Some(1.32);
        assert!(series.is_resolved());
    }

    #[test]
    fn few_rounds_resolve_nothing_however_alike() {
        assert!(!series(&[[1.0, 1.0, 1.2]; 5]).is_resolved());
        assert!(series(&[[1.0, 1.0, 1.2]; 6]).is_resolved());
    }
}
