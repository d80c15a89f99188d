//! What programs say at their end, and what the verifier says of a check.

use std::process::Output;

use serde_json::Value;

/// Outcome and code of a check.
pub type Found = Option<(String, Option<String>)>;

/// What the verifier's JSON says of a check.
#[must_use]
pub fn check(verdict: &Value, name: &str) -> Found {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let found = verdict["checks"].as_array()?.iter().find(|found| found["name"] == name)?;
    Some((text(&found["outcome"]).unwrap_or_default(), text(&found["code"])))
}

/// What was said by a program that ended so.
///
/// # Panics
/// If it ended otherwise.
#[expect(clippy::must_use_candidate, reason = "that it ended so is often all that is asked")]
pub fn ended(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Exit code and check where that is proven.
#[must_use]
pub fn proven() -> (i32, Found) {
    (0, Some(("proven".to_owned(), None)))
}

/// Exit code and check where that is refused.
#[must_use]
pub fn refused(code: &str) -> (i32, Found) {
    (1, Some(("refused".to_owned(), Some(code.to_owned()))))
}
