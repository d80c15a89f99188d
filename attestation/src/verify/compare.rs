//! The trace made again: the statement is written from the log and compared with the signed bytes as it goes.

use super::Check;
use super::checks::{proven, refused};
use crate::codes;
use crate::escape::escape;
use crate::statement::{self, Claims};
use crate::trace::Trace;
use std::io::{self, Write};

const NAME: &str = "trace";
const OPEN: &str = "The statement's number and its predecessor, which the log does not know; that the log is true.";

/// Writes the statement again and names the first difference.
pub(super) fn trace(payload: &[u8], claims: &Claims, trace: &Trace) -> Check {
    let mut comparing = Comparing { rest: payload, same: 0, differs: false };
    // Its only error is the end of the comparison.
    let _ = statement::write(&mut comparing, trace, &claims.log, &claims.meta);
    if !comparing.differs && comparing.rest.is_empty() {
        return proven(NAME, format!("recomputed: all {} bytes are what the log gives", payload.len()), OPEN);
    }
    let pointer = pointer_at(payload, comparing.same);
    let says = format!("differs from its log at byte {}: {}", comparing.same, escape(pointer.as_bytes()));
    refused(NAME, codes::TRACE_DIFFERS, says, OPEN)
}

struct Comparing<'a> {
    rest: &'a [u8],
    same: usize,
    differs: bool,
}

impl Write for Comparing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let same = bytes.iter().zip(self.rest).take_while(|(left, right)| left == right).count();
        self.same += same;
        self.rest = self.rest.get(same..).unwrap_or_default();
        if same == bytes.len() {
            return Ok(same);
        }
        self.differs = true;
        Err(io::Error::other("differs"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Depth of a document at most, as its reader takes it.
const DEPTH_MAX: usize = 128;

/// JSON pointer of the value in which the byte at `offset` stands. The document was read as JSON before.
fn pointer_at(json: &[u8], offset: usize) -> String {
    let mut path: Vec<Step> = Vec::new();
    let mut at = 0;
    while at < offset {
        match json.get(at) {
            None => break,
            Some(b'{') => path.push(Step::Key(0..0)),
            Some(b'[') => path.push(Step::Index(0)),
            Some(b'}' | b']') => {
                path.pop();
            }
            Some(b',') => next(&mut path),
            Some(b'"') => {
                let end = string_end(json, at);
                name(&mut path, at + 1..end);
                at = end;
            }
            Some(_) => {}
        }
        if path.len() > DEPTH_MAX {
            break;
        }
        at += 1;
    }
    path.iter().map(|step| step.text(json)).collect()
}

enum Step {
    /// Where the key stands; empty before it was read.
    Key(std::ops::Range<usize>),
    Index(usize),
}

impl Step {
    fn text(&self, json: &[u8]) -> String {
        match self {
            Self::Key(range) => format!("/{}", String::from_utf8_lossy(json.get(range.clone()).unwrap_or_default())),
            Self::Index(index) => format!("/{index}"),
        }
    }
}

fn next(path: &mut [Step]) {
    match path.last_mut() {
        Some(Step::Index(index)) => *index += 1,
        Some(Step::Key(range)) => *range = 0..0,
        None => {}
    }
}

/// The first string of a member is its key.
fn name(path: &mut [Step], found: std::ops::Range<usize>) {
    if let Some(Step::Key(range)) = path.last_mut()
        && range.start == range.end
    {
        *range = found;
    }
}

/// Offset of the quote that ends the string which begins at `at`.
fn string_end(json: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(byte) = json.get(end) {
        match byte {
            b'"' => break,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_has_the_pointer_of_its_value() {
        let json = br#"{"a":[1,{"b\"":"x,]","c":2}],"d":3}"#;
        let at = |needle: &str| {
            let offset = json.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
            pointer_at(json, offset)
        };
        assert_eq!(at("1,"), "/a/0");
        assert_eq!(at("x,]"), "/a/1/b\\\"");
        assert_eq!(at("2}"), "/a/1/c");
        assert_eq!(at("3}"), "/d");
        assert_eq!(pointer_at(json, 0), "");
        assert_eq!(pointer_at(json, 10_000), "");
    }

    #[test]
    fn broken_and_deep_documents_end() {
        for json in [&b"[[[["[..], b"\"\\", b"}}]]", b",,,", &[b'['; 1000]] {
            for offset in 0..json.len() + 2 {
                pointer_at(json, offset);
            }
        }
    }
}
