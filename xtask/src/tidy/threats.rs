//! docs/threats.md claims nothing that no test has shown: it is as made of its parts, every way has a test and a twin, and each test
//! that is named is there.

use std::collections::BTreeSet;

use super::{Fault, File};
use crate::threats::{self, DOCUMENT, Path, ROWS, Row, SHOWN, Shown};

/// Rows that may be stated only, on the strong path and on the weak.
const STATED_ONLY_MAX: [(Path, usize); 2] = [(Path::Strong, 6), (Path::Weak, 12)];
/// Ways that every program goes, or every signer: there is no twin that does not.
const WITHOUT_TWIN: [u32; 2] = [20, 31];

/// What of the document and its parts does not fit.
pub(super) fn check(files: &[File]) -> Vec<Fault> {
    let [document, by_hand, findings] = [DOCUMENT, ROWS, SHOWN].map(|path| text(files, path));
    let (rows, shown) = match (threats::rows(by_hand), threats::shown(findings)) {
        (Ok(rows), Ok(shown)) => (rows, shown),
        (Err(fault), _) => return vec![Fault::new(ROWS, 1, format!("{fault:#}"))],
        (_, Err(fault)) => return vec![Fault::new(SHOWN, 1, format!("{fault:#}"))],
    };
    let mut faults = Vec::new();
    if document != threats::document(&rows, &shown) {
        faults.push(Fault::new(DOCUMENT, 1, "is not what its parts give: run `cargo xtask threats`"));
    }
    faults.extend(untested(&rows, &shown));
    faults.extend(without_twin(files, &shown));
    faults.extend(not_there(files, &shown));
    faults.extend(overstated(&rows, &shown));
    faults
}

fn text<'a>(files: &'a [File], path: &str) -> &'a str {
    files.iter().find(|file| file.path == path).map_or("", |file| &file.text)
}

fn source<'a>(files: &'a [File], module: &str) -> &'a str {
    text(files, &format!("tests/tests/threats/{module}.rs"))
}

fn untested(rows: &[Row], shown: &[Shown<'_>]) -> Vec<Fault> {
    let tested: BTreeSet<u32> = shown.iter().map(|shown| shown.row).collect();
    let known: BTreeSet<u32> = rows.iter().map(|row| row.number).collect();
    let differ = tested.symmetric_difference(&known);
    differ.map(|row| Fault::new(ROWS, 1, format!("row {row} has no test, or a test has no row {row}"))).collect()
}

fn without_twin(files: &[File], shown: &[Shown<'_>]) -> Vec<Fault> {
    let modules: BTreeSet<(u32, &str)> = shown.iter().map(|shown| (shown.row, shown.module)).collect();
    let lacks = |(row, module): &(u32, &str)| {
        !WITHOUT_TWIN.contains(row) && !is_test(source(files, module), |name| name.starts_with("twin"))
    };
    modules
        .into_iter()
        .filter(lacks)
        .map(|(_, module)| Fault::new(SHOWN, 1, format!("{module} has no twin, which does the same and hides nothing")))
        .collect()
}

fn not_there(files: &[File], shown: &[Shown<'_>]) -> Vec<Fault> {
    let tests: BTreeSet<(&str, &str)> = shown.iter().map(|shown| (shown.module, shown.function)).collect();
    let absent = |(module, function): &(&str, &str)| !is_test(source(files, module), |name| name == *function);
    tests
        .into_iter()
        .filter(absent)
        .map(|(module, function)| Fault::new(SHOWN, 1, format!("the test {module}::{function} is not there")))
        .collect()
}

fn overstated(rows: &[Row], shown: &[Shown<'_>]) -> Vec<Fault> {
    let over = STATED_ONLY_MAX.into_iter().filter_map(|(path, most)| {
        let stated = rows.iter().filter(|row| threats::claim(row, shown, path) == "stated").count();
        (stated > most).then(|| format!("{stated} rows are stated only on the {path:?} path, more than {most}"))
    });
    over.map(|what| Fault::new(DOCUMENT, 1, what)).collect()
}

/// Whether a source has a test of such a name.
fn is_test(source: &str, fits: impl Fn(&str) -> bool) -> bool {
    let mut marked = false;
    source.lines().map(str::trim).any(|line| {
        let name = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next());
        let found = marked && name.is_some_and(&fits);
        marked = line == "#[test]";
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "[[row]]\nnumber = 3\nway = 'ring'\nhow = 'How.'\nroot = 'Nothing more.'\n";
    const SOURCE: &str = "#[test]\nfn ring() {}\n\nfn helper() {}\n\n#[test]\nfn twin() {}\n";

    fn faults(rows: &str, shown: &str, source: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let document = match (threats::rows(rows), threats::shown(shown)) {
            (Ok(rows), Ok(shown)) => threats::document(&rows, &shown),
            _ => String::new(),
        };
        let files = [
            file(DOCUMENT, &document),
            file(ROWS, rows),
            file(SHOWN, shown),
            file("tests/tests/threats/t03_ring.rs", source),
        ];
        check(&files).into_iter().map(|fault| fault.what).collect()
    }

    #[test]
    fn a_row_with_its_test_and_twin_has_no_fault() {
        assert_eq!(faults(ROW, "3 t03_ring::ring weak seen open it\n", SOURCE), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_is_a_fault() {
        let line = "3 t03_ring::ring weak seen open it\n";
        assert_eq!(faults(ROW, "", SOURCE).len(), 1, "no test");
        assert_eq!(faults(ROW, &line.replace("::ring", "::helper"), SOURCE).len(), 1, "no such test");
        assert_eq!(faults(ROW, line, "#[test]\nfn ring() {}\n").len(), 1, "no twin");
        assert_eq!(faults(ROW, &format!("{line}4 t03_ring::ring weak seen open it\n"), SOURCE).len(), 1, "no row");
        assert_eq!(faults(ROW, "3 t03_ring::ring weak sworn it\n", SOURCE).len(), 1, "no finding");
    }

    #[test]
    fn a_document_of_another_time_is_a_fault() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file(DOCUMENT, "| 3 | ring | seen | seen |"),
            file(ROWS, ROW),
            file(SHOWN, "3 t03_ring::ring weak seen open it\n"),
            file("tests/tests/threats/t03_ring.rs", SOURCE),
        ];
        let faults = check(&files);
        assert!(faults.len() == 1 && faults[0].path == DOCUMENT);
    }

    #[test]
    fn too_many_rows_that_are_stated_only() {
        let numbers = [3, 13, 23, 33, 43, 53, 63];
        let rows: String = numbers.iter().map(|row| ROW.replace("= 3", &format!("= {row}"))).collect();
        let shown: String = numbers.iter().map(|row| format!("{row} t03_ring::ring any stated IT\n")).collect();
        assert_eq!(faults(&rows, &shown, SOURCE).len(), 1);
    }
}
