//! What one side has alone, by cause.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::acts::Acts;
use super::causes::{Cause, Scene, Side};

/// Acts without a cause that are shown.
const SHOWN_MAX: usize = 20;

/// A row: side, number of the threat, what the cause says, kind of act.
type Row = (Side, Option<u8>, &'static str, &'static str);

/// The comparison.
pub(crate) struct Table {
    /// Acts that the strong path has, and those that both have.
    strong: u64,
    both: u64,
    /// How often, and the first of them.
    rows: BTreeMap<Row, (u64, String)>,
    unexplained: Vec<String>,
}

impl Table {
    pub(crate) fn of(mut strong: Acts, mut weak: Acts, scene: &Scene) -> Self {
        let all = strong.count();
        cancel(&mut strong, &mut weak);
        let mut table =
            Self { strong: all, both: all - strong.count(), rows: BTreeMap::new(), unexplained: Vec::new() };
        table.take(Side::Strong, &strong, scene);
        table.take(Side::Weak, &weak, scene);
        table
    }

    fn take(&mut self, side: Side, acts: &Acts, scene: &Scene) {
        for ((pid, act), times) in &acts.0 {
            let cause = Cause::of(side, scene, *pid, act, *times);
            let says = cause.map_or("NO CAUSE", |cause| cause.says);
            let shown = format!("{pid} {act}");
            if cause.is_none() {
                self.unexplained.push(format!("{side:?} alone: {} x {shown}", times.count));
            }
            let row = (side, cause.and_then(|cause| cause.threat), says, act.kind());
            self.rows.entry(row).or_insert((0, shown)).0 += times.count;
        }
    }

    /// Fails unless each difference has a cause, and each cause a row among the threats.
    pub(crate) fn must_be_explained(&self, threats: &BTreeSet<u8>) {
        assert!(self.both > 0, "the two have nothing in common");
        let some: Vec<&str> = self.unexplained.iter().take(SHOWN_MAX).map(String::as_str).collect();
        assert!(some.is_empty(), "{} acts differ without a cause:\n  {}", self.unexplained.len(), some.join("\n  "));
        for (side, threat, says, _) in self.rows.keys() {
            let cited = threat.map_or(*side == Side::Weak, |threat| threats.contains(&threat));
            assert!(cited, "docs/threats.md has no row {threat:?}: {says}");
        }
    }
}

/// Takes away what both have.
fn cancel(strong: &mut Acts, weak: &mut Acts) {
    for (act, times) in &mut strong.0 {
        if let Some(other) = weak.0.get_mut(act) {
            let both = times.count.min(other.count);
            times.count -= both;
            other.count -= both;
        }
    }
    strong.0.retain(|_, times| times.count > 0);
    weak.0.retain(|_, times| times.count > 0);
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} acts on the strong path, {} of them on the weak", self.strong, self.both)?;
        for ((side, threat, says, kind), (count, first)) in &self.rows {
            let side = match side {
                Side::Strong => "missed",
                Side::Weak => "beside",
            };
            let threat = threat.map_or("-".to_owned(), |threat| threat.to_string());
            writeln!(f, "  {side} {count:>5} {kind:<7} threat {threat:>2}: {says}; such as {first}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Acts, Scene, Table};
    use crate::acts::{Act, EXEC, READ};

    fn open(path: &str, access: u32) -> Act {
        Act::Open { path: path.into(), inode: (1, 2), mode: 0o100_644, access, version: None }
    }

    fn table(strong: &[(Act, u64)], weak: &[(Act, u64)]) -> Table {
        let acts = |list: &[(Act, u64)]| {
            let mut acts = Acts::default();
            // Both have this one, so that they can be compared at all.
            acts.add(7, Act::Exit(0), 1, 100);
            list.iter().for_each(|(act, count)| acts.add(7, act.clone(), *count, 50));
            acts
        };
        let ran = BTreeSet::from([(7, b"/bin/sh".to_vec())]);
        Table::of(acts(strong), acts(weak), &Scene { root: 6, opened_ns: 60, ran, ..Scene::default() })
    }

    fn threats() -> BTreeSet<u8> {
        crate::threats()
    }

    #[test]
    fn the_same_acts_are_no_difference() {
        let both = [(open("/a", READ), 3)];
        let table = table(&both, &both);
        table.must_be_explained(&threats());
        assert!(table.rows.is_empty() && table.both == 4);
    }

    #[test]
    #[should_panic(expected = "1 acts differ without a cause")]
    fn an_open_that_the_weak_path_lacks_fails() {
        table(&[(open("/a", READ), 1)], &[]).must_be_explained(&threats());
    }

    #[test]
    #[should_panic(expected = "Strong alone: 1 x 7 open 1 /a")]
    fn an_open_that_the_weak_path_has_once_less_fails() {
        table(&[(open("/a", READ), 3)], &[(open("/a", READ), 2)]).must_be_explained(&threats());
    }

    #[test]
    #[should_panic(expected = "Weak alone: 1 x 7 open 1 /a")]
    fn an_open_that_only_the_weak_path_has_fails() {
        table(&[], &[(open("/a", READ), 1)]).must_be_explained(&threats());
    }

    #[test]
    fn a_program_s_own_file_is_a_difference_with_its_cause() {
        let table = table(&[(open("/bin/sh", READ | EXEC), 2)], &[]);
        table.must_be_explained(&threats());
        assert_eq!(table.rows.values().map(|row| row.0).collect::<Vec<_>>(), [2]);
    }

    #[test]
    #[should_panic(expected = "Strong alone: 1 x 7 open 5 /lib/ld.so")]
    fn a_loader_that_the_weak_path_lacks_fails() {
        table(&[(open("/lib/ld.so", READ | EXEC), 1)], &[]).must_be_explained(&threats());
    }

    #[test]
    #[should_panic(expected = "docs/threats.md has no row Some(36)")]
    fn a_cause_without_its_row_among_the_threats_fails() {
        let threats = threats().into_iter().filter(|threat| *threat != 36).collect();
        table(&[(open("/bin/sh", READ | EXEC), 1)], &[]).must_be_explained(&threats);
    }

    #[test]
    #[should_panic(expected = "nothing in common")]
    fn two_that_share_nothing_fail() {
        let scene = Scene::default();
        Table::of(Acts::default(), Acts::default(), &scene).must_be_explained(&threats());
    }

    #[test]
    fn the_threats_are_numbered_without_a_gap() {
        let numbers: Vec<u8> = threats().into_iter().collect();
        assert!(numbers.iter().copied().eq(1..=38), "{numbers:?}");
    }
}
