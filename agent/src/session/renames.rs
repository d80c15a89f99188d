//! Whether the host's renames are counted. The known acts make some, and the count must have grown by as many.

use std::collections::VecDeque;

/// Looks at the count, the latest last: when, CLOCK_BOOTTIME in nanoseconds, and how many.
pub(super) struct Renames(VecDeque<(u64, u64)>);

impl Renames {
    /// The first look is before any round.
    pub(super) fn new(look: (u64, u64)) -> Self {
        Self(VecDeque::from([look]))
    }

    /// Looks between rounds.
    pub(super) fn look(&mut self, look: (u64, u64)) {
        self.0.push_back(look);
    }

    /// Looks again, after rounds that began then and made so many renames: whether the count has grown by as many. It is held against
    /// the last look before they began, which is not always the last one: a round may have been under way while the one before
    /// it was looked at.
    pub(super) fn grew(&mut self, began_ns: u64, times: u64, look: (u64, u64)) -> bool {
        while self.0.get(1).is_some_and(|(at, _)| *at <= began_ns) {
            self.0.pop_front();
        }
        let before = self.0.front().map_or(0, |(_, count)| *count);
        self.0.push_back(look);
        look.1.wrapping_sub(before) >= times
    }
}

#[cfg(test)]
mod tests {
    use super::Renames;

    #[test]
    fn a_round_is_held_against_the_last_look_before_it() {
        let mut renames = Renames::new((0, 7));
        assert!(renames.grew(10, 1, (20, 8)));
        // This round began at 30, and its rename was done at the look of 40, which was for the round before.
        assert!(renames.grew(22, 1, (40, 10)));
        assert!(renames.grew(30, 1, (50, 10)));
        assert!(!renames.grew(60, 1, (70, 10)), "muted since");
        assert!(!renames.grew(80, 2, (90, 11)));
        // Somebody else's renames came before it was muted.
        renames.look((100, 20));
        assert!(!renames.grew(110, 1, (120, 20)));
        assert!(renames.0.len() <= 3);
    }
}
