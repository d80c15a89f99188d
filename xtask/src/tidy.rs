//! What a machine can check of the way this repository is built: one function a rule, each giving the faults it found.

mod paths;
mod purity;
mod rooms;
mod source;
mod threats;

use std::fmt;
use std::process::Command;

use anyhow::Result;

use crate::{command, place};

/// From this many lines on, a file is named as one to cut.
const FILE_LINES_MAX: usize = 500;

/// A file that git tracks.
pub(crate) struct File {
    /// From the workspace's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A rule that a file breaks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    path: String,
    line: usize,
    what: String,
}

impl Fault {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Fault { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// What the rules found: faults fail, warnings are shown.
pub(crate) struct Report {
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Fault>,
}

/// Checks every file that git tracks, and the dependencies of the pure crates.
pub(crate) fn check() -> Result<Report> {
    let files = tracked()?;
    let mut faults = Vec::new();
    for file in &files {
        faults.extend(purpose(file));
        faults.extend(name(file));
        faults.extend(confined_words(file));
        faults.extend(rooms::check(file));
        faults.extend(purity::names(file));
    }
    faults.extend(purity::dependencies()?);
    faults.extend(threats::check(&files));
    Ok(Report { faults, warnings: files.iter().filter_map(length).collect() })
}

/// Text files below version control, as they are in the work tree.
fn tracked() -> Result<Vec<File>> {
    let listed = command::read(Command::new("git").current_dir(place::root()).args(["ls-files", "-z"]))?;
    let read = |path: &str| {
        // A file removed but not yet committed, or one that is no text, has no rule to break.
        let text = std::fs::read_to_string(place::root().join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    Ok(listed.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect())
}

/// A source opens with what it is for.
fn purpose(file: &File) -> Option<Fault> {
    let mut lines = file.text.lines();
    let first = lines.next().unwrap_or_default();
    if first.contains("@generated") {
        return None;
    }
    let script = |line: &str| line.starts_with("# ") || line.starts_with("\"\"\"");
    let holds = match file.path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("rs") => first.starts_with("//! "),
        _ if first.starts_with("#!") => script(lines.next().unwrap_or_default()),
        Some("py" | "sh") => script(first),
        _ => true,
    };
    (!holds).then(|| Fault::new(&file.path, 1, "does not open with a line that says what it is for"))
}

/// A room is named for what it holds.
fn name(file: &File) -> Option<Fault> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let vague = ["utils.rs", "util.rs", "helpers.rs", "misc.rs"].contains(&name);
    vague.then(|| Fault::new(&file.path, 1, "a name that says nothing: call it for the noun it is about"))
}

/// Words that only some folders may use: the unsafe keyword, and the crate that speaks to the kernel.
fn confined_words(file: &File) -> Vec<Fault> {
    const CONFINED: [(&str, &[&str]); 2] =
        [("unsafe", &["agent/src/probe", "agent-ebpf/"]), ("aya", &["agent/src/probe", "agent-ebpf/"])];
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let code = source::code(&file.text);
    let outside = |folders: &[&str]| !folders.iter().any(|folder| file.path.starts_with(folder));
    let find = |(word, folders): &(&str, &[&str])| {
        let line = source::line_of_word(&code, word).filter(|_| outside(folders))?;
        Some(Fault::new(&file.path, line, format!("`{word}` outside {}", folders.join(" and "))))
    };
    CONFINED.iter().filter_map(find).collect()
}

/// A long file is one to cut; only a warning, since a table may well be long.
fn length(file: &File) -> Option<Fault> {
    let lines = file.text.lines().count();
    let generated = file.text.lines().next().is_some_and(|first| first.contains("@generated"));
    let long = file.path.ends_with(".rs") && !generated && lines > FILE_LINES_MAX;
    long.then(|| Fault::new(&file.path, lines, format!("longer than {FILE_LINES_MAX} lines")))
}

#[cfg(test)]
mod tests {
    use super::{FILE_LINES_MAX, File, confined_words, length, name, purpose};

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_purpose_in_the_first_line_is_enough() {
        assert_eq!(purpose(&file("a.rs", "//! Why.\n")), None);
        assert_eq!(purpose(&file("a.py", "#!/usr/bin/env python3\n\"\"\"Why.\"\"\"\n")), None);
        assert_eq!(purpose(&file("a.sh", "# Why.\n")), None);
        assert_eq!(purpose(&file(".ci/run", "#!/usr/bin/env bash\n# Why.\n")), None);
    }

    #[test]
    fn a_source_without_purpose_is_refused() {
        assert!(purpose(&file("a.rs", "use std::io;\n")).is_some());
        assert!(purpose(&file("a.rs", "")).is_some());
        assert!(purpose(&file("a.rs", "//!\n")).is_some());
        assert!(purpose(&file("a.rs", "#![no_std]\n//! Why.\n")).is_some());
        assert!(purpose(&file("a.py", "import os\n")).is_some());
        assert!(purpose(&file("run", "#!/bin/sh\nset -e\n")).is_some());
    }

    #[test]
    fn generated_and_other_files_need_no_purpose() {
        assert_eq!(purpose(&file("a.rs", "// This file is @generated by a tool.\n")), None);
        assert_eq!(purpose(&file("a.json", "{}\n")), None);
    }

    #[test]
    fn utils_is_refused_wherever_it_stands() {
        assert!(name(&file("agent/src/utils.rs", "")).is_some());
        assert!(name(&file("agent/src/probe/util.rs", "")).is_some());
        assert_eq!(name(&file("agent/src/futile.rs", "")), None);
    }

    #[test]
    fn unsafe_is_refused_outside_the_probe() {
        let code = "//! x\nfn f() { unsafe { g() } }\n";
        let faults = confined_words(&file("agent/src/session.rs", code));
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [2]);
        assert!(confined_words(&file("agent/src/probe/ring.rs", code)).is_empty());
        assert!(confined_words(&file("agent-ebpf/src/main.rs", code)).is_empty());
    }

    #[test]
    fn unsafe_in_comments_strings_and_lint_names_is_no_code() {
        let text = "//! unsafe\n#![forbid(unsafe_code)]\nconst A: &str = \"unsafe\"; /* unsafe */\n";
        assert!(confined_words(&file("verify/src/main.rs", text)).is_empty());
    }

    #[test]
    fn aya_is_refused_outside_the_probe() {
        assert_eq!(confined_words(&file("agent/src/session.rs", "//! x\nuse aya::Ebpf;\n")).len(), 1);
        assert!(confined_words(&file("agent/src/session.rs", "//! x\nuse ayame::Ebpf;\n")).is_empty());
    }

    #[test]
    fn one_line_over_the_limit_is_long() {
        assert!(length(&file("a.rs", &"x\n".repeat(FILE_LINES_MAX))).is_none());
        assert!(length(&file("a.rs", &"x\n".repeat(FILE_LINES_MAX + 1))).is_some());
    }
}
