//! What is wrong with a configuration, and where.

use std::{error, fmt};

use crate::Validate;

/// Characters of a path or of a sentence at most: both may repeat what the file has.
const SHOWN_CHARS_MAX: usize = 400;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands, counted from 1; that of what it belongs into where it is missing; none for the whole file.
    pub line: Option<u32>,
    /// Which value, as `ship.retry` or `rules[2].name`; empty for the whole file.
    pub path: String,
    /// What is wrong with it.
    pub says: String,
}

impl Fault {
    /// A fault of a value. Its line is found by its path.
    pub fn new(path: impl Into<String>, says: impl Into<String>) -> Self {
        Self { line: None, path: path.into(), says: says.into() }
    }
}

/// Adds the faults of a part that stands under this key.
pub fn within(key: &str, part: &impl Validate, faults: &mut Vec<Fault>) {
    below(&written(key), part, faults);
}

/// Adds the faults of the parts of an array that stands under this key.
pub fn each<T: Validate>(key: &str, parts: &[T], faults: &mut Vec<Fault>) {
    let key = written(key);
    for (index, part) in parts.iter().enumerate() {
        below(&format!("{key}[{index}]"), part, faults);
    }
}

fn below(path: &str, part: &impl Validate, faults: &mut Vec<Fault>) {
    let first = faults.len();
    part.faults(faults);
    for fault in faults.iter_mut().skip(first) {
        fault.path = join(path, &fault.path);
    }
}

/// A path and what follows on it.
pub(crate) fn join(path: &str, rest: &str) -> String {
    let dot = if path.is_empty() || rest.is_empty() || rest.starts_with('[') { "" } else { "." };
    format!("{path}{dot}{rest}")
}

/// A key as it stands in a path: in quotes where it would be read as something else.
pub(crate) fn written(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { format!("{key:?}") }
}

/// What follows on `prefix` in `path`, if that is on the way.
pub(crate) fn after<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (prefix.is_empty() || rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// Why a file gives no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub file: String,
    /// What is wrong with it, by line; at most [`crate::FAULTS_MAX`].
    pub faults: Vec<Fault>,
    /// Whether there may be more than those.
    pub more: bool,
}

impl Refused {
    /// One fault, of the whole file.
    pub(crate) fn whole(file: &str, says: impl Into<String>) -> Self {
        Self { file: file.to_owned(), faults: vec![Fault::new("", says)], more: false }
    }
}

impl error::Error for Refused {}

impl fmt::Display for Refused {
    /// A line each, `FILE:LINE: path: says`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{}{fault}", shown(&self.file))?;
        }
        if self.more { write!(out, "\n{}: there may be more faults", shown(&self.file)) } else { Ok(()) }
    }
}

impl fmt::Display for Fault {
    /// What follows on the name of the file: `:LINE: path: says`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        if !self.path.is_empty() {
            write!(out, ": {}", shown(&self.path))?;
        }
        write!(out, ": {}", shown(&self.says))
    }
}

/// On one line and of bounded length, whatever it is: it goes to terminals and logs.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, char) in text.chars().enumerate() {
        if count == SHOWN_CHARS_MAX {
            out.push('…');
            break;
        }
        if char.is_control() { out.extend(char.escape_debug()) } else { out.push(char) }
    }
    out
}
