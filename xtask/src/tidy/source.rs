//! Rust source as far as the rules need it: code with comments and literals blanked out, line by line as it was.

/// The source with every comment, string and character literal replaced by spaces; line ends stay.
pub(super) fn code(source: &str) -> String {
    let mut rest = source;
    let mut code = String::with_capacity(source.len());
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let length = literal_or_comment(rest, before);
        if length == 0 {
            code.push(next);
            before = next;
            rest = &rest[next.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            before = ' ';
            rest = &rest[length..];
        }
    }
    code
}

/// The code before the module of unit tests, which by custom ends a file.
pub(super) fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]").map_or(code, |tests| &code[..tests])
}

/// The first line, from 1, on which the word stands alone.
pub(super) fn line_of_word(code: &str, word: &str) -> Option<usize> {
    let named = |line: &str| line.split(|c: char| !is_ident(c)).any(|found| found == word);
    code.lines().position(named).map(|index| index + 1)
}

pub(super) fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How many bytes at the start are one comment or literal; 0 when neither starts here.
fn literal_or_comment(text: &str, before: char) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if text.starts_with('\'') {
        return character(text);
    }
    // The last letters of a word are no prefix of the literal after it.
    let prefixes: &[&str] = if is_ident(before) { &[""] } else { &["br", "cr", "b", "c", "r", ""] };
    let prefix = prefixes.iter().find(|prefix| {
        let opens = |after: &str| after.starts_with('"') || (prefix.ends_with('r') && is_raw(after));
        text.strip_prefix(**prefix).is_some_and(opens)
    });
    match prefix {
        Some(prefix) if prefix.ends_with('r') => prefix.len() + raw_string(&text[prefix.len()..]),
        Some(prefix) => prefix.len() + string(&text[prefix.len()..]),
        None => 0,
    }
}

/// Comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// A character literal, told from a lifetime by its closing quote.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(text.len(), |(at, _)| at + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_raw(text: &str) -> bool {
    text.trim_start_matches('#').starts_with('"')
}

fn raw_string(text: &str) -> usize {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let body = hashes + 1;
    text[body..].find(&end).map_or(text.len(), |at| body + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::{code, line_of_word, without_tests};

    #[test]
    fn comments_are_blanked_and_lines_kept() {
        assert_eq!(code("a // b\nc /* d\n /* e */ f */ g"), format!("a     \nc     \n{}g", " ".repeat(14)));
    }

    #[test]
    fn strings_are_blanked_with_their_escapes() {
        assert_eq!(code(r#"f("a\"b", x)"#), "f(      , x)");
        assert_eq!(code("f(br#\"a\"b\"#, x)"), format!("f({}, x)", " ".repeat(9)));
        assert_eq!(code("f(b\"a\")"), "f(    )");
        assert_eq!(code("f(\"Ä\", Ä)"), "f(   , Ä)");
    }

    #[test]
    fn a_lifetime_is_code_and_a_character_is_not() {
        assert_eq!(code("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(code(r"['x', '\'', '\u{7f}', b'/']"), "[   ,     ,         , b   ]");
        assert_eq!(code("['\"', a] // \""), "[   , a]     ");
    }

    #[test]
    fn an_identifier_that_ends_in_r_opens_no_raw_string() {
        assert_eq!(code("for\"x\""), "for   ");
    }

    #[test]
    fn what_never_ends_is_blanked_to_the_end() {
        assert_eq!(code("a \"b"), "a   ");
        assert_eq!(code("a /* b"), "a     ");
        assert_eq!(code("a r#\"b\""), "a      ");
    }

    #[test]
    fn a_word_inside_a_longer_one_is_not_found() {
        assert_eq!(line_of_word("a\nunsafe_code\nunsafe {", "unsafe"), Some(3));
        assert_eq!(line_of_word("notunsafe", "unsafe"), None);
    }

    #[test]
    fn tests_at_the_end_are_cut_off() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
    }
}
