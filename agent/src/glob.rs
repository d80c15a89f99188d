//! Paths by pattern: `*` and `?` stay within a component, `**` does not, `[a-z]` is one byte of a set.
//!
//! A pattern without a slash is of the last component, wherever that stands.

/// A pattern over the bytes of paths.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
    whole: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `[…]`: ranges, and whether they are what is not meant.
    Set(Vec<(u8, u8)>, bool),
    /// `*`
    Within,
    /// `**`
    Across,
}

impl Glob {
    /// Every text is a pattern; a bracket that is not closed is a bracket.
    pub(crate) fn new(pattern: &[u8]) -> Self {
        let (mut tokens, mut at) = (Vec::new(), 0);
        while let Some(byte) = pattern.get(at) {
            let rest = pattern.get(at + 1..).unwrap_or_default();
            let (token, width) = match byte {
                b'*' if rest.first() == Some(&b'*') => (Token::Across, 2),
                b'*' => (Token::Within, 1),
                b'?' => (Token::One, 1),
                b'[' => set(rest).map_or((Token::Byte(b'['), 1), |(set, width)| (set, width + 1)),
                b'\\' if !rest.is_empty() => (Token::Byte(*rest.first().unwrap_or(&b'\\')), 2),
                byte => (Token::Byte(*byte), 1),
            };
            // A star that follows a star adds nothing but work.
            if !(matches!(token, Token::Within | Token::Across) && tokens.last() == Some(&token)) {
                tokens.push(token);
            }
            at += width;
        }
        Self { tokens, whole: pattern.contains(&b'/') }
    }

    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        self.matches_all(if self.whole { path } else { name })
    }

    /// One pass over the path with the set of places in the pattern that were reached: never more than their product.
    fn matches_all(&self, path: &[u8]) -> bool {
        let mut reached = vec![false; self.tokens.len() + 1];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        self.skip_stars(&mut reached);
        for byte in path {
            let mut next = vec![false; reached.len()];
            for (place, token) in self.tokens.iter().enumerate() {
                if !reached.get(place).copied().unwrap_or(false) {
                    continue;
                }
                let (stays, moves) = step(token, *byte);
                if stays {
                    next[place] = true;
                }
                if moves {
                    next[place + 1] = true;
                }
            }
            self.skip_stars(&mut next);
            reached = next;
        }
        reached.last().copied().unwrap_or(false)
    }

    /// A star may stand for nothing.
    fn skip_stars(&self, reached: &mut [bool]) {
        for (place, token) in self.tokens.iter().enumerate() {
            if reached[place] && matches!(token, Token::Within | Token::Across) {
                reached[place + 1] = true;
            }
        }
    }
}

/// Whether the pattern stays at this token, or goes on to the next, over this byte.
fn step(token: &Token, byte: u8) -> (bool, bool) {
    match token {
        Token::Byte(wanted) => (false, *wanted == byte),
        Token::One => (false, byte != b'/'),
        Token::Set(ranges, not) => {
            let inside = ranges.iter().any(|(from, to)| (*from..=*to).contains(&byte));
            (false, byte != b'/' && inside != *not)
        }
        Token::Within => (byte != b'/', false),
        Token::Across => (true, false),
    }
}

/// The set after `[`, and its bytes with the closing bracket.
fn set(rest: &[u8]) -> Option<(Token, usize)> {
    let not = matches!(rest.first(), Some(b'!' | b'^'));
    let from = usize::from(not);
    // A bracket in the first place is of the set.
    let end = from + 1 + rest.get(from + 1..)?.iter().position(|byte| *byte == b']')?;
    let mut body = rest.get(from..end)?;
    let mut ranges = Vec::new();
    while let Some((first, tail)) = body.split_first() {
        match tail {
            [b'-', last, after @ ..] => {
                ranges.push((*first, *last));
                body = after;
            }
            _ => {
                ranges.push((*first, *first));
                body = tail;
            }
        }
    }
    Some((Token::Set(ranges, not), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Glob::new(pattern.as_bytes()).matches(path.as_bytes())
    }

    #[test]
    fn a_star_stays_within_a_component_and_two_do_not() {
        assert!(matches("/etc/*", "/etc/hostname") && !matches("/etc/*", "/etc/ssl/certs"));
        assert!(matches("/etc/**", "/etc/ssl/certs") && matches("/**/certs", "/etc/ssl/certs"));
        assert!(!matches("/etc/**", "/usr/etc/x"));
        assert!(matches("**", "") && matches("*", "") && !matches("?", ""));
    }

    #[test]
    fn without_a_slash_the_last_component_counts() {
        assert!(matches("*.h", "/usr/include/stdio.h") && !matches("*.h", "/usr/include.h/x"));
        assert!(matches("stdio.?", "/usr/include/stdio.h"));
    }

    #[test]
    fn sets_have_ranges_and_their_opposite() {
        assert!(matches("[a-c]x", "bx") && !matches("[!a-c]x", "bx") && matches("[]]x", "]x") && matches("[x", "[x"));
        assert!(!matches("/a[!b]c", "/a/c") && matches("a\\*", "a*") && !matches("a\\*", "ab"));
    }

    #[test]
    fn a_long_path_and_many_stars_end_soon() {
        let pattern = "*a".repeat(200);
        assert!(!matches(&pattern, &"a".repeat(199)) && matches(&pattern, &"a".repeat(4000)));
    }
}
