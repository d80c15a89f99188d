//! Truncations: an act on content that needs no open. Two of them within a tick, down and up again, change a content under
//! one version, so a version of that time is not taken for the only one of its tick.
//!
//! Most are of a file that the same program has just opened for writing, and that open says enough. So a truncation under
//! the very name of a file that the session wrote is of no concern to other files; under any other name it may have been
//! given through a symbolic link, and concerns all.

use std::collections::{BTreeMap, HashSet};

use super::moves::plain;

/// Seconds that an act and its report may be apart.
const REPORT_S: u64 = 10;
/// Names remembered; with more, every truncation concerns all.
const NAMES_MAX: usize = 16_384;

/// The truncations of a session, by the second.
#[derive(Debug, Default)]
pub(super) struct Truncations {
    by_second: BTreeMap<u64, HashSet<Box<[u8]>>>,
    names: usize,
    /// Names were left out: these seconds concern all.
    unnamed: HashSet<u64>,
}

impl Truncations {
    /// Notes a truncation, by the name as it was given.
    pub(super) fn note(&mut self, path: &[u8], boottime_ns: u64) {
        let second = boottime_ns / 1_000_000_000;
        let names = self.by_second.entry(second).or_default();
        if self.names >= NAMES_MAX {
            self.unnamed.insert(second);
        } else if names.insert(plain(path).into()) {
            self.names += 1;
        }
    }

    /// Every name truncated.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.by_second.values().flatten().map(|name| &**name)
    }

    /// Whether a truncation around a second of CLOCK_BOOTTIME may have been of a file with these names. `written` are
    /// the truncated names that are of files that the session wrote.
    pub(super) fn concern(&self, second: u64, names: &[Vec<u8>], written: &HashSet<Vec<u8>>) -> bool {
        let around = self.by_second.range(second.saturating_sub(REPORT_S)..=second.saturating_add(REPORT_S));
        let mut around = around.flat_map(|(second, truncated)| truncated.iter().map(move |name| (second, name)));
        around.any(|(second, truncated)| {
            let own = names.iter().any(|name| **name == **truncated);
            own || self.unnamed.contains(second) || !written.contains(&**truncated)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concern(at_s: u64, names: &[&str], written: &[&str]) -> bool {
        let mut truncations = Truncations::default();
        truncations.note(b"/w/d/../out", 100_500_000_000);
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        truncations.concern(at_s, &names, &written.iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    #[test]
    fn a_truncation_under_a_files_own_name_concerns_it_for_ten_seconds() {
        for (second, concerns) in [(89, false), (90, true), (110, true), (111, false)] {
            assert_eq!(concern(second, &["/w/out"], &["/w/out"]), concerns, "{second}");
        }
    }

    #[test]
    fn under_the_name_of_another_written_file_it_does_not() {
        assert!(!concern(100, &["/w/other"], &["/w/out"]));
    }

    #[test]
    fn under_a_name_nobody_wrote_it_concerns_all() {
        assert!(concern(100, &["/w/other"], &[]));
        assert!(concern(100, &["/w/other"], &["/w/else"]));
    }

    #[test]
    fn one_name_over_the_limit_concerns_all() {
        let mut truncations = Truncations::default();
        let written: HashSet<Vec<u8>> = (0..=NAMES_MAX).map(|n| format!("/{n}").into_bytes()).collect();
        for name in written.iter().take(NAMES_MAX) {
            truncations.note(name, 100_000_000_000);
        }
        assert!(!truncations.concern(100, &[], &written));
        truncations.note(b"/one/more", 100_000_000_000);
        assert!(truncations.concern(100, &[], &written));
    }
}
