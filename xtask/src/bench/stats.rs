//! What repeated measurements say: medians, and intervals that hold whatever the noise is like.

use std::time::{SystemTime, UNIX_EPOCH};

/// Rounds below which no interval covers the median with 95 %.
pub(super) const ROUNDS_MIN: usize = 6;
/// One chance in forty at either end.
const TAIL_MAX: f64 = 0.025;

/// A median with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) median: f64,
    /// Nothing where there are too few rounds.
    pub(super) interval: Option<(f64, f64)>,
}

impl Estimate {
    /// The interval is that of the sign test: between two of the sorted values, chosen so that the true median lies
    /// outside in at most 5 % of cases. It asks nothing of the noise but that rounds are independent.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = median_of_sorted(&sorted)?;
        let interval = outer_rank(sorted.len()).map(|rank| (sorted[rank], sorted[sorted.len() - 1 - rank]));
        Some(Estimate { median, interval })
    }

    /// Whether a goal is met, or missed; none as long as it lies within the interval.
    pub(super) fn outcome(&self, goal: f64) -> Option<bool> {
        match self.interval {
            Some((_, high)) if high <= goal => Some(true),
            Some((low, _)) if low > goal => Some(false),
            _ => None,
        }
    }

    /// Whether the interval is narrow against the excess over 1 that is claimed, or that was promised.
    pub(super) fn resolves(&self, promised_excess: f64) -> bool {
        let claimed = (self.median - 1.0).abs().max(promised_excess);
        self.interval.is_some_and(|(low, high)| (high - low) / 2.0 <= claimed / 3.0)
    }
}

/// The middle value, or the mean of the two in the middle.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median_of_sorted(&sorted)
}

fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted.get(middle).copied(),
        _ => Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0),
    }
}

/// How many values may be left out at either end: the largest number whose binomial tail stays below the limit.
fn outer_rank(count: usize) -> Option<usize> {
    // Beyond this many rounds the first terms are zero in a double, and nobody has the time.
    let count = count.min(1000);
    let mut term = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut tail = term;
    let mut rank = None;
    let mut at = 0;
    while tail <= TAIL_MAX && at < count {
        rank = Some(at);
        at += 1;
        term *= (count - at + 1) as f64 / at as f64;
        tail += term;
    }
    rank
}

/// A small generator of random numbers (xorshift), for the order within a round.
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn from_clock() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Dice { state: now.as_secs().rotate_left(32) ^ u64::from(now.subsec_nanos()) | 1 }
    }

    /// Brings the items into a random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.throw() % (last as u64 + 1)).unwrap_or(0);
            items.swap(last, other);
        }
    }

    fn throw(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::{Dice, Estimate, ROUNDS_MIN, median, outer_rank};

    #[test]
    fn the_median_of_none_is_nothing() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn one_round_below_the_least_has_no_interval() {
        assert_eq!(outer_rank(ROUNDS_MIN - 1), None);
        assert_eq!(outer_rank(ROUNDS_MIN), Some(0));
    }

    #[test]
    fn ranks_are_those_of_the_sign_test() {
        // From the tables: the 95 % interval runs from the k-th smallest to the k-th largest value.
        for (count, k) in [(8, 1), (9, 2), (15, 4), (20, 6), (50, 18)] {
            assert_eq!(outer_rank(count), Some(k - 1), "{count}");
        }
    }

    #[test]
    fn an_excess_is_resolved_by_an_interval_a_third_of_it_to_each_side() {
        let estimate = |low, high| Estimate { median: 1.3, interval: Some((low, high)) };
        assert!(estimate(1.2, 1.4).resolves(0.03));
        assert!(!estimate(1.19, 1.41).resolves(0.03));
        let none = Estimate { median: 1.0, interval: Some((0.995, 1.005)) };
        assert!(none.resolves(0.03));
        assert!(!none.resolves(0.01));
        assert!(!Estimate { median: 9.0, interval: None }.resolves(9.0));
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..50).collect();
        Dice::from_clock().shuffle(&mut items);
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
