//! The terminal: whether it has colour, how wide it is, and how much of a text fits.

use std::{borrow::Cow, env, io::IsTerminal as _};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns where nobody says: a pipe or a file.
const COLUMNS: usize = 120;
/// Columns below which nothing useful fits.
const COLUMNS_MIN: usize = 40;

/// Where the output goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    colour: bool,
    pub(crate) columns: usize,
}

/// What a text stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Heading,
    Bad,
    Warn,
    Good,
    Faint,
}

impl Terminal {
    /// Standard output as it is. Colour only on a terminal, and not where NO_COLOR is set (no-color.org).
    pub(crate) fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        let size = terminal.then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        let columns = size.map_or(COLUMNS, |size| usize::from(size.ws_col));
        Self::new(terminal && !plain, if columns == 0 { COLUMNS } else { columns })
    }

    pub(crate) fn new(colour: bool, columns: usize) -> Self {
        Self { colour, columns: columns.max(COLUMNS_MIN) }
    }

    /// The text in the colour of its meaning.
    pub(crate) fn paint<'a>(&self, style: Style, text: &'a str) -> Cow<'a, str> {
        if !self.colour || text.is_empty() {
            return Cow::Borrowed(text);
        }
        let code = match style {
            Style::Heading => "1",
            Style::Bad => "1;31",
            Style::Warn => "33",
            Style::Good => "32",
            Style::Faint => "2",
        };
        Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
    }
}

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The beginning of a text, in at most this many columns.
pub(crate) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut used = 0;
    let fits = |character: &char| {
        used += character.width().unwrap_or(0);
        used < columns
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    Cow::Owned(short)
}

/// Beginning and end of a text, in at most this many columns: of a path, both say something.
pub(crate) fn cut_middle(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns || columns < 8 {
        return cut(text, columns);
    }
    let head = columns / 3;
    let tail = columns - head - 1;
    let mut used = 0;
    let end: String = text
        .chars()
        .rev()
        .take_while(|character| {
            used += character.width().unwrap_or(0);
            used <= tail
        })
        .collect();
    let mut used = 0;
    let begin: String = text
        .chars()
        .take_while(|character| {
            used += character.width().unwrap_or(0);
            used <= head
        })
        .collect();
    Cow::Owned(format!("{begin}…{}", end.chars().rev().collect::<String>()))
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut tenths, mut unit) = (u128::from(count) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A number of things.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_fits_is_whole_and_one_that_does_not_ends_in_an_ellipsis() {
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(cut("abcde", 4), "abc…");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut_middle("/usr/include/linux/stat.h", 12), "/usr…/stat.h");
        for columns in 8..40 {
            assert!(width(&cut_middle("/usr/漢字/include/漢字漢字/stat.h", columns)) <= columns);
        }
    }

    #[test]
    fn bytes_have_a_unit() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB")];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
    }

    #[test]
    fn without_colour_nothing_is_added() {
        assert_eq!(Terminal::new(false, 80).paint(Style::Bad, "x"), "x");
        assert_eq!(Terminal::new(true, 80).paint(Style::Bad, "x"), "\x1b[1;31mx\x1b[0m");
    }
}
