//! The answer as lines and as JSON.

use std::{
    error::Error,
    io::{self, Write},
};

use attestation::escape::escape;

use super::{Check, Status};

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// An error with its causes as a failed check.
pub(super) fn chain(name: &str, error: &dyn Error) -> Check {
    let mut says = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        says = format!("{says}: {cause}");
        source = cause.source();
    }
    Check::new(name, Status::Fail, says)
}

/// Prints a line a check, and a last one with the verdict.
pub(super) fn print(as_json: bool, checks: &[Check]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = if as_json { writeln!(out, "{}", json(checks)) } else { text(&mut out, checks) };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn text(out: &mut dyn Write, checks: &[Check]) -> io::Result<()> {
    for check in checks {
        writeln!(out, "{:<4}  {:<16} {}", check.status.word(), check.name, escape(check.says.as_bytes()))?;
        if let Some(action) = &check.action {
            writeln!(out, "{:<4}  {:<16} → {}", "", "", escape(action.as_bytes()))?;
        }
    }
    let failed = checks.iter().filter(|check| check.status == Status::Fail).count();
    match failed {
        0 => writeln!(out, "A run here can end complete."),
        1 => writeln!(out, "A run here cannot end complete: 1 check failed."),
        failed => writeln!(out, "A run here cannot end complete: {failed} checks failed."),
    }
}

fn json(checks: &[Check]) -> serde_json::Value {
    let check = |check: &Check| {
        serde_json::json!({
            "name": check.name,
            "status": check.status.word().to_ascii_lowercase(),
            "says": escape(check.says.as_bytes()),
            "action": check.action.as_ref().map(|action| escape(action.as_bytes())),
        })
    };
    serde_json::json!({
        "version": 1,
        "complete": checks.iter().all(|check| check.status != Status::Fail),
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(checks: &[Check]) -> String {
        let mut out = Vec::new();
        text(&mut out, checks).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_check_is_a_line_and_its_action_another() {
        let checks =
            [Check::new("kernel", Status::Ok, "6.18\u{1b}"), Check::new("key", Status::Fail, "bad").action("do")];
        let said = said(&checks);
        assert_eq!(said.lines().count(), 4);
        assert!(said.contains("6.18\\x1b") && said.contains("→ do") && said.ends_with("1 check failed.\n"));
    }

    #[test]
    fn a_warning_ends_nothing() {
        let checks = [Check::new("clock", Status::Warn, "coarse")];
        assert!(said(&checks).ends_with("A run here can end complete.\n"));
        assert_eq!(json(&checks)["complete"], true);
        assert_eq!(json(&checks)["checks"][0]["status"], "warn");
    }
}
