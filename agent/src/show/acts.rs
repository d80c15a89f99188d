//! Acts beyond files and network: by system call, what it named, and what came of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, Write},
};

use super::{
    filter::Selection,
    network::errno,
    statement::Act,
    terminal::{Style, Terminal, count, cut},
};

/// A call, what it named, whether it reached outside, and its error.
type Kind<'a> = (&'a str, String, bool, i32);

/// Writes a line for each kind of act, at most `lines_max` of them.
pub(crate) fn write(
    out: &mut dyn Write,
    terminal: &Terminal,
    part: &Selection<'_>,
    lines_max: usize,
) -> io::Result<()> {
    let mut kinds: BTreeMap<Kind<'_>, (usize, BTreeSet<String>)> = BTreeMap::new();
    let names = part.trace.names_of_inodes();
    for act in &part.acts {
        let kind = kinds.entry(kind(act, &names)).or_default();
        kind.0 += 1;
        kind.1.insert(part.trace.who(act.process as usize));
    }
    let heading = match part.acts.len() {
        0 => "Acts: none".to_owned(),
        acts => format!("Acts ({})", count(acts, "system call", "system calls")),
    };
    writeln!(out, "{}", terminal.paint(Style::Heading, &heading))?;
    for ((call, named, outside, error), (times, who)) in kinds.iter().take(lines_max) {
        let times = if *times == 1 { String::new() } else { format!(" ×{times}") };
        let outside = if *outside { " beyond the session" } else { "" };
        let error = if *error == 0 { String::new() } else { format!(": {}", errno(*error)) };
        let who: Vec<&str> = who.iter().map(String::as_str).collect();
        let line = format!("{call}{named}{times}{outside}{error}  by {}", who.join(", "));
        writeln!(out, "  {}", cut(&line, terminal.columns.saturating_sub(2)))?;
    }
    if let Some(more) = kinds.len().checked_sub(lines_max).filter(|more| *more > 0) {
        let more = format!("  … and {}: --acts shows all", count(more, "kind", "kinds"));
        writeln!(out, "{}", terminal.paint(Style::Faint, &more))?;
    }
    Ok(())
}

fn kind<'a>(act: &'a Act, names: &HashMap<(&str, &str), &str>) -> Kind<'a> {
    let texts = act.texts.iter().filter(|text| !text.is_empty()).map(|text| &**text);
    let file = act.dev.as_deref().zip(act.ino.as_deref()).map(|inode| names.get(&inode).copied().unwrap_or("a file"));
    let named: String = texts.chain(file).map(|name| format!(" {name}")).collect();
    let error = if act.result < 0 { i32::try_from(act.result).unwrap_or(i32::MIN) } else { 0 };
    (&act.call, named, act.outside, error)
}
