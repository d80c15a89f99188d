//! docs/threats.md claims nothing without a test: a row that says seen, stated or part names tests, and each is there.

use super::{Fault, File};

const DOCUMENT: &str = "docs/threats.md";
/// What the two columns of paths may say.
const CLAIMS: [&str; 4] = ["seen", "stated", "part", "open"];
/// Rows that may be stated only, on the strong path and on the weak.
const STATED_ONLY_MAX: [usize; 2] = [6, 12];

/// The rows that claim more than their tests, or name tests that there are not.
pub(super) fn check(files: &[File]) -> Vec<Fault> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        return vec![Fault::new(DOCUMENT, 1, "is not there")];
    };
    let rows = document.text.lines().enumerate().filter_map(|(at, line)| Some((at + 1, row(line)?)));
    let mut faults: Vec<Fault> = rows
        .clone()
        .flat_map(|(at, row)| faults_of(&row, files).into_iter().map(move |what| Fault::new(DOCUMENT, at, what)))
        .collect();
    for (path, most) in STATED_ONLY_MAX.into_iter().enumerate() {
        let stated = rows.clone().filter(|(_, row)| row.claims[path] == "stated").count();
        if stated > most {
            let what = format!("{stated} rows are stated only on path {}, more than {most}", path + 1);
            faults.push(Fault::new(DOCUMENT, 1, what));
        }
    }
    faults
}

struct Row<'a> {
    claims: [&'a str; 2],
    tests: Vec<&'a str>,
}

/// A row of the table: number, way, two claims, tests, how.
fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    cells.get(1)?.parse::<u32>().ok()?;
    let [strong, weak, tests] = [3, 4, 5].map(|at| cells.get(at).copied().unwrap_or_default());
    let tests = tests.split('`').skip(1).step_by(2).collect();
    Some(Row { claims: [strong, weak], tests })
}

fn faults_of(row: &Row<'_>, files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for claim in row.claims.iter().filter(|claim| !CLAIMS.contains(claim)) {
        faults.push(format!("`{claim}` is none of {}", CLAIMS.join(", ")));
    }
    if row.tests.is_empty() && row.claims != ["open", "open"] {
        faults.push("claims something and names no test".to_owned());
    }
    for test in row.tests.iter().filter(|test| !exists(test, files)) {
        faults.push(format!("the test `{test}` is not there"));
    }
    faults
}

/// `SUITE/FILE` has tests, or `PATH::FUNCTION` is one; paths are below `tests/tests`, or the workspace's.
fn exists(test: &str, files: &[File]) -> bool {
    let (path, function) = test.split_once("::").map_or((test, None), |(path, function)| (path, Some(function)));
    let named = [format!("tests/tests/{path}.rs"), format!("{path}.rs")];
    let Some(file) = files.iter().find(|file| named.contains(&file.path)) else { return false };
    let mut marked = false;
    file.text.lines().map(str::trim).any(|line| {
        let is_test = marked && function.is_none_or(|function| line.starts_with(&format!("fn {function}(")));
        marked = line == "#[test]";
        is_test
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(table: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file(DOCUMENT, table),
            file("tests/tests/threats/t03_ring.rs", "#[test]\nfn ring() {}\n\nfn helper() {}\n"),
            file("attestation/src/verify/tests.rs", "    #[test]\n    fn without_a_key() {}\n"),
        ];
        check(&files).into_iter().map(|fault| fault.what).collect()
    }

    #[test]
    fn a_claim_has_its_test_and_what_is_open_needs_none() {
        assert!(faults("| 3 | ring | seen | stated | `threats/t03_ring` | how |").is_empty());
        assert!(faults("| 3 | ring | seen | seen | `threats/t03_ring::ring` | how |").is_empty());
        assert!(faults("| 22 | none | part | part | `attestation/src/verify/tests::without_a_key` | how |").is_empty());
        assert!(faults("| 20 | key | open | open | | |").is_empty());
        assert!(faults("a text").is_empty());
    }

    #[test]
    fn a_claim_without_a_test_or_with_one_that_is_not_there_is_a_fault() {
        assert_eq!(faults("| 3 | ring | seen | open | | how |").len(), 1);
        assert_eq!(faults("| 3 | ring | seen | seen | `threats/t03_ring::helper` | how |").len(), 1);
        assert_eq!(faults("| 3 | ring | seen | seen | `threats/t04_none` | how |").len(), 1);
        assert_eq!(faults("| 3 | ring | seen | surely | `threats/t03_ring` | how |").len(), 1);
    }

    #[test]
    fn too_many_rows_that_are_stated_only() {
        let row = "| 3 | ring | stated | part | `threats/t03_ring` | how |\n";
        assert_eq!(faults(&row.repeat(7)).len(), 1);
        assert!(faults(&row.repeat(6)).is_empty());
    }
}
