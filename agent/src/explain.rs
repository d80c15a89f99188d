//! `testimony explain`: what a code means and what to do about it.

use std::io::{self, Write};

use attestation::codes::{self, Code, Kind};

/// Suggestions for a code that is not known.
const NEAR_MAX: usize = 3;
/// Changes of a letter after which a code is no longer near.
const DISTANCE_MAX: usize = 4;
/// The same as a share of what was asked for: one letter in so many.
const DISTANCE_SHARE: usize = 3;

/// Which code.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code, in upper or lower case; without one, all are listed
    code: Option<String>,
    /// Print JSON: an object, or a list of them
    #[arg(long)]
    json: bool,
}

/// Why nothing was explained.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such code.
    #[error("there is no code {asked}{near}")]
    Unknown {
        /// What was asked for.
        asked: String,
        /// What may have been meant, as the end of the sentence.
        near: String,
    },
    /// The answer could not be printed.
    #[error("the answer could not be printed")]
    Print(#[from] io::Error),
}

impl Error {
    /// The exit status: wrong usage for a code that is none.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Unknown { .. } => 64,
            Self::Print(_) => 1,
        }
    }
}

/// Explains one code or lists all.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    let mut out = io::stdout().lock();
    match &args.code {
        Some(asked) => {
            let code = find(asked)?;
            if args.json { writeln!(out, "{}", json(code))? } else { text(&mut out, code)? }
        }
        None if args.json => writeln!(out, "{}", serde_json::Value::from_iter(codes::ALL.iter().map(json)))?,
        None => list(&mut out)?,
    }
    Ok(0)
}

fn find(asked: &str) -> Result<&'static Code, Error> {
    let name = asked.to_ascii_uppercase().replace('-', "_");
    codes::find(&name).ok_or_else(|| {
        let near = near(&name);
        let near = if near.is_empty() {
            ": testimony explain lists them all".to_owned()
        } else {
            format!(": did you mean {}?", near.join(" or "))
        };
        Error::Unknown { asked: asked.to_owned(), near }
    })
}

/// The codes that are most like this name, best first.
fn near(name: &str) -> Vec<&'static str> {
    let mut near: Vec<(usize, &'static str)> =
        codes::ALL.iter().map(|code| (distance(name, code.name), code.name)).collect();
    let distance_max = DISTANCE_MAX.min(name.len() / DISTANCE_SHARE);
    near.retain(|(distance, code)| *distance <= distance_max || (name.len() > 3 && code.contains(name)));
    near.sort_unstable();
    near.into_iter().take(NEAR_MAX).map(|(_, code)| code).collect()
}

/// Letters to insert, remove or replace to make one name of the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().take(codes::CODE_BYTES_MAX * 2).enumerate() {
        let mut corner = i;
        let mut last = i + 1;
        for (b, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let replaced = corner + usize::from(a != *b);
            corner = *cell;
            last = replaced.min(corner + 1).min(last + 1);
            *cell = last;
        }
        // What it takes to make nothing of the letters so far.
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn kind(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Loss => ("loss", "ends losslessness and completeness; found by recomputing"),
        Kind::Gap => ("gap", "ends completeness; found by recomputing"),
        Kind::BlindSpot => ("blind spot", "ends completeness; reported by the agent"),
        Kind::Notice => ("notice", "stated, without ending completeness"),
        Kind::Reason => ("reason", "why a file's digest has its class"),
        Kind::Refusal => ("refusal", "why a verifier refused"),
        Kind::Alert => ("alert", "told by a collector"),
    }
}

fn text(out: &mut dyn Write, code: &Code) -> io::Result<()> {
    let (kind, effect) = kind(code.kind);
    writeln!(out, "{}  ({kind}: {effect})", code.name)?;
    writeln!(out, "  {}", code.meaning)?;
    writeln!(out, "  What to do: {}", code.action)
}

fn list(out: &mut dyn Write) -> io::Result<()> {
    let mut last = None;
    for code in codes::ALL {
        if last != Some(code.kind) {
            let (kind, effect) = kind(code.kind);
            let space = if last.is_some() { "\n" } else { "" };
            writeln!(out, "{space}{kind}: {effect}")?;
            last = Some(code.kind);
        }
        writeln!(out, "  {:<24} {}", code.name, code.meaning)?;
    }
    Ok(())
}

fn json(code: &Code) -> serde_json::Value {
    serde_json::json!({
        "code": code.name,
        "kind": kind(code.kind).0,
        "endsCompleteness": code.ends_completeness(),
        "meaning": code.meaning,
        "action": code.action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_in_any_case() {
        for asked in ["LOST_EVENTS", "lost_events", "Lost-Events"] {
            assert_eq!(find(asked).unwrap().name, codes::LOST_EVENTS);
        }
    }

    #[test]
    fn a_misspelt_code_has_near_ones_and_nonsense_has_none() {
        assert_eq!(near("LOST_EVENT"), [codes::LOST_EVENTS]);
        assert_eq!(near("IO_URING"), [codes::IO_URING_USED]);
        assert!(near("").is_empty());
        assert!(near(&"X".repeat(100_000)).is_empty());
        assert_eq!(find("nonsense").unwrap_err().status(), 64);
    }

    #[test]
    fn every_reason_that_a_digest_can_have_is_explained() {
        for (code, _) in crate::content::REASONS {
            assert_eq!(codes::find(code).map(|code| code.kind), Some(Kind::Reason), "{code}");
        }
    }

    #[test]
    fn distance_counts_changes() {
        for (left, right, changes) in
            [("", "", 0), ("A", "", 1), ("", "AB", 2), ("KITTEN", "SITTING", 3), ("AB", "BA", 2)]
        {
            assert_eq!(distance(left, right), changes, "{left} {right}");
        }
    }
}
