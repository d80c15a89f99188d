//! Bytes as text, losslessly: how paths, arguments and socket names stand in a statement and on a terminal.
//!
//! Valid UTF-8 is kept as it is, except for what could be taken for something else or move a cursor. A backslash is
//! written `\\`. Written byte by byte as `\xNN` (two lowercase hexadecimal digits) are: bytes that are no valid UTF-8;
//! control characters (U+0000..U+001F, U+007F..U+009F); and the invisible characters that reorder or break a line
//! (U+061C, U+200E, U+200F, U+2028..U+202E, U+2066..U+2069, U+FEFF). There is one escaped form of every byte string.

use std::borrow::Cow;
use std::fmt::Write as _;
use thiserror::Error;

/// Why text is not the escaped form of any bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no valid escape at byte {at}")]
pub struct EscapeError {
    /// Offset of the backslash or of the character, in bytes.
    pub at: usize,
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{feff}')
}

/// The escaped form of these bytes; borrowed where nothing had to be escaped.
#[must_use]
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|character| character == '\\' || is_hidden(character)) => Cow::Borrowed(text),
        _ => Cow::Owned(escape_chunks(bytes)),
    }
}

fn escape_chunks(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                hidden if is_hidden(hidden) => escape_bytes(hidden.encode_utf8(&mut [0; 4]).as_bytes(), &mut out),
                plain => out.push(plain),
            }
        }
        escape_bytes(chunk.invalid(), &mut out);
    }
    out
}

fn escape_bytes(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// The bytes of an escaped text.
///
/// # Errors
/// [`EscapeError`] where the text is not what [`escape`] makes of any bytes.
pub fn unescape(text: &str) -> Result<Vec<u8>, EscapeError> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let (value, width) = match (byte, bytes.get(at + 1)) {
            (b'\\', Some(b'\\')) => (b'\\', 2),
            (b'\\', Some(b'x')) => (hex_byte(text, at + 2).ok_or(EscapeError { at })?, 4),
            (b'\\', _) => return Err(EscapeError { at }),
            (plain, _) => (*plain, 1),
        };
        out.push(value);
        at += width;
    }
    match first_difference(text.as_bytes(), escape(&out).as_bytes()) {
        None => Ok(out),
        Some(at) => Err(EscapeError { at }),
    }
}

/// Whether the text is the escaped form of some bytes.
#[must_use]
pub fn is_escaped(text: &str) -> bool {
    !text.chars().any(is_hidden) && (!text.contains('\\') || unescape(text).is_ok())
}

fn hex_byte(text: &str, at: usize) -> Option<u8> {
    match crate::hex::decode(text.get(at..at + 2)?)?.as_slice() {
        [byte] => Some(*byte),
        _ => None,
    }
}

fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    if left == right {
        return None;
    }
    Some(left.iter().zip(right).take_while(|(a, b)| a == b).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_paths_are_borrowed() {
        assert!(matches!(escape("/usr/include/größe \"x\".h".as_bytes()), Cow::Borrowed(_)));
    }

    #[test]
    fn what_could_fool_a_terminal_is_escaped() {
        let cases: [(&[u8], &str); 8] = [
            (b"a\nb", "a\\x0ab"),
            (b"\x1b[2J", "\\x1b[2J"),
            (b"back\\slash", "back\\\\slash"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"cut \xe2\x80", "cut \\xe2\\x80"),
            ("\u{202e}gpj".as_bytes(), "\\xe2\\x80\\xaegpj"),
            ("\u{9b}2J".as_bytes(), "\\xc2\\x9b2J"),
            (b"\x7f", "\\x7f"),
        ];
        for (bytes, text) in cases {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text).unwrap(), bytes);
        }
    }

    #[test]
    fn text_that_escape_never_makes_is_refused() {
        for text in ["\\", "\\y", "\\x", "\\x0", "\\x0A", "\\x41", "a\nb", "\\xé", "\\xc3\\xa9", "\u{202e}"] {
            assert!(unescape(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(is_escaped(&escape(&bytes)));
            prop_assert_eq!(unescape(&escape(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_refused_or_the_one_form(text in any::<String>()) {
            prop_assert_eq!(is_escaped(&text), unescape(&text).is_ok());
            if let Ok(bytes) = unescape(&text) {
                prop_assert_eq!(escape(&bytes), text);
            }
        }

        #[test]
        fn nothing_hidden_is_left(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(!escape(&bytes).chars().any(is_hidden));
        }
    }
}
