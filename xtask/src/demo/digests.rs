//! What the digests of a statement are worth: of the distinct versions of files that were read, how many, and how many
//! bytes, have a digest that may be relied on or are explained by what wrote them; the rest by its reason.

use std::collections::BTreeMap;
use std::fmt;

use super::statement::{FileEntry, Statement};

/// Classes from the best to the worst. A version that has several, by different accesses, counts as the worst of them.
const CLASSES: [&str; 5] = ["kernel", "stable", "ephemeral", "raced", "absent"];
/// Reasons of what has no content: folders, devices and pipes, and files that the kernel makes up as they are read.
const WITHOUT_CONTENT: [&str; 2] = ["NOT_REGULAR", "PSEUDO_FILE"];

#[derive(Clone, Copy, Default)]
struct Sum {
    versions: u64,
    bytes: u64,
}

/// Sums by class and by reason.
#[derive(Default)]
pub(super) struct Shares {
    classes: [Sum; CLASSES.len()],
    reasons: BTreeMap<String, Sum>,
    without_content: BTreeMap<String, Sum>,
}

impl Shares {
    pub(super) fn of(statement: &Statement) -> Self {
        let mut worst: BTreeMap<([&str; 3], u64), (usize, FileEntry<'_>)> = BTreeMap::new();
        for file in statement.files().filter(|file| file.read || file.executed) {
            let class = CLASSES.iter().position(|class| *class == file.class).unwrap_or(CLASSES.len() - 1);
            let known = worst.entry((file.version, file.size_bytes));
            let known = known.or_insert_with(|| (class, FileEntry { ..file }));
            if class > known.0 {
                *known = (class, file);
            }
        }
        let mut shares = Shares::default();
        worst.into_values().for_each(|(class, file)| shares.add(class, &file));
        shares
    }

    fn add(&mut self, class: usize, file: &FileEntry<'_>) {
        if WITHOUT_CONTENT.contains(&file.reason) {
            self.without_content.entry(file.reason.to_owned()).or_default().add(file.size_bytes);
            return;
        }
        self.classes[class].add(file.size_bytes);
        if !relied_on(class) {
            let reason = format!("{} {}", CLASSES[class], file.reason);
            self.reasons.entry(reason).or_default().add(file.size_bytes);
        }
    }

    fn sum(&self, wanted: impl Fn(usize) -> bool) -> Sum {
        let classes = self.classes.iter().enumerate().filter(|(class, _)| wanted(*class));
        classes.fold(Sum::default(), |sum, (_, class)| Sum {
            versions: sum.versions + class.versions,
            bytes: sum.bytes + class.bytes,
        })
    }
}

/// Whether a class claims a digest that may be relied on, or needs none.
fn relied_on(class: usize) -> bool {
    class <= 2
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.versions += 1;
        self.bytes += bytes;
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.sum(|_| true);
        writeln!(f, "  {:<32} {:>9} {:>8} {:>11} {:>8}", "distinct versions of files read", "versions", "", "MB", "")?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, sum: Sum| {
            let (count, bytes) = (percent(sum.versions, all.versions), percent(sum.bytes, all.bytes));
            writeln!(f, "  {name:<32} {:>9} {count:>8} {:>11.1} {bytes:>8}", sum.versions, megabytes(sum.bytes))
        };
        row(f, "with content", all)?;
        for (class, sum) in self.classes.iter().enumerate().filter(|(class, _)| relied_on(*class)) {
            row(f, CLASSES[class], *sum)?;
        }
        row(f, "stable or ephemeral", self.sum(relied_on))?;
        row(f, "the rest, by its reason", self.sum(|class| !relied_on(class)))?;
        self.reasons.iter().try_for_each(|(reason, sum)| row(f, &format!("  {reason}"), *sum))?;
        for (reason, sum) in &self.without_content {
            writeln!(f, "  {:<32} {:>9}", format!("no content: {reason}"), sum.versions)?;
        }
        Ok(())
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Rounded down: a share that is not reached is not shown as reached.
fn percent(part: u64, whole: u64) -> String {
    match (part * 1000).checked_div(whole) {
        Some(permille) => format!("{}.{} %", permille / 10, permille % 10),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::statement::Statement;
    use super::{Shares, percent};

    fn shares(files: &[Value]) -> Shares {
        Shares::of(&Statement::of(json!({"predicate": {"monitorLog": {"fileAccess": files}}})))
    }

    fn file(ino: &str, class: &str, reason: &str, access: &str) -> Value {
        let annotations = json!({"class": class, "reason": reason, "access": access, "size": 10, "ino": ino});
        json!({"name": "/a", "annotations": annotations})
    }

    #[test]
    fn a_version_with_two_classes_counts_once_as_the_worse() {
        let entries = [file("1", "raced", "MODIFIED", "read"), file("1", "stable", "", "read+write")];
        let shares = shares(&entries);
        assert_eq!(shares.sum(|_| true).versions, 1);
        assert_eq!(shares.reasons["raced MODIFIED"].bytes, 10);
    }

    #[test]
    fn what_was_only_written_was_not_read() {
        assert_eq!(shares(&[file("1", "stable", "", "write")]).sum(|_| true).versions, 0);
    }

    #[test]
    fn a_folder_has_no_content_to_digest() {
        let shares = shares(&[file("1", "absent", "NOT_REGULAR", "read"), file("2", "ephemeral", "GONE", "exec")]);
        assert_eq!(shares.sum(|_| true).versions, 1);
        assert_eq!(shares.without_content["NOT_REGULAR"].versions, 1);
    }

    #[test]
    fn a_share_is_rounded_down() {
        assert_eq!(percent(9899, 10_000), "98.9 %");
        assert_eq!(percent(0, 0), "-");
    }
}
