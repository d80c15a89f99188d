//! The verdict as text and as JSON. Every text that may come from a file is escaped.

use attestation::codes;
use attestation::escape::escape;
use attestation::hex;
use attestation::time;
use attestation::trace::Finding;
use attestation::verify::{Check, Outcome, Verdict};
use attestation::x509::UnixSeconds;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Gaps that the text lists; JSON has all.
const GAPS_SHOWN_MAX: usize = 20;

/// A path for a terminal.
pub(crate) fn path(path: &Path) -> Cow<'_, str> {
    escape(path.as_os_str().as_bytes())
}

/// A line a check, the gaps, and a last line with the verdict.
pub(crate) fn text(out: &mut dyn Write, file: &Path, verdict: &Verdict, as_of: Option<UnixSeconds>) -> io::Result<()> {
    writeln!(out, "{}", path(file))?;
    if let Some(time) = as_of.map(time::utc) {
        writeln!(out, "  as of        {time}, by --at")?;
    }
    lines(out, &verdict.checks)?;
    for gap in verdict.gaps.iter().take(GAPS_SHOWN_MAX) {
        let (code, detail) = (escape(gap.code.as_bytes()), escape(gap.detail.as_bytes()));
        let space = if detail.is_empty() { "" } else { " " };
        writeln!(out, "  gap          {code}{space}{detail} ({}): {}", gap.count, meaning(&gap.code))?;
    }
    if let Some(more) = verdict.gaps.len().checked_sub(GAPS_SHOWN_MAX).filter(|more| *more > 0) {
        writeln!(out, "  gap          and {more} more")?;
    }
    writeln!(out, "{}", last_line(verdict))?;
    out.flush()
}

fn lines(out: &mut dyn Write, checks: &[Check]) -> io::Result<()> {
    for check in checks {
        writeln!(out, "  {:<11}  {:<14}  {}", check.outcome.as_str(), check.name, check.says)?;
        if check.outcome == Outcome::Proven {
            writeln!(out, "  {:29}not proven: {}", "", check.does_not_prove)?;
        }
        if let Some(code) = check.code.and_then(codes::find) {
            writeln!(out, "  {:29}{}: {} {}", "", code.name, code.meaning, code.action)?;
        }
    }
    Ok(())
}

/// The checks between several files.
pub(crate) fn text_checks(out: &mut dyn Write, checks: &[Check]) -> io::Result<()> {
    if !checks.is_empty() {
        writeln!(out, "these files together")?;
        lines(out, checks)?;
        let mut refused = checks.iter().filter(|check| check.outcome == Outcome::Refused);
        if let Some(code) = refused.find_map(|check| check.code) {
            writeln!(out, "REFUSED ({code})")?;
        }
    }
    out.flush()
}

/// The same as a line of JSON.
pub(crate) fn json_checks(out: &mut dyn Write, checks: &[Check]) -> io::Result<()> {
    if !checks.is_empty() {
        let checks: Vec<JsonCheck<'_>> = checks.iter().map(JsonCheck::from).collect();
        let refused = checks.iter().any(|check| check.outcome == Outcome::Refused.as_str());
        let line = serde_json::json!({ "file": null, "exitCode": u8::from(refused), "checks": checks });
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn meaning(code: &str) -> &'static str {
    codes::find(code).map_or("A code that this version does not know.", |code| code.meaning)
}

/// The one line that says it.
fn last_line(verdict: &Verdict) -> String {
    let basis =
        if verdict.recomputed { "recomputed from the evidence" } else { "as signed, the evidence was not given" };
    let gaps = verdict.gaps.len();
    let plural = if gaps == 1 { "gap" } else { "gaps" };
    match first_refusal(verdict) {
        Some(codes::INCOMPLETE | codes::NO_STATEMENT) => format!("INCOMPLETE ({gaps} {plural})"),
        Some(code) if verdict.understood => format!("REFUSED ({code})"),
        Some(code) => format!("NOT UNDERSTOOD ({code})"),
        None if verdict.complete => format!("COMPLETE ({basis})"),
        None => format!("INCOMPLETE ({gaps} {plural})"),
    }
}

fn first_refusal(verdict: &Verdict) -> Option<&'static str> {
    let refused = verdict.checks.iter().filter(|check| check.outcome == Outcome::Refused);
    let mut refusals: Vec<&str> = refused.map(|check| check.code.unwrap_or("REFUSED")).collect();
    // Being incomplete is the least of them.
    refusals.sort_by_key(|code| *code == codes::INCOMPLETE);
    refusals.first().copied()
}

/// One line of JSON.
pub(crate) fn json(out: &mut dyn Write, file: &Path, verdict: &Verdict, as_of: Option<UnixSeconds>) -> io::Result<()> {
    let report = Report {
        file: path(file),
        as_of: as_of.map(time::utc),
        exit_code: verdict.exit_code(),
        complete: verdict.complete && !verdict.refused(),
        recomputed: verdict.recomputed,
        payload_sha256: verdict.payload_sha256.map(|sha256| hex::encode(&sha256)),
        subjects: subjects(verdict),
        checks: verdict.checks.iter().map(JsonCheck::from).collect(),
        gaps: verdict.gaps.iter().map(JsonGap::from).collect(),
    };
    serde_json::to_writer(&mut *out, &report)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn subjects(verdict: &Verdict) -> Vec<JsonSubject<'_>> {
    let claims = verdict.claims.as_deref();
    let listed = claims.map(|claims| claims.subjects.as_slice()).unwrap_or_default();
    listed.iter().map(|(name, sha256)| JsonSubject { name, sha256 }).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    file: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    exit_code: u8,
    complete: bool,
    recomputed: bool,
    payload_sha256: Option<String>,
    subjects: Vec<JsonSubject<'a>>,
    checks: Vec<JsonCheck<'a>>,
    gaps: Vec<JsonGap<'a>>,
}

#[derive(Serialize)]
struct JsonSubject<'a> {
    name: &'a str,
    sha256: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonCheck<'a> {
    name: &'a str,
    outcome: &'a str,
    says: &'a str,
    does_not_prove: &'a str,
    code: Option<&'a str>,
}

impl<'a> From<&'a Check> for JsonCheck<'a> {
    fn from(check: &'a Check) -> Self {
        let Check { name, outcome, says, does_not_prove, code } = check;
        Self { name, outcome: outcome.as_str(), says, does_not_prove, code: *code }
    }
}

#[derive(Serialize)]
struct JsonGap<'a> {
    code: Cow<'a, str>,
    detail: Cow<'a, str>,
    count: u64,
}

impl<'a> From<&'a Finding> for JsonGap<'a> {
    fn from(gap: &'a Finding) -> Self {
        Self { code: escape(gap.code.as_bytes()), detail: escape(gap.detail.as_bytes()), count: gap.count }
    }
}
