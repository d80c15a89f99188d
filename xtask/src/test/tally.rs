//! The count of what ran, from the lines that test harnesses close with.

use std::fmt;

/// Results of all parts together.
#[derive(Default)]
pub(super) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    failed_parts: Vec<String>,
}

impl Tally {
    /// Counts a harness's closing line; other lines say nothing.
    pub(super) fn read(&mut self, line: &str) {
        let Some(result) = line.trim().strip_prefix("test result: ") else { return };
        let count = |what: &str| {
            let fields = result.split([';', '.']).map(str::trim);
            fields.filter_map(|field| field.strip_suffix(what)?.trim().parse::<u64>().ok()).sum::<u64>()
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.skipped += count("ignored");
    }

    /// Counts one test that is none of a harness's.
    pub(super) fn count(&mut self, holds: bool) {
        *(if holds { &mut self.passed } else { &mut self.failed }) += 1;
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// Notes a part that failed. One that failed without a failed test of its own counts as one.
    pub(super) fn part_failed(&mut self, name: &str, failed_before: u64) {
        self.failed += u64::from(self.failed == failed_before);
        self.failed_parts.push(name.to_owned());
    }

    /// Adds what was counted apart, of a part that ran beside others.
    pub(super) fn absorb(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failed_parts.extend(other.failed_parts);
    }

    pub(super) fn failed_parts(&self) -> &[String] {
        &self.failed_parts
    }

    /// Nothing failed, and something ran.
    pub(super) fn is_good(&self) -> bool {
        self.failed == 0 && self.failed_parts.is_empty() && self.passed > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn closing_lines_are_summed_and_others_are_not() {
        let tally = tally(&[
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.16s",
            "test a_test_result: ok. 9 passed ... ok",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.16s",
        ]);
        assert_eq!(tally.to_string(), "5 passed, 1 failed, 1 skipped");
        assert!(!tally.is_good());
    }

    #[test]
    fn what_no_harness_counts_is_counted_by_itself() {
        let mut tally = tally(&["test result: ok. 3 passed; 0 failed; 0 ignored"]);
        tally.count(true);
        assert!(tally.is_good());
        tally.count(false);
        assert_eq!(tally.to_string(), "4 passed, 1 failed");
        assert!(!tally.is_good());
    }

    #[test]
    fn a_part_that_broke_without_a_failed_test_counts_as_one() {
        let mut tally = tally(&["test result: ok. 3 passed; 0 failed; 0 ignored"]);
        tally.part_failed("guest", 0);
        assert_eq!(tally.to_string(), "3 passed, 1 failed");
    }

    #[test]
    fn a_part_with_failed_tests_counts_them_once() {
        let mut tally = tally(&["test result: FAILED. 0 passed; 2 failed; 0 ignored"]);
        tally.part_failed("guest", 0);
        assert_eq!(tally.to_string(), "0 passed, 2 failed");
        assert!(!tally.is_good());
    }

    #[test]
    fn a_part_counted_apart_is_part_of_the_whole() {
        let mut whole = tally(&["test result: FAILED. 3 passed; 1 failed; 2 ignored"]);
        let mut guest = tally(&["test result: ok. 4 passed; 0 failed; 0 ignored"]);
        guest.part_failed("guest", 0);
        whole.absorb(guest);
        assert_eq!(whole.to_string(), "7 passed, 2 failed, 2 skipped");
        assert_eq!(whole.failed_parts(), ["guest"]);
    }

    #[test]
    fn no_test_at_all_is_not_good() {
        assert!(!Tally::default().is_good());
    }
}
