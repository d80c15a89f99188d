//! The paths that a source names (`a::b::c`), grouped imports written out: `use a::{b, c::d}` names `a::b` and `a::c::d`.

use super::source::is_ident;

/// A path and the line, from 1, where it ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
}

impl Named {
    /// Whether the path starts with these words.
    pub(super) fn is_below(&self, words: &str) -> bool {
        let mut path = self.path.iter();
        words.split("::").all(|word| path.next().is_some_and(|found| found == word))
    }
}

/// Every path of two words or more; give it code with comments and literals blanked out.
pub(super) fn named(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = match tokens[at].kind {
            Kind::Word(_) => path(&tokens, at, &[], &mut found),
            _ => at + 1,
        };
    }
    found.retain(|named| named.path.len() > 1);
    found
}

struct Token<'a> {
    line: usize,
    kind: Kind<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    Word(&'a str),
    /// `::`
    Into,
    Other(char),
}

/// Reads one path from `at`, below `outer`; returns where to go on.
fn path(tokens: &[Token<'_>], mut at: usize, outer: &[String], found: &mut Vec<Named>) -> usize {
    let kind = |at: usize| tokens.get(at).map(|token| token.kind);
    let mut path = outer.to_vec();
    while let Some(Kind::Word(word)) = kind(at) {
        path.push(word.to_owned());
        at += 1;
        if kind(at) != Some(Kind::Into) {
            found.push(Named { line: tokens[at - 1].line, path });
            return at;
        }
        at += 1;
    }
    if kind(at) == Some(Kind::Other('{')) {
        return group(tokens, at + 1, &path, found);
    }
    // A glob, or generic arguments as in `a::<B>`: what was named until here.
    found.push(Named { line: tokens[at - 1].line, path });
    at
}

/// Reads the paths between braces, to the closing one.
fn group(tokens: &[Token<'_>], mut at: usize, outer: &[String], found: &mut Vec<Named>) -> usize {
    while let Some(token) = tokens.get(at) {
        at = match token.kind {
            Kind::Other('}') => return at + 1,
            Kind::Word("as") => at + 2,
            Kind::Word(_) => path(tokens, at, outer, found),
            _ => at + 1,
        };
    }
    at
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(next) = rest.chars().next() {
        let length = if is_ident(next) {
            let length = rest.find(|c| !is_ident(c)).unwrap_or(rest.len());
            tokens.push(Token { line, kind: Kind::Word(&rest[..length]) });
            length
        } else if rest.starts_with("::") {
            tokens.push(Token { line, kind: Kind::Into });
            2
        } else {
            line += usize::from(next == '\n');
            if !next.is_whitespace() {
                tokens.push(Token { line, kind: Kind::Other(next) });
            }
            next.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::named;

    fn paths(code: &str) -> Vec<String> {
        named(code).into_iter().map(|named| format!("{}:{}", named.line, named.path.join("::"))).collect()
    }

    #[test]
    fn groups_are_written_out() {
        assert_eq!(
            paths("use std::{fs, io::{self, Read as R}};\nuse x;"),
            ["1:std::fs", "1:std::io::self", "1:std::io::Read"]
        );
    }

    #[test]
    fn paths_in_expressions_and_types_are_named() {
        assert_eq!(paths("fn f() -> a::B {\n c::d(e)\n}"), ["1:a::B", "2:c::d"]);
    }

    #[test]
    fn globs_and_generic_arguments_end_a_path() {
        assert_eq!(paths("use a::b::*;\nc::d::<E>()"), ["1:a::b", "2:c::d"]);
    }

    #[test]
    fn a_group_over_lines_names_the_line_of_each() {
        assert_eq!(paths("use crate::{\n  probe,\n  decode::Event,\n};"), ["2:crate::probe", "3:crate::decode::Event"]);
    }

    #[test]
    fn a_group_that_never_ends_is_read_to_the_end() {
        assert_eq!(paths("use a::{b, c"), ["1:a::b", "1:a::c"]);
        assert_eq!(paths("use a::"), Vec::<String>::new());
    }

    #[test]
    fn below_compares_whole_words() {
        let found = named("std::fsx::read");
        assert!(!found[0].is_below("std::fs"));
        assert!(found[0].is_below("std"));
        assert!(!found[0].is_below("std::fsx::read::more"));
    }
}
