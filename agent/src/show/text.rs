//! Text and times of a statement that nobody vouches for: clean from the moment they are read.

use std::{fmt, ops::Deref};

use attestation::{
    escape::{escape, unescape},
    time::{SECOND_NS, rfc3339},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Text that can be printed: a statement's escaped form where it is one, and else the escaped form of what stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(Box<str>);

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        // What is no escaped form of anything was not written by us: it is shown for what it is.
        let clean = if unescape(text).is_ok() { text.into() } else { escape(text.as_bytes()) };
        Self(clean.into())
    }

    /// The bytes that the text stands for.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        unescape(&self.0).unwrap_or_default()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::new(&text))
    }
}

/// A moment, nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) i128);

impl Time {
    /// RFC 3339 in UTC: `2026-11-22T01:28:13Z`, with or without a fraction.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let shape = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if !text.is_ascii() || !marks.iter().all(|(at, byte)| shape(*at, *byte)) {
            return None;
        }
        let part = |from: usize, to: usize, max: i128| digits(text.get(from..to)?).filter(|value| *value <= max);
        let (year, month, day) = (part(0, 4, 9999)?, part(5, 7, 12)?, part(8, 10, 31)?);
        let seconds = part(11, 13, 23)? * 3600 + part(14, 16, 59)? * 60 + part(17, 19, 59)?;
        let time = Self((days(year, month, day)? * 86_400 + seconds) * SECOND_NS + fraction(text.get(19..)?)?);
        // A day that its month does not have comes out as another one.
        rfc3339(time.0).starts_with(text.get(..19)?).then_some(time)
    }

    /// Hour, minute, second and milliseconds.
    pub(crate) fn clock(self) -> String {
        rfc3339(self.0).get(11..23).unwrap_or_default().to_owned()
    }
}

fn digits(text: &str) -> Option<i128> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// `Z`, or a point, one to nine digits and `Z`.
fn fraction(text: &str) -> Option<i128> {
    let text = text.strip_suffix('Z')?;
    match text.strip_prefix('.') {
        None => text.is_empty().then_some(0),
        Some(fraction) if (1..=9).contains(&fraction.len()) => digits(&format!("{fraction:0<9}")),
        Some(_) => None,
    }
}

/// Days from 1970-01-01 (Howard Hinnant's `days_from_civil`), from 1970 on.
fn days(year: i128, month: i128, day: i128) -> Option<i128> {
    if year < 1970 || month < 1 || day < 1 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&rfc3339(self.0))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a time is no RFC 3339 in UTC"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_a_statement_writes_is_read_back() {
        for ns in [0, 951_782_400 * SECOND_NS + 5, 1_709_251_199 * SECOND_NS, 253_402_300_800 * SECOND_NS - 1] {
            assert_eq!(Time::parse(&rfc3339(ns)), Some(Time(ns)));
        }
        assert_eq!(Time::parse("2026-11-22T01:28:13Z").map(|time| time.0 % SECOND_NS), Some(0));
        assert_eq!(Time::parse("1970-01-01T00:00:00.5Z"), Some(Time(SECOND_NS / 2)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026-11-22",
            "2026-11-22T01:28:13",
            "2026-11-22T01:28:13+01:00",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T01:28:13.Z",
            "2026-11-22T01:28:13.1234567890Z",
            "+026-11-22T01:28:13Z",
            "1969-12-31T23:59:59Z",
            "2026-11-22T01:28:1\u{663}Z",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn hostile_text_is_clean_once_read() {
        let raw = serde_json::from_str::<Text>(r#""\u001b[2J\u202e""#).unwrap();
        assert_eq!(&*raw, "\\x1b[2J\\xe2\\x80\\xae");
        assert_eq!(&*Text::new("a\\x0ab"), "a\\x0ab");
        assert_eq!(Text::new("a\\x0ab").bytes(), b"a\nb");
        assert_eq!(&*Text::new("a\\qb"), "a\\\\qb");
    }
}
