//! Truncations: an act on content that needs no open. Two of them within a tick, down and up again, change a content under
//! one version, so a version of that time is not taken for the only one of its tick.
//!
//! Most are of a file that the same program has just opened for writing, and that open says enough. So a truncation under
//! the very name of a file that the session wrote is of no concern to other files; under any other name it may have been
//! given through a symbolic link, and concerns all.
//!
//! One that was reported before an access is part of what was accessed: while it is at work the kernel counts it as a
//! writer, and the access would have been a busy one.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::moves::plain;

/// Seconds that an act and its report may be apart.
const REPORT_S: u64 = 10;
const SECOND_NS: u64 = 1_000_000_000;
/// Names remembered; with more, every truncation concerns all.
const NAMES_MAX: usize = 16_384;

/// The truncations of a session, by the second.
#[derive(Debug, Default)]
pub(super) struct Truncations {
    /// Each name with its last truncation in that second, CLOCK_BOOTTIME in nanoseconds.
    by_second: BTreeMap<u64, HashMap<Box<[u8]>, u64>>,
    names: usize,
    /// The last truncation whose name was left out, or is not known.
    unnamed_ns: Option<u64>,
}

impl Truncations {
    /// Notes a truncation, by the name as it was given.
    pub(super) fn note(&mut self, path: &[u8], boottime_ns: u64) {
        let names = self.by_second.entry(boottime_ns / SECOND_NS).or_default();
        let name = plain(path);
        if let Some(last) = names.get_mut(&*name) {
            *last = boottime_ns.max(*last);
        } else if self.names < NAMES_MAX {
            names.insert(name.into(), boottime_ns);
            self.names += 1;
        } else {
            self.note_unnamed(boottime_ns);
        }
    }

    /// Notes one by no name that is known.
    pub(super) fn note_unnamed(&mut self, boottime_ns: u64) {
        self.unnamed_ns = self.unnamed_ns.max(Some(boottime_ns));
    }

    /// Every name truncated.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.by_second.values().flatten().map(|(name, _)| &**name)
    }

    /// Whether a truncation since an access, up to some seconds after the version's time, may have been of a file with
    /// these names. `written` are the truncated names that are of files that the session wrote.
    pub(super) fn concern(
        &self,
        accessed_ns: u64,
        version_ns: u64,
        names: &[Vec<u8>],
        written: &HashSet<Vec<u8>>,
    ) -> bool {
        if self.unnamed_ns.is_some_and(|last| last >= accessed_ns) {
            return true;
        }
        let (first, last) = (accessed_ns / SECOND_NS, version_ns / SECOND_NS + REPORT_S);
        let since = if first <= last { self.by_second.range(first..=last) } else { return false };
        let mut since = since.flat_map(|(_, truncated)| truncated).filter(|(_, at_ns)| **at_ns >= accessed_ns);
        since.any(|(truncated, _)| {
            let own = names.iter().any(|name| **name == **truncated);
            own || !written.contains(&**truncated)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an access and a version of the same moment.
    fn concern(at_ns: u64, names: &[&str], written: &[&str]) -> bool {
        let mut truncations = Truncations::default();
        truncations.note(b"/w/d/../out", 100_500_000_000);
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let written = written.iter().map(|name| name.as_bytes().to_vec()).collect();
        truncations.concern(at_ns, at_ns, &names, &written)
    }

    #[test]
    fn a_truncation_since_the_access_concerns_it_for_ten_seconds() {
        for (at_ns, concerns) in
            [(89_999_999_999, false), (90_000_000_000, true), (100_500_000_000, true), (100_500_000_001, false)]
        {
            assert_eq!(concern(at_ns, &["/w/out"], &["/w/out"]), concerns, "{at_ns}");
        }
    }

    #[test]
    fn under_the_name_of_another_written_file_it_does_not() {
        assert!(!concern(100_000_000_000, &["/w/other"], &["/w/out"]));
    }

    #[test]
    fn under_a_name_nobody_wrote_it_concerns_all() {
        assert!(concern(100_000_000_000, &["/w/other"], &[]));
        assert!(concern(100_000_000_000, &["/w/other"], &["/w/else"]));
    }

    #[test]
    fn the_last_of_many_in_a_second_counts() {
        let mut truncations = Truncations::default();
        for at_ns in [100_900_000_000, 100_100_000_000] {
            truncations.note(b"/out", at_ns);
        }
        assert!(truncations.concern(100_500_000_000, 100_500_000_000, &[b"/out".to_vec()], &HashSet::new()));
    }

    #[test]
    fn one_name_over_the_limit_concerns_all() {
        let mut truncations = Truncations::default();
        let written: HashSet<Vec<u8>> = (0..=NAMES_MAX).map(|n| format!("/{n}").into_bytes()).collect();
        for name in written.iter().take(NAMES_MAX) {
            truncations.note(name, 100_000_000_000);
        }
        let concern = |truncations: &Truncations| truncations.concern(100_000_000_000, 100_000_000_000, &[], &written);
        assert!(!concern(&truncations));
        truncations.note(b"/one/more", 100_000_000_000);
        assert!(concern(&truncations));
    }
}
