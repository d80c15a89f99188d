//! What is redacted before anything is written: arguments by rule, variables of the environment by name.
//!
//! In the place of a secret stands its HMAC-SHA256 (RFC 2104) under a random key of the session that is in no output. A plain
//! digest of a short secret could be guessed; this one only by who has the key. The same secret has the same mark within a
//! session, and who kept the key can show what a mark stood for.

#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    ops::Range,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::Path,
};

use anyhow::Context as _;
use hmac::{Hmac, KeyInit, Mac};
use proto::evidence::Variable;
use regex::bytes::{Regex, RegexBuilder};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Before what is hashed, so that the key serves for nothing else.
const DOMAIN: &[u8] = b"testimony redaction v1\0";
/// Bytes of arguments after redaction; beyond it one mark stands for all of them. A trace takes no more of a program.
const ARGUMENTS_BYTES_MAX: usize = 6 << 20;
/// Secret parts of one text; beyond it one mark stands for all of it.
const SPANS_MAX: usize = ARGUMENTS_BYTES_MAX / 75;
/// Bytes that a compiled rule may take.
const RULE_BYTES_MAX: usize = 1 << 20;

/// What is not written as it is.
pub struct Redaction {
    rules: Vec<Regex>,
    key: Zeroizing<[u8; 32]>,
}

/// A rule that is none.
#[derive(Debug, thiserror::Error)]
#[error("--redact {rule}: no regular expression")]
pub struct BadRule {
    rule: String,
    source: regex::Error,
}

impl Redaction {
    /// Compiles the rules, and takes a key from the kernel's random numbers.
    ///
    /// # Errors
    /// The first rule that is no regular expression, or too large.
    pub fn new(rules: &[String]) -> Result<Self, BadRule> {
        let compile = |rule: &String| {
            let compiled = RegexBuilder::new(rule)
                .unicode(false)
                .dot_matches_new_line(true)
                .line_terminator(0)
                .size_limit(RULE_BYTES_MAX)
                .build();
            compiled.map_err(|source| BadRule { rule: rule.clone(), source })
        };
        let rules = rules.iter().map(compile).collect::<Result<_, _>>()?;
        let mut key = Zeroizing::new([0; 32]);
        // Of 32 bytes, never short once the kernel's generator is seeded, which this call waits for.
        let _ = rustix::rand::getrandom(&mut key[..], rustix::rand::GetRandomFlags::empty());
        assert!(key.iter().any(|byte| *byte != 0), "the kernel gives random numbers");
        Ok(Self { rules, key })
    }

    /// Writes the key in hexadecimal to a new file that only its owner reads.
    ///
    /// # Errors
    /// The file is there, or cannot be made.
    pub fn keep(&self, file: &Path) -> anyhow::Result<()> {
        let text = Zeroizing::new(attestation::hex::encode(&self.key[..]) + "\n");
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let written = made.and_then(|mut made| made.write_all(text.as_bytes()));
        written.with_context(|| format!("--redaction-key {}: the key cannot be kept there", file.display()))
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// HMAC of a secret.
    pub fn hmac(&self, secret: &[u8]) -> [u8; 32] {
        // Any length is a key's.
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key[..]).unwrap_or_else(|_| unreachable!());
        mac.update(DOMAIN);
        mac.update(secret);
        mac.finalize().into_bytes().into()
    }

    fn mark(&self, secret: &[u8], out: &mut Vec<u8>) {
        let mut text = String::from("[redacted:");
        for byte in self.hmac(secret) {
            let _ = write!(text, "{byte:02x}");
        }
        text.push(']');
        out.extend_from_slice(text.as_bytes());
    }

    /// Arguments with a NUL after each, or between them, as they may be written. A rule is held against all of them as one text;
    /// of what it matches its groups are redacted, or all of it where it has none. The NULs stay.
    pub fn arguments(&self, arguments: &[u8]) -> Vec<u8> {
        // The kernel's end with one, a command's words do not: a rule sees the same text of both.
        let (arguments, end) = match arguments.strip_suffix(&[0]) {
            Some(words) => (words, &[0][..]),
            None => (arguments, &[][..]),
        };
        let Some(secret) = self.secrets(arguments) else { return self.all(arguments, end) };
        let mut out = Vec::with_capacity(arguments.len());
        let mut at = 0;
        for span in secret {
            out.extend_from_slice(&arguments[at..span.start]);
            at = span.end;
            for (index, part) in arguments[span].split(|byte| *byte == 0).enumerate() {
                if index > 0 {
                    out.push(0);
                }
                if !part.is_empty() {
                    self.mark(part, &mut out);
                }
            }
        }
        out.extend_from_slice(&arguments[at..]);
        if out.len() > ARGUMENTS_BYTES_MAX {
            return self.all(arguments, end);
        }
        out.extend_from_slice(end);
        out
    }

    /// One mark for all arguments.
    fn all(&self, arguments: &[u8], end: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.mark(arguments, &mut out);
        out.extend_from_slice(end);
        out
    }

    /// A command's words as they may be written.
    pub fn command(&self, words: &[OsString]) -> Vec<Vec<u8>> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.command_of(&words)
    }

    /// The same of words in bytes.
    pub fn command_of<W: AsRef<[u8]>>(&self, words: &[W]) -> Vec<Vec<u8>> {
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        self.arguments(&words.join(&0)).split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
    }

    /// Spans that are secret by some rule, in order, without overlap; none where they are too many.
    fn secrets(&self, text: &[u8]) -> Option<Vec<Range<usize>>> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        for rule in &self.rules {
            for found in rule.captures_iter(text) {
                let groups: Vec<_> = found.iter().skip(1).flatten().map(|group| group.range()).collect();
                let whole = || found.get(0).map(|whole| whole.range()).into_iter().collect();
                spans.extend(if groups.is_empty() { whole() } else { groups });
                if spans.len() > SPANS_MAX {
                    return None;
                }
            }
        }
        spans.retain(|span| !span.is_empty());
        spans.sort_unstable_by_key(|span| (span.start, span.end));
        let mut merged: Vec<Range<usize>> = Vec::new();
        for span in spans {
            match merged.last_mut() {
                Some(last) if span.start < last.end => last.end = last.end.max(span.end),
                _ => merged.push(span),
            }
        }
        Some(merged)
    }

    /// A variable, with its value as it may be written: rules see it as `NAME=VALUE`.
    pub fn variable(&self, name: &str, value: Option<&OsStr>, hashed: bool) -> Variable {
        let value = value.map(OsStr::as_bytes);
        let named = |value: &[u8]| [name.as_bytes(), b"=", value].concat();
        let plain = value.filter(|value| !hashed && self.secrets(&named(value)).is_some_and(|spans| spans.is_empty()));
        let hmac = value.filter(|_| plain.is_none()).map(|value| self.hmac(value).to_vec());
        Variable { name: name.as_bytes().to_vec(), value: plain.map(<[u8]>::to_vec), hmac }
    }
}
