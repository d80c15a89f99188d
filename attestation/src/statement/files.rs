//! `monitorLog.fileAccess`: every file version whose content the session read, wrote or executed.
//!
//! A ResourceDescriptor needs a digest, a URI or the content: without a digest the entry carries a `file` URI.

use super::document::{Sha256, percent};
use crate::escape::escape;
use crate::hex;
use crate::time::{self, SECOND_NS};
use crate::trace::{FileVersion, Trace, access};
use proto::evidence::measure::{Algorithm, Means};
use proto::evidence::{Class, Measure};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

pub(super) struct FileAccess<'a>(pub(super) &'a Trace);

impl Serialize for FileAccess<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let content = |file: &FileVersion<'_>| file.access & access::CONTENT != 0;
        serializer.collect_seq(self.0.files().filter(content).map(Entry))
    }
}

struct Entry<'a>(FileVersion<'a>);

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &escape(self.0.path))?;
        match self.0.sha256 {
            Some(sha256) => map.serialize_entry("digest", &Sha256(sha256))?,
            None => map.serialize_entry("uri", &format!("file://{}", percent(self.0.path, b"-._~/")))?,
        }
        map.serialize_entry("annotations", &Annotations(&self.0))?;
        map.end()
    }
}

/// As statements write a class.
pub(super) fn class(class: Class) -> &'static str {
    match class {
        Class::Kernel => "kernel",
        Class::Stable => "stable",
        Class::Ephemeral => "ephemeral",
        Class::Raced => "raced",
        Class::Absent | Class::Unspecified => "absent",
    }
}

/// As statements write access bits: words joined by `+`, in the order of the bits.
fn access_words(bits: u8) -> String {
    let words = ["read", "write", "exec", "created", "truncated", "path"];
    let set = words.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0).map(|(_, word)| *word);
    set.collect::<Vec<_>>().join("+")
}

/// What a mode says beyond a regular file; `None` for one.
fn file_type(mode: u32) -> Option<&'static str> {
    match mode & 0o170_000 {
        0o100_000 => None,
        0o040_000 => Some("directory"),
        0o020_000 => Some("character device"),
        0o060_000 => Some("block device"),
        0o010_000 => Some("fifo"),
        0o140_000 => Some("socket"),
        0o120_000 => Some("symlink"),
        _ => Some("other"),
    }
}

struct Annotations<'a>(&'a FileVersion<'a>);

impl Serialize for Annotations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let file = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("class", class(file.class))?;
        if !file.reason.is_empty() {
            map.serialize_entry("reason", file.reason)?;
        }
        if let Some(measure) = file.measure {
            map.serialize_entry("measure", &Measured(measure))?;
        }
        map.serialize_entry("access", &access_words(file.access))?;
        map.serialize_entry("accesses", &file.accesses)?;
        map.serialize_entry("processes", &file.processes().map(|(process, _)| process).collect::<Vec<_>>())?;
        if let Some(file_type) = file_type(file.mode) {
            map.serialize_entry("type", file_type)?;
        }
        map.serialize_entry("size", &file.size_bytes)?;
        map.serialize_entry("mode", &format!("{:04o}", file.mode & 0o7777))?;
        map.serialize_entry("dev", &format!("{}:{}", file.dev >> 20, file.dev & 0xf_ffff))?;
        map.serialize_entry("ino", &file.ino.to_string())?;
        map.serialize_entry("ctime", &ctime(file))?;
        map.serialize_entry("filesystem", &format!("{:#010x}", file.fs_magic))?;
        if file.deleted {
            map.serialize_entry("deleted", &true)?;
        }
        if file.product {
            map.serialize_entry("product", &true)?;
        }
        map.end()
    }
}

struct Measured<'a>(&'a Measure);

impl Serialize for Measured<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("by", means(self.0.by()))?;
        map.serialize_entry("algorithm", algorithm(self.0.algorithm()))?;
        map.serialize_entry("digest", &hex::encode(&self.0.digest))?;
        map.end()
    }
}

/// As statements write by what the kernel measured.
pub(crate) fn means(means: Means) -> &'static str {
    match means {
        Means::Unspecified => "none",
        Means::FsVerity => "fs-verity",
        Means::Ima => "ima",
    }
}

/// As statements write the algorithm of a measure.
pub(crate) fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Unspecified => "none",
        Algorithm::Sha256 => "sha256",
        Algorithm::Sha512 => "sha512",
    }
}

fn ctime(file: &FileVersion<'_>) -> String {
    time::rfc3339(i128::from(file.ctime_sec) * SECOND_NS + i128::from(file.ctime_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_bits_have_words_in_order() {
        assert_eq!(access_words(0), "");
        assert_eq!(access_words(access::READ | access::EXEC), "read+exec");
        assert_eq!(access_words(63), "read+write+exec+created+truncated+path");
        assert_eq!(access_words(255), access_words(63));
    }

    #[test]
    fn a_regular_file_needs_no_type() {
        assert_eq!(file_type(0o100_644), None);
        assert_eq!(file_type(0o040_755), Some("directory"));
        assert_eq!(file_type(0), Some("other"));
    }
}
