//! What finished sessions leave on this host: bounded, the oldest goes first. What was not delivered is in the spool all the same.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    pub(crate) bytes_max: u64,
    pub(crate) age_max: Duration,
}

/// A finished session's files.
struct Kept {
    made: SystemTime,
    bytes: u64,
    statement: PathBuf,
    evidence: PathBuf,
}

const STATEMENT: &str = ".intoto.jsonl";

/// Removes what is older than it may be, and then the oldest until the rest fits. Only what has a statement is touched: evidence
/// without one is of a session that runs, or of one that is to be recovered. Returns how many were removed.
pub(super) fn sweep(folder: &Path, keep: Keep) -> std::io::Result<u64> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(STATEMENT)) else { continue };
        let evidence = folder.join(format!("{name}.evidence"));
        let Ok(there) = entry.metadata() else { continue };
        let bytes = there.len() + size_of(&evidence);
        all.push(Kept { made: there.modified()?, bytes, evidence, statement: path });
    }
    all.sort_by_key(|kept| kept.made);
    let mut bytes: u64 = all.iter().map(|kept| kept.bytes).sum();
    let mut removed = 0;
    for kept in all {
        let age = kept.made.elapsed().unwrap_or_default();
        if bytes <= keep.bytes_max && age <= keep.age_max {
            break;
        }
        // The evidence first: a statement without it can still be told from a session that died.
        let _ = fs::remove_dir_all(&kept.evidence);
        fs::remove_file(&kept.statement)?;
        bytes -= kept.bytes;
        removed += 1;
    }
    Ok(removed)
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|there| there.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(folder: &Path, name: &str, bytes: usize, statement: bool) {
        fs::create_dir(folder.join(format!("{name}.evidence"))).unwrap();
        fs::write(folder.join(format!("{name}.evidence/object")), vec![0; bytes]).unwrap();
        if statement {
            fs::write(folder.join(format!("{name}{STATEMENT}")), "x").unwrap();
            // A later one has a later time.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_goes_and_what_has_no_statement_stays() {
        let folder = tempfile::tempdir().unwrap();
        for (name, statement) in [("a", true), ("b", true), ("running", false), ("c", true)] {
            left(folder.path(), name, 1000, statement);
        }
        let keep = Keep { bytes_max: 2002, age_max: Duration::from_secs(3600) };
        assert_eq!(sweep(folder.path(), keep).unwrap(), 1);
        assert_eq!(sweep(folder.path(), keep).unwrap(), 0, "on the limit");
        let left = ["b.evidence", "b.intoto.jsonl", "c.evidence", "c.intoto.jsonl", "running.evidence"];
        assert_eq!(names(folder.path()), left);
    }

    #[test]
    fn what_is_too_old_goes_however_little_it_is() {
        let folder = tempfile::tempdir().unwrap();
        left(folder.path(), "a", 1, true);
        let keep = |age_max| Keep { bytes_max: u64::MAX, age_max };
        assert_eq!(sweep(folder.path(), keep(Duration::from_secs(60))).unwrap(), 0);
        assert_eq!(sweep(folder.path(), keep(Duration::ZERO)).unwrap(), 1);
        assert!(names(folder.path()).is_empty());
    }
}
