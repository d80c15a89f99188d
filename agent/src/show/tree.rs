//! The process tree: who began whom, what each ran, how long, and how it ended.

use std::io::{self, Write};

use attestation::time::SECOND_NS;

use super::{
    filter::{Selection, Shown},
    terminal::{Style, Terminal, count, cut, width},
    text::Text,
    trace::{Exec, Process},
};

/// Indents beyond which a tree is not drawn any wider.
const INDENT_MAX: usize = 24;
/// Columns that the command gets at least.
const COMMAND_MIN: usize = 20;

/// Writes the tree, at most `lines_max` processes of it.
pub(crate) fn write(
    out: &mut dyn Write,
    terminal: &Terminal,
    part: &Selection<'_>,
    lines_max: usize,
) -> io::Result<()> {
    let number = part.processes.iter().filter(|shown| **shown == Shown::Yes).count();
    let heading = format!("Processes ({number})");
    writeln!(out, "{}", terminal.paint(Style::Heading, &heading))?;
    let shown: Vec<(usize, usize)> = order(part);
    for (index, depth) in shown.iter().take(lines_max) {
        if let Some(process) = part.trace.processes.get(*index) {
            let faint = part.processes.get(*index) == Some(&Shown::AsParent);
            line(out, terminal, process, *depth, faint)?;
        }
    }
    if let Some(more) = shown.len().checked_sub(lines_max).filter(|more| *more > 0) {
        let more = format!("  … and {}: --tree shows all", count(more, "process", "processes"));
        writeln!(out, "{}", terminal.paint(Style::Faint, &more))?;
    }
    Ok(())
}

/// Processes in the order of a tree with their depth, without recursion: a chain of forks may be long.
fn order(part: &Selection<'_>) -> Vec<(usize, usize)> {
    let processes = &part.trace.processes;
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); processes.len()];
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for (index, process) in
        processes.iter().enumerate().filter(|(index, _)| part.processes.get(*index) != Some(&Shown::Not))
    {
        match process.parent.and_then(|parent| children.get_mut(parent)) {
            Some(siblings) => siblings.push(index),
            None => stack.push((index, 0)),
        }
    }
    stack.reverse();
    let mut ordered = Vec::with_capacity(processes.len());
    while let Some((index, depth)) = stack.pop() {
        ordered.push((index, depth));
        let below = children.get(index).map(Vec::as_slice).unwrap_or_default();
        stack.extend(below.iter().rev().map(|child| (*child, depth + 1)));
    }
    ordered
}

fn line(out: &mut dyn Write, terminal: &Terminal, process: &Process, depth: usize, faint: bool) -> io::Result<()> {
    let indent = "  ".repeat(depth.min(INDENT_MAX));
    let (how, style) = ending(process);
    let head = format!("  {:<7} {:>9}  {how:<10} {indent}", process.pid, duration(process));
    let room = terminal.columns.saturating_sub(width(&head)).max(COMMAND_MIN);
    let painted = match style {
        Some(style) => head.replacen(&how, &terminal.paint(style, &how), 1),
        None => head,
    };
    let origin = match &*process.origin {
        "root" | "forked" => "",
        "joined" => "(joined) ",
        _ => "(origin unknown) ",
    };
    let mut execs = process.execs.iter().map(command);
    let first = execs.next().unwrap_or_else(|| "(forked, ran no program)".to_owned());
    let first = format!("{origin}{first}");
    let first = cut(&first, room);
    let shown = if faint || process.execs.is_empty() { terminal.paint(Style::Faint, &first) } else { first };
    writeln!(out, "{painted}{shown}")?;
    for later in execs {
        writeln!(out, "  {:<7} {:>9}  {:<10} {indent}→ {}", "", "", "", cut(&later, room.saturating_sub(2)))?;
    }
    Ok(())
}

/// Arguments as a shell would take them; the binary, where its name is not the first of them.
fn command(exec: &Exec) -> String {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let words: Vec<String> = exec.arguments.iter().map(quoted).collect();
    let given = exec.arguments.first().map(|word| name(word)).unwrap_or_default();
    if name(&exec.binary) == given { words.join(" ") } else { format!("{}: {}", exec.binary, words.join(" ")) }
}

fn quoted(word: &Text) -> String {
    let word: &str = word;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%^\\".contains(&byte) || byte >= 0x80;
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn ending(process: &Process) -> (String, Option<Style>) {
    match (process.exit_code, process.signal) {
        (Some(0), _) => ("ok".to_owned(), None),
        (Some(code), _) => (format!("exit {code}"), Some(Style::Warn)),
        (None, Some(signal)) => (format!("signal {signal}"), Some(Style::Bad)),
        (None, None) => ("no end seen".to_owned(), Some(Style::Bad)),
    }
}

fn duration(process: &Process) -> String {
    let (Some(start), Some(end)) = (process.start, process.end) else { return "?".to_owned() };
    let ns = (end.0 - start.0).max(0);
    let (seconds, ms) = (ns / SECOND_NS, ns % SECOND_NS / 1_000_000);
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{:02} s", ms / 10),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}
