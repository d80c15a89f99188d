//! Files by directory: how each was accessed, and what its digest is worth.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{
    filter::Selection,
    statement::access,
    terminal::{Style, Terminal, bytes, count, cut, cut_middle, width},
    trace::{File, Trace},
};

/// Files of a directory that are listed by name in the overview.
const FOLD_ABOVE: usize = 5;
/// Processes that are named beside a file.
const WHO_MAX: usize = 4;

/// Writes the overview: directories, those with many files as counts, at most `lines_max` lines.
pub(crate) fn overview(
    out: &mut dyn Write,
    terminal: &Terminal,
    part: &Selection<'_>,
    lines_max: usize,
) -> io::Result<()> {
    heading(out, terminal, part)?;
    let mut lines = 0;
    let mut left = 0;
    for (directory, files) in by_directory(&part.files) {
        if lines >= lines_max {
            left += 1;
            continue;
        }
        lines += 1;
        let room = terminal.columns.saturating_sub(30).max(20);
        let counts = counts(&files);
        writeln!(out, "  {}  {}", cut_middle(directory, room), terminal.paint(Style::Faint, &counts))?;
        if files.len() <= FOLD_ABOVE {
            lines += files.len();
            files.iter().try_for_each(|file| entry(out, terminal, part.trace, file, false))?;
        }
    }
    if left > 0 {
        let more = format!("  … and {}: --files or --path GLOB shows them", count(left, "directory", "directories"));
        writeln!(out, "{}", terminal.paint(Style::Faint, &more))?;
    }
    Ok(())
}

/// Writes every file, with who accessed it.
pub(crate) fn all(out: &mut dyn Write, terminal: &Terminal, part: &Selection<'_>) -> io::Result<()> {
    heading(out, terminal, part)?;
    for (directory, files) in by_directory(&part.files) {
        writeln!(out, "  {directory}  {}", terminal.paint(Style::Faint, &counts(&files)))?;
        files.iter().try_for_each(|file| entry(out, terminal, part.trace, file, true))?;
    }
    names(out, terminal, part)
}

fn heading(out: &mut dyn Write, terminal: &Terminal, part: &Selection<'_>) -> io::Result<()> {
    let files: Vec<&File> = part.files.clone();
    let heading = format!("Files ({})", files.len());
    let counts = if files.is_empty() { String::new() } else { format!("  {}", classes(&files)) };
    writeln!(out, "{}{counts}", terminal.paint(Style::Heading, &heading))
}

fn by_directory<'a>(files: &[&'a File]) -> BTreeMap<&'a str, Vec<&'a File>> {
    let mut directories: BTreeMap<&str, Vec<&File>> = BTreeMap::new();
    for file in files {
        let (directory, _) = split(&file.path);
        directories.entry(directory).or_default().push(file);
    }
    for files in directories.values_mut() {
        files.sort_by(|a, b| a.path.cmp(&b.path));
    }
    directories
}

/// Directory and last component; a name without a slash stands in no directory.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((directory, name)) => (directory, name),
        None => ("(no directory)", path),
    }
}

/// Number of files, and of each class.
fn counts(files: &[&File]) -> String {
    format!("{}: {}", count(files.len(), "file", "files"), classes(files))
}

