//! The table of the workloads, in Markdown.

use std::fmt::Write as _;

use super::rounds::Series;
use super::sample::Sample;
use super::stats::Estimate;
use super::subject::Subject;

const HEAD: &str = "\
Ratios to bare are medians of ratios paired by round, with the interval of the sign test (95 %, at least six rounds);
bare again is held against bare. Own time is the workload's, taken inside the tracer. *Not resolved*: the interval's
half-width is more than a third of the excess that is claimed (for testimony, of that of its goal where it is larger).

| workload | traced by | rounds | own time | ratio | session CPU | ratio | tracer CPU | result |
|---|---|---:|---:|---|---:|---|---:|---|
";

pub(super) fn workloads(series: &[Series]) -> String {
    let mut table = HEAD.to_owned();
    for series in series {
        let subjects = [Subject::Bare, Subject::BareAgain].into_iter().chain(series.workload.tracers.iter().copied());
        for subject in subjects {
            row(&mut table, series, subject);
        }
    }
    table
}

fn row(table: &mut String, series: &Series, subject: Subject) {
    let name = if subject == Subject::Bare { &series.workload.name } else { "" };
    let seconds = |of: fn(&Sample) -> f64| series.median_of(subject, of).map_or("-".to_owned(), duration);
    let bare = matches!(subject, Subject::Bare | Subject::BareAgain);
    let tracer = if bare { "-".to_owned() } else { seconds(|sample| sample.agent_cpu_s) };
    let cells = [
        name.to_owned(),
        subject.name().to_owned(),
        series.samples(subject).count().to_string(),
        seconds(|sample| sample.wall_s),
        ratio(series.wall_ratio(subject)),
        seconds(|sample| sample.session_cpu_s),
        ratio(series.cpu_ratio(subject)),
        tracer,
        result(series, subject),
    ];
    // Writing to a string does not fail.
    let _ = writeln!(table, "| {} |", cells.join(" | "));
}

/// What follows: whether the ratio stands, what the goal comes to, and whether anything was lost.
fn result(series: &Series, subject: Subject) -> String {
    if matches!(subject, Subject::Bare | Subject::BareAgain) {
        return String::new();
    }
    let mut words = Vec::new();
    if !series.resolves(subject) {
        words.push("*not resolved*".to_owned());
    }
    if let (Subject::Testimony, Some(goal)) = (subject, series.workload.goal) {
        words.push(goal_result(goal, series.wall_ratio(subject)));
    }
    let lost = series.samples(subject).filter(|sample| sample.lost).count();
    if lost > 0 {
        words.push(format!("lost events in {lost} rounds"));
    }
    words.join(", ")
}

fn goal_result(goal: f64, ratio: Option<Estimate>) -> String {
    let outcome = match ratio.and_then(|ratio| ratio.outcome(goal)) {
        Some(true) => "met",
        Some(false) => "missed",
        None => "open",
    };
    format!("goal {goal:.2}x {outcome}")
}

fn ratio(estimate: Option<Estimate>) -> String {
    match estimate {
        Some(Estimate { median, interval: Some((low, high)) }) => format!("{median:.2}x [{low:.2}, {high:.2}]"),
        Some(Estimate { median, interval: None }) => format!("{median:.2}x"),
        None => "-".to_owned(),
    }
}

pub(super) fn duration(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

#[cfg(test)]
mod tests {
    use super::{Estimate, goal_result, ratio};

    #[test]
    fn a_goal_within_the_interval_is_open() {
        let at = |low, high| Some(Estimate { median: 1.3, interval: Some((low, high)) });
        assert_eq!(goal_result(1.3, at(1.2, 1.3)), "goal 1.30x met");
        assert_eq!(goal_result(1.3, at(1.2, 1.31)), "goal 1.30x open");
        assert_eq!(goal_result(1.3, at(1.31, 1.4)), "goal 1.30x missed");
        assert_eq!(goal_result(1.3, None), "goal 1.30x open");
    }

    #[test]
    fn a_ratio_without_an_interval_has_none() {
        assert_eq!(ratio(Some(Estimate { median: 2.0, interval: None })), "2.00x");
        assert_eq!(ratio(None), "-");
    }
}
