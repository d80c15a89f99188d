//! The outer shape: statement, predicate, subjects. Lists are serialized entry by entry, never collected.

use super::{MONITOR_TYPE, Meta, PREDICATE_TYPE, STATEMENT_TYPE, SUBJECT_EVIDENCE};
use super::{files::FileAccess, network::Network, processes::Processes, testimony::Testimony};
use crate::escape::escape;
use crate::evidence::LogHead;
use crate::trace::Trace;
use crate::{hex, time};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use std::borrow::Cow;

/// A whole statement.
pub(super) struct Document<'a> {
    pub(super) trace: &'a Trace,
    pub(super) head: &'a LogHead,
    pub(super) meta: &'a Meta,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("_type", STATEMENT_TYPE)?;
        map.serialize_entry("subject", &Subjects { trace: self.trace, head: self.head })?;
        map.serialize_entry("predicateType", PREDICATE_TYPE)?;
        map.serialize_entry("predicate", &Predicate(self))?;
        map.end()
    }
}

/// `{"sha256": …}`.
pub(super) struct Sha256<'a>(pub(super) &'a [u8; 32]);

impl Serialize for Sha256<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("sha256", &hex::encode(self.0))?;
        map.end()
    }
}

/// A list from an iterator that can be started again.
pub(super) struct List<F>(pub(super) F);

impl<F, I> Serialize for List<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// The image of a container; else products with a digest, else the log itself.
struct Subjects<'a> {
    trace: &'a Trace,
    head: &'a LogHead,
}

impl Serialize for Subjects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        if let Some((name, sha256)) = self.trace.image() {
            list.serialize_element(&Subject { name: escape(name.as_bytes()), sha256 })?;
            return list.end();
        }
        let mut products = self.trace.products().peekable();
        if products.peek().is_none() {
            list.serialize_element(&Subject { name: Cow::Borrowed(SUBJECT_EVIDENCE), sha256: &self.head.root })?;
        }
        for (name, sha256) in products {
            list.serialize_element(&Subject { name: escape(name), sha256 })?;
        }
        list.end()
    }
}

struct Subject<'a> {
    name: Cow<'a, str>,
    sha256: &'a [u8; 32],
}

impl Serialize for Subject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("digest", &Sha256(self.sha256))?;
        map.end()
    }
}

/// The runtime-trace predicate. What is short stands before the log, so that a reader can stop early.
struct Predicate<'a>(&'a Document<'a>);

impl Serialize for Predicate<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Document { trace, head, meta } = *self.0;
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry("monitor", &Monitor)?;
        map.serialize_entry("monitoredProcess", &MonitoredProcess { trace, head })?;
        map.serialize_entry("metadata", &Metadata(trace))?;
        map.serialize_entry("testimony", &Testimony { trace, head, meta })?;
        map.serialize_entry("monitorLog", &MonitorLog(trace))?;
        map.end()
    }
}

struct Monitor;

impl Serialize for Monitor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("type", MONITOR_TYPE)?;
        map.end()
    }
}

struct MonitoredProcess<'a> {
    trace: &'a Trace,
    head: &'a LogHead,
}

impl Serialize for MonitoredProcess<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let opened = self.trace.opened();
        let host = uuid_urn(&opened.host_id).unwrap_or_else(|| "urn:testimony:host:unknown".to_owned());
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("hostID", &host)?;
        map.serialize_entry("type", &format!("urn:testimony:session:{}:v1", uri_word(&opened.kind)))?;
        map.serialize_entry("event", &format!("urn:uuid:{}", hex::uuid(&self.head.session_id)))?;
        map.end()
    }
}

fn uuid_urn(bytes: &[u8]) -> Option<String> {
    let bytes: &[u8; 16] = bytes.try_into().ok()?;
    Some(format!("urn:uuid:{}", hex::uuid(bytes)))
}

/// The word with everything percent-encoded that a URI does not take as it is.
pub(super) fn uri_word(word: &str) -> String {
    percent(word.as_bytes(), b"-._~")
}

/// Percent-encodes all but letters, digits and `keep`.
pub(super) fn percent(bytes: &[u8], keep: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || keep.contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode(&[*byte]).to_ascii_uppercase());
        }
    }
    out
}

struct Metadata<'a>(&'a Trace);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let started = self.0.unix_ns(self.0.opened().opened_boottime_ns);
        map.serialize_entry("buildStartedOn", &time::rfc3339(started))?;
        if let Some(closed) = self.0.closed() {
            let finished = i128::from(closed.closed_boottime_ns) + i128::from(closed.realtime_offset_ns);
            map.serialize_entry("buildFinishedOn", &time::rfc3339(finished))?;
        }
        map.end()
    }
}

struct MonitorLog<'a>(&'a Trace);

impl Serialize for MonitorLog<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("process", &Processes(self.0))?;
        map.serialize_entry("network", &Network(self.0))?;
        map.serialize_entry("fileAccess", &FileAccess(self.0))?;
        map.end()
    }
}