fn classes(files: &[&File]) -> String {
    let known = ["kernel", "stable", "ephemeral", "raced", "absent"];
    let words = known.iter().filter_map(|class| {
        let number = files.iter().filter(|file| *file.class == **class).count();
        (number > 0).then(|| format!("{number} {class}"))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// One file: access, class, size, name; with `long` also its digest, its reason and who accessed it.
fn entry(out: &mut dyn Write, terminal: &Terminal, trace: &Trace, file: &File, long: bool) -> io::Result<()> {
    let style = match &*file.class {
        "kernel" | "stable" => Style::Good,
        "ephemeral" => Style::Faint,
        _ => Style::Warn,
    };
    let class = format!("{:<9}", file.class);
    let (_, name) = split(&file.path);
    let mut notes: Vec<&str> = Vec::new();
    notes.extend(file.product.then_some("product"));
    notes.extend(file.deleted.then_some("deleted"));
    notes.extend(file.reason.as_deref());
    let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join(", ")) };
    let head = format!("    {} {} {:>10}  ", letters(file.access), terminal.paint(style, &class), bytes(file.size));
    let room = terminal.columns.saturating_sub(29 + width(&notes)).max(20);
    let name = if long { name.into() } else { cut_middle(name, room) };
    writeln!(out, "{head}{name}{}", terminal.paint(Style::Faint, &notes))?;
    if long {
        details(out, terminal, trace, file)?;
    }
    Ok(())
}

fn details(out: &mut dyn Write, terminal: &Terminal, trace: &Trace, file: &File) -> io::Result<()> {
    if let Some(sha256) = &file.sha256 {
        writeln!(out, "        {}", terminal.paint(Style::Faint, &format!("sha256 {sha256}")))?;
    }
    if let Some(measure) = &file.measure {
        let text = format!("measured by {}: {} {}", measure.by, measure.algorithm, measure.digest);
        writeln!(out, "        {}", terminal.paint(Style::Faint, &text))?;
    }
    let one = |(process, bits): &(usize, Option<u8>)| match bits {
        Some(bits) => format!("{} {}", trace.who(*process), letters(*bits)),
        None => trace.who(*process),
    };
    let mut who: Vec<String> = file.who.iter().take(WHO_MAX).map(one).collect();
    if let Some(more) = file.who.len().checked_sub(WHO_MAX).filter(|more| *more > 0) {
        who.push(format!("and {more} more"));
    }
    let when = file.times.map_or_else(String::new, |(first, _)| format!("from {} ", first.clock()));
    let accesses = usize::try_from(file.accesses).unwrap_or(usize::MAX);
    let line = format!("{when}{} by {}", count(accesses, "access", "accesses"), who.join(", "));
    writeln!(out, "        {}", terminal.paint(Style::Faint, &line))
}

/// `rwx`, with `-` for what was not done.
fn letters(bits: u8) -> String {
    let letter = |bit: u8, letter: char| if bits & bit == 0 { '-' } else { letter };
    [letter(access::READ, 'r'), letter(access::WRITE, 'w'), letter(access::EXEC, 'x')].iter().collect()
}

/// Changes of names: what was moved, linked and removed.
fn names(out: &mut dyn Write, terminal: &Terminal, part: &Selection<'_>) -> io::Result<()> {
    if part.names.is_empty() {
        return Ok(());
    }
    let heading = format!("\nName changes ({})", part.names.len());
    writeln!(out, "{}", terminal.paint(Style::Heading, &heading))?;
    for change in &part.names {
        let target = change.target.as_ref().map_or_else(String::new, |target| format!(" → {target}"));
        let result =
            if change.result == 0 { String::new() } else { format!("  ({})", super::network::errno(change.result)) };
        let line = format!("{}{target}{result}", change.path);
        let who = part.trace.who(change.process as usize);
        writeln!(
            out,
            "  {}  {:<9} {line}  {}",
            change.timestamp.clock(),
            change.operation,
            terminal.paint(Style::Faint, &cut(&who, 40))
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_directory_and_its_name() {
        assert_eq!(split("/usr/bin/sh"), ("/usr/bin", "sh"));
        assert_eq!(split("/vmlinuz"), ("/", "vmlinuz"));
        assert_eq!(split("memfd:x"), ("(no directory)", "memfd:x"));
    }

    #[test]
    fn an_access_has_three_letters() {
        assert_eq!(letters(access::READ | access::EXEC), "r-x");
        assert_eq!(letters(0), "---");
        assert_eq!(letters(255), "rwx");
    }
}
