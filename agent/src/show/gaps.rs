//! What the witness could not see: gaps and blind spots with their meaning, and the hooks behind it.

use std::io::{self, Write};

use attestation::codes;

use super::{
    statement::{Canaries, Finding, Hook},
    terminal::{Style, Terminal},
    trace::{Trace, meaning},
};

/// Writes the findings, worst first; `all` adds what to do and the hooks.
pub(crate) fn write(out: &mut dyn Write, terminal: &Terminal, trace: &Trace, all: bool) -> io::Result<()> {
    let findings: Vec<&Finding> = trace.findings().collect();
    let heading = if findings.is_empty() { "Gaps and blind spots: none" } else { "Gaps and blind spots" };
    writeln!(out, "{}", terminal.paint(Style::Heading, heading))?;
    let mut last = None;
    for finding in findings {
        // Findings of one code stand together: its meaning is said once.
        let new = last.replace(finding.code.clone()) != Some(finding.code.clone());
        line(out, terminal, finding, new, all)?;
    }
    if all {
        hooks(out, terminal, &trace.statement.predicate.testimony.coverage)?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, terminal: &Terminal, finding: &Finding, new: bool, all: bool) -> io::Result<()> {
    let style = if finding.ends_completeness { Style::Bad } else { Style::Warn };
    let mark = if finding.ends_completeness { "✗" } else { "·" };
    let times = if finding.count == 1 { String::new() } else { format!(" ×{}", finding.count) };
    let detail = if finding.detail.is_empty() { String::new() } else { format!("  {}", finding.detail) };
    writeln!(out, "  {} {}{times}{detail}", terminal.paint(style, mark), terminal.paint(style, &finding.code))?;
    if new {
        writeln!(out, "      {}", meaning(&finding.code))?;
        if let Some(code) = codes::find(&finding.code).filter(|_| all) {
            writeln!(out, "      {}", terminal.paint(Style::Faint, code.action))?;
        }
    }
    Ok(())
}

fn hooks(out: &mut dyn Write, terminal: &Terminal, hooks: &[Hook]) -> io::Result<()> {
    writeln!(out, "\n{}", terminal.paint(Style::Heading, "Hooks"))?;
    writeln!(
        out,
        "  {:<16} {:>9} {:>9} {:>9} {:>6} {:>6} {:>9}  {:<16} method",
        "observation", "attempted", "delivered", "coalesced", "lost", "misses", "canaries", "level"
    )?;
    for hook in hooks {
        let misses = hook.misses.map_or_else(|| "?".to_owned(), |misses| misses.to_string());
        let lost = format!("{:>6}", hook.lost);
        let lost = if hook.lost == 0 { lost.into() } else { terminal.paint(Style::Bad, &lost) };
        let canaries = format!("{:>9}", hook.canaries.as_ref().map_or_else(|| "-".to_owned(), Canaries::words));
        let silent = hook.canaries.as_ref().is_some_and(|canaries| canaries.silent > 0);
        let canaries = if silent { terminal.paint(Style::Bad, &canaries) } else { canaries.into() };
        writeln!(
            out,
            "  {:<16} {:>9} {:>9} {:>9} {lost} {misses:>6} {canaries}  {:<16} {}",
            hook.observation, hook.attempted, hook.delivered, hook.coalesced, hook.level, hook.method
        )?;
        for refused in &hook.refused {
            writeln!(out, "  {:<16} refused by the kernel: {refused}", "")?;
        }
    }
    Ok(())
}
