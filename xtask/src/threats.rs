//! `threats`: docs/threats.md, made of what is written by hand of each row and of what the tests of it have shown.

mod document;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{place, test};

pub(crate) const DOCUMENT: &str = "docs/threats.md";
pub(crate) const ROWS: &str = "tests/threats/rows.toml";
pub(crate) const SHOWN: &str = "tests/threats/shown.txt";
/// The oldest kernel that is tested, whose strong path has everything.
const STRONG_KERNEL: &str = "6.1";

/// What is written by hand of a row.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) number: u32,
    way: String,
    how: String,
    root: String,
    #[serde(default)]
    open: Vec<String>,
    #[serde(default)]
    open_strong: Vec<String>,
    #[serde(default)]
    open_weak: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    row: Vec<Row>,
}

/// One of the two ways to observe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Strong,
    Weak,
}

/// What a test has shown: a line of [`SHOWN`], as `tests/src/shown.rs` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown<'a> {
    pub(crate) row: u32,
    pub(crate) module: &'a str,
    pub(crate) function: &'a str,
    /// `None` where there is no session, or no difference.
    path: Option<Path>,
    verdict: Verdict,
    what: &'a str,
}

/// What is known of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Seen,
    Stated,
    Held,
}

impl<'a> Shown<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        let mut next = || words.next();
        let (row, test, path, verdict, what) = (next()?, next()?, next()?, next()?, next()?);
        let (module, function) = test.split_once("::")?;
        let path = match path {
            "strong" => Some(Path::Strong),
            "weak" => Some(Path::Weak),
            "any" => None,
            _ => return None,
        };
        let verdict = match verdict {
            "seen" => Verdict::Seen,
            "stated" => Verdict::Stated,
            "held" => Verdict::Held,
            _ => return None,
        };
        Some(Self { row: row.parse().ok()?, module, function, path, verdict, what })
    }

    fn holds_on(&self, path: Path) -> bool {
        self.path.is_none_or(|of| of == path)
    }
}

/// Every line, or the first that is none.
pub(crate) fn shown(text: &str) -> Result<Vec<Shown<'_>>> {
    text.lines().map(|line| Shown::parse(line).with_context(|| format!("{SHOWN}: no finding: {line}"))).collect()
}

/// The rows by hand, in the order of their numbers.
pub(crate) fn rows(text: &str) -> Result<Vec<Row>> {
    let Rows { row: rows } = toml::from_str(text).with_context(|| format!("{ROWS} cannot be read"))?;
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].number >= pair[1].number) {
        bail!("{ROWS}: row {} does not follow row {}", pair[1].number, pair[0].number);
    }
    Ok(rows)
}

pub(crate) use document::{claim, document};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run nothing: make the document anew of what was shown before, when only words have changed
    #[arg(long)]
    words: bool,
}

/// Runs the tests of every row on both paths, and writes what they have shown and the document.
pub(crate) fn run(args: &Args) -> Result<()> {
    let lines = if args.words { recorded()? } else { test::shown(STRONG_KERNEL)? };
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let by_hand = std::fs::read_to_string(place::root().join(ROWS)).with_context(|| ROWS)?;
    let document = document(&rows(&by_hand)?, &shown(&text)?);
    std::fs::write(place::root().join(SHOWN), &text).with_context(|| SHOWN)?;
    std::fs::write(place::root().join(DOCUMENT), document).with_context(|| DOCUMENT)?;
    println!("{SHOWN} and {DOCUMENT} written, of {} findings", lines.len());
    Ok(())
}

/// Lines in the order of rows, tests and what they say, each once.
pub(crate) fn sorted(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let lines: BTreeSet<String> = lines.into_iter().collect();
    let mut lines: Vec<String> = lines.into_iter().collect();
    lines.sort_by_key(|line| line.split(' ').next().and_then(|row| row.parse::<u32>().ok()));
    lines
}

/// Whether what all the tests have shown on a path is what the document was made of, no more and no less.
pub(crate) fn compare(lines: &[String], path: Path) -> Result<()> {
    let recorded = recorded()?;
    let of_path = |line: &&String| Shown::parse(line).is_some_and(|shown| shown.holds_on(path));
    let known: BTreeSet<&String> = recorded.iter().filter(of_path).collect();
    let found: BTreeSet<&String> = lines.iter().filter(of_path).collect();
    let differ: Vec<&str> = known.symmetric_difference(&found).map(|line| line.as_str()).collect();
    complain(&differ)
}

fn complain(lines: &[&str]) -> Result<()> {
    if let Some(first) = lines.first() {
        bail!(
            "{} findings are not both shown and in {SHOWN}, the first: {first}; `cargo xtask threats` writes them anew",
            lines.len()
        );
    }
    Ok(())
}

fn recorded() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(place::root().join(SHOWN)).with_context(|| SHOWN)?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_finding_or_none() {
        let line = "3 t03_io_uring::a weak stated IO_URING_USED";
        let shown = Shown::parse(line).expect("a finding");
        assert_eq!((shown.row, shown.module, shown.function), (3, "t03_io_uring", "a"));
        assert!(shown.holds_on(Path::Weak) && !shown.holds_on(Path::Strong));
        assert!(
            Shown::parse("3 t19_chain::a any held a fork is refused").is_some_and(|any| any.holds_on(Path::Strong))
        );
        for bad in ["", "3", "x t::a weak seen it", "3 t weak seen it", "3 t::a both seen it", "3 t::a weak sworn it"] {
            assert!(Shown::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn lines_are_in_the_order_of_their_rows() {
        let lines = ["10 b", "2 b", "2 a", "2 b"].map(str::to_owned);
        assert_eq!(sorted(lines), ["2 a", "2 b", "10 b"]);
    }

    #[test]
    fn rows_are_in_order_and_have_what_they_need() {
        let row = |number: u32| format!("[[row]]\nnumber = {number}\nway = 'w'\nhow = 'h'\nroot = 'r'\n");
        assert!(rows(&format!("{}{}", row(1), row(2))).is_ok());
        assert!(rows(&format!("{}{}", row(2), row(1))).is_err());
        assert!(rows("[[row]]\nnumber = 1\n").is_err());
        assert!(rows(&format!("{}opne = []\n", row(1))).is_err());
    }
}
