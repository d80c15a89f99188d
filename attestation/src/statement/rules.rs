//! Rules that a statement's texts are held to: those of the published schema, which a test compares with these.

use crate::{codes, escape};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// What a text must be.
pub(super) trait Rule {
    /// In a few words.
    const EXPECTED: &'static str;
    /// Whether this text is.
    fn holds(text: &str) -> bool;
}

/// A text that was held to a rule.
pub(super) struct Text<'a, R>(Cow<'a, str>, PhantomData<R>);

impl<R> Text<'_, R> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl<'de: 'a, 'a, R: Rule> Deserialize<'de> for Text<'a, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Held<R>(PhantomData<R>);
        impl<'de, R: Rule> Visitor<'de> for Held<R> {
            type Value = Cow<'de, str>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(R::EXPECTED)
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        let text = deserializer.deserialize_str(Held::<R>(PhantomData))?;
        if R::holds(&text) {
            return Ok(Self(text, PhantomData));
        }
        Err(D::Error::custom(format_args!("a text is not {}", R::EXPECTED)))
    }
}

macro_rules! rules {
    ($($name:ident: $expected:literal, $holds:expr;)*) => {
        $(
            #[doc = concat!("Is ", $expected, ".")]
            pub(super) enum $name {}
            impl Rule for $name {
                const EXPECTED: &'static str = $expected;
                fn holds(text: &str) -> bool {
                    let holds: fn(&str) -> bool = $holds;
                    holds(text)
                }
            }
        )*
    };
}

rules! {
    Escaped: "escaped text", escape::is_escaped;
    Signer: "printable ASCII without a backslash",
        |text| text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\');
    Sha256: "a SHA-256 in hexadecimal", |text| text.len() == 64 && is_hex(text);
    SessionId: "16 bytes in hexadecimal", |text| text.len() == 32 && is_hex(text);
    Hex: "bytes in hexadecimal", |text| text.len().is_multiple_of(2) && is_hex(text);
    Capabilities: "16 hexadecimal digits", |text| text.len() == 16 && is_hex(text);
    Magic: "0x and eight hexadecimal digits",
        |text| text.strip_prefix("0x").is_some_and(|digits| digits.len() == 8 && is_hex(digits));
    Unsigned: "a decimal number", |text| text.len() <= 20 && is_decimal(text);
    Signed: "a decimal number", |text| is_signed(text);
    Time: "a time", is_time;
    Code: "a code", codes::is_code;
    GapCode: "a code of kind Loss or Gap", |text| codes::find(text).is_some_and(codes::Code::is_gap);
    Call: "a system call's name", |text| {
        (1..=32).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    Level: "a level", |text| ["none", "user-argument", "returned-object", "object"].contains(&text);
    Monitor: "the type of Testimony's monitor", |text| text == super::MONITOR_TYPE;
    Host: "a host's URN", |text| text == "urn:testimony:host:unknown" || is_uuid_urn(text);
    Event: "a UUID's URN", is_uuid_urn;
    SessionType: "a session's type", is_session_type;
    EventType: "exec or fork", |text| ["exec", "fork"].contains(&text);
    Origin: "an origin", |text| ["root", "forked", "joined", "unknown"].contains(&text);
    NameOperation: "an operation on names", |text| {
        ["rename", "link", "unlink", "mkdir", "rmdir", "symlink", "truncate", "exchange"].contains(&text)
    };
    ContactOperation: "an operation on sockets",
        |text| ["connect-attempt", "connect", "send", "bind", "accept", "close", "dns-sent", "dns-received"].contains(&text);
    Direction: "a direction", |text| ["outbound", "inbound"].contains(&text);
    Ip: "an address", |text| {
        (2..=39).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'.' | b':'))
    };
    Protocol: "a protocol", is_protocol;
    FileUri: "a file's URI", |text| text.strip_prefix("file://").is_some_and(|path| is_percent(path, b"-._~/"));
    Class: "a digest's class", |text| ["kernel", "stable", "ephemeral", "raced", "absent"].contains(&text);
    Means: "means to measure by", |text| ["fs-verity", "ima"].contains(&text);
    Algorithm: "an algorithm", |text| ["sha256", "sha512"].contains(&text);
    Access: "access words in order", is_access;
    FileType: "a file's type", |text| {
        ["directory", "character device", "block device", "fifo", "socket", "symlink", "other"].contains(&text)
    };
    Mode: "four octal digits", |text| text.len() == 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    Device: "major:minor", |text| text.split_once(':').is_some_and(|(major, minor)| {
        major.len() <= 4 && minor.len() <= 7 && is_decimal(major) && is_decimal(minor)
    });
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Digits, and no zero before others.
fn is_decimal(text: &str) -> bool {
    text == "0" || (!text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_signed(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.len() <= 19 && is_decimal(digits) && text != "-0"
}

/// `2026-01-31T12:00:00.000000000Z`, each part within its range. Which months have 31 days is not asked.
fn is_time(text: &str) -> bool {
    const FORM: &[u8; 30] = b"dddd-dd-ddTdd:dd:dd.dddddddddZ";
    let formed = |(byte, form): (u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == *form };
    let within = |from, to, low, high| text.get(from..to).is_some_and(|part| low <= part && part <= high);
    text.len() == FORM.len()
        && text.bytes().zip(FORM).all(formed)
        && within(0, 4, "1970", "9999")
        && within(5, 7, "01", "12")
        && within(8, 10, "01", "31")
        && within(11, 13, "00", "23")
        && within(14, 16, "00", "59")
        && within(17, 19, "00", "59")
}

fn is_uuid_urn(text: &str) -> bool {
    let Some(uuid) = text.strip_prefix("urn:uuid:") else {
        return false;
    };
    let mut parts = uuid.split('-');
    [8, 4, 4, 4, 12].iter().all(|len| parts.next().is_some_and(|part| part.len() == *len && is_hex(part)))
        && parts.next().is_none()
}

fn is_session_type(text: &str) -> bool {
    let kind = text.strip_prefix("urn:testimony:session:").and_then(|rest| rest.strip_suffix(":v1"));
    kind.is_some_and(|kind| is_percent(kind, b"-._~"))
}

/// Letters, digits, these bytes, and percent-encoded bytes.
fn is_percent(text: &str, plain: &[u8]) -> bool {
    let mut parts = text.split('%');
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || plain.contains(&byte));
    let upper_hex = |digits: &[u8]| digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    let encoded = |part: &str| {
        part.is_ascii()
            && part.split_at_checked(2).is_some_and(|(hex, rest)| upper_hex(hex.as_bytes()) && is_plain(rest))
    };
    parts.next().is_some_and(is_plain) && parts.all(encoded)
}

fn is_protocol(text: &str) -> bool {
    let number = text.strip_prefix("ip-").or_else(|| text.strip_prefix("family-"));
    ["tcp", "udp", "icmp", "unix"].contains(&text)
        || number.is_some_and(|number| number.len() <= 10 && is_decimal(number))
}

/// Words joined by `+`, each once and in order, one of the first three among them.
fn is_access(text: &str) -> bool {
    let mut rest = ["read", "write", "exec", "created", "truncated", "path"].iter();
    let content = text.split('+').next().is_some_and(|first| ["read", "write", "exec"].contains(&first));
    content && text.split('+').all(|word| rest.any(|next| *next == word))
}
