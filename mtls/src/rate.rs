//! What others can cause is told at a limited rate, and the rest is counted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines in a time, and with the first after that the number of those that were left out.
#[derive(Debug)]
pub struct Rate {
    lines_max: u32,
    per: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    told: u32,
    left_out: u64,
}

impl Rate {
    /// So many lines in so long.
    #[must_use]
    pub const fn new(lines_max: u32, per: Duration) -> Self {
        Self { lines_max, per, state: Mutex::new(State { began: None, told: 0, left_out: 0 }) }
    }

    /// Calls `tell` with what is to stand at a line's end, or counts the line.
    pub fn tell(&self, tell: impl FnOnce(&str)) {
        if let Some(left_out) = self.at(Instant::now()) {
            let more = match left_out {
                0 => String::new(),
                count => format!(" ({count} more were not told)"),
            };
            tell(&more);
        }
    }

    /// How many were left out before this one, if it is to be told.
    fn at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= self.per) {
            (state.began, state.told) = (Some(now), 0);
        }
        if state.told >= self.lines_max {
            state.left_out += 1;
            return None;
        }
        state.told += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_rate_is_counted_and_told_with_the_next_line() {
        let (rate, began) = (Rate::new(2, Duration::from_secs(10)), Instant::now());
        let at = |seconds| rate.at(began + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(2), at(9)], [Some(0), Some(0), None, None]);
        assert_eq!([at(10), at(11), at(19), at(20)], [Some(2), Some(0), None, Some(1)]);
    }
}
