//! Reading a statement back: strictly what verification needs, in bounded memory, from bytes that were verified before.
//!
//! Every object of the document is looked through for a key that stands twice, since two readers could take two values.
//! Lists that may be long are checked entry by entry and only counted.

use super::shape::{Bounded, Count, LIST_MAX, Strict};
use super::{EXTENSION_VERSION, Meta, PREDICATE_TYPE, STATEMENT_TYPE};
use crate::evidence::{LogHead, SegmentSummary};
use crate::hex;
use serde::Deserialize;
use serde::de::{DeserializeSeed as _, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;

/// Why a payload is no statement of ours.
#[derive(Debug, Error)]
pub enum ReadError {
    /// No JSON, or not of the shape.
    #[error("the payload has not the shape of a statement")]
    Shape(#[source] serde_json::Error),
    /// A key stands twice in one object, or the JSON is broken.
    #[error("the payload is no strict JSON")]
    NotStrict(#[source] serde_json::Error),
    /// Another `_type` or `predicateType`.
    #[error("not a runtime-trace statement")]
    Type,
    /// Another version of the extension or of the log's format.
    #[error("version {0} is not known")]
    Version(u32),
    /// No subject, or more than are kept.
    #[error("a statement has 1 to {LIST_MAX} subjects")]
    Subjects,
    /// A value that cannot be.
    #[error("{0} is malformed")]
    Value(&'static str),
}

/// What a statement says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Names (escaped, as signed) and SHA-256 of the subjects.
    pub subjects: Vec<(String, String)>,
    /// Complete: lossless, at an allowed level, nothing ended completeness.
    pub complete: bool,
    /// The numbers agree.
    pub lossless: bool,
    /// The lowest level that content and peers rest on.
    pub coverage_level: String,
    /// What recomputing found when it was signed.
    pub gaps: Vec<Item>,
    /// What the agent reported.
    pub blind_spots: Vec<Item>,
    /// Survivors of the session.
    pub survivors: u64,
    /// A row for each hook.
    pub hooks: Vec<HookClaim>,
    /// The log's head.
    pub log: LogHead,
    /// Counts by class: kernel, stable, ephemeral, raced, absent.
    pub digest_classes: [u64; 5],
    /// The same, counted in `fileAccess`.
    pub counted_classes: [u64; 5],
    /// Entries of `process` and `network`.
    pub listed: [u64; 2],
    /// What the log does not say.
    pub meta: Meta,
}

/// A gap or a blind spot, as signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Item {
    /// Its code.
    pub code: String,
    /// What it concerns, escaped.
    #[serde(default)]
    pub detail: String,
    /// How often.
    pub count: u64,
    /// Whether it ends completeness; gaps always do.
    #[serde(default = "yes", rename = "endsCompleteness")]
    pub ends_completeness: bool,
}

fn yes() -> bool {
    true
}

/// A hook's row, as signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HookClaim {
    /// Id in the log.
    pub hook: u32,
    /// What it observes.
    pub observation: String,
    /// How.
    pub method: String,
    /// Level of its evidence.
    pub level: String,
    /// Numbers that the kernel gave out.
    pub attempted: u64,
    /// Events in the log.
    pub delivered: u64,
    /// Repeats that the kernel counted.
    pub coalesced: u64,
    /// Events that found no room.
    pub lost: u64,
    /// Events that were not taken whole.
    pub truncated: u64,
    /// Times that the kernel skipped the program; none where it does not say.
    pub misses: Option<u64>,
}

/// Reads a statement's claims.
///
/// # Errors
/// Why the payload is no statement of ours. Unknown fields are ignored, as in-toto demands.
pub fn read(payload: &[u8]) -> Result<Claims, ReadError> {
    let mut strict = serde_json::Deserializer::from_slice(payload);
    Strict.deserialize(&mut strict).and_then(|()| strict.end()).map_err(ReadError::NotStrict)?;
    let types: Types<'_> = serde_json::from_slice(payload).map_err(ReadError::Shape)?;
    if types.statement != STATEMENT_TYPE || types.predicate_type != PREDICATE_TYPE {
        return Err(ReadError::Type);
    }
    let versions: Versions = serde_json::from_slice(payload).map_err(ReadError::Shape)?;
    let versions = versions.predicate.testimony;
    if versions.version != EXTENSION_VERSION {
        return Err(ReadError::Version(versions.version));
    }
    if versions.log.format_version != crate::evidence::FORMAT_VERSION {
        return Err(ReadError::Version(versions.log.format_version));
    }
    let wire: Wire<'_> = serde_json::from_slice(payload).map_err(ReadError::Shape)?;
    wire.claims()
}

#[derive(Deserialize)]
struct Types<'a> {
    #[serde(rename = "_type", borrow)]
    statement: Cow<'a, str>,
    #[serde(rename = "predicateType", borrow)]
    predicate_type: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Versions {
    predicate: VersionsPredicate,
}

#[derive(Deserialize)]
struct VersionsPredicate {
    testimony: VersionsTestimony,
}

#[derive(Deserialize)]
struct VersionsTestimony {
    version: u32,
    log: VersionsLog,
}

#[derive(Deserialize)]
struct VersionsLog {
    #[serde(rename = "formatVersion")]
    format_version: u32,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    subject: Bounded<Subject<'a>>,
    #[serde(borrow)]
    predicate: Predicate<'a>,
}

#[derive(Deserialize)]
struct Subject<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    digest: Digest<'a>,
}

#[derive(Deserialize)]
struct Digest<'a> {
    #[serde(borrow)]
    sha256: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    #[serde(rename = "monitor")]
    _monitor: Monitor,
    #[serde(rename = "monitoredProcess")]
    _monitored_process: MonitoredProcess,
    testimony: Testimony,
    #[serde(borrow)]
    monitor_log: MonitorLog<'a>,
}

#[derive(Deserialize)]
struct Monitor {
    #[serde(rename = "type")]
    _type: String,
}

#[derive(Deserialize)]
struct MonitoredProcess {
    #[serde(rename = "hostID")]
    _host: String,
    #[serde(rename = "type")]
    _type: String,
    #[serde(rename = "event")]
    _event: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MonitorLog<'a> {
    process: Count,
    network: Count,
    #[serde(borrow)]
    file_access: FileAccess<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Testimony {
    complete: bool,
    lossless: bool,
    coverage_level: String,
    gaps: Bounded<Item>,
    blind_spots: Bounded<Item>,
    survivors: Count,
    session: Session,
    log: Log,
    coverage: Bounded<HookClaim>,
    digest_classes: Classes,
}

#[derive(Deserialize)]
struct Session {
    id: String,
    signer: String,
    number: Option<u64>,
    previous: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    tree_size: u64,
    root_sha256: String,
    segments: Bounded<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    sequence: u64,
    sha256: String,
    frames: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Classes {
    kernel: u64,
    stable: u64,
    ephemeral: u64,
    raced: u64,
    absent: u64,
}

impl Wire<'_> {
    fn claims(self) -> Result<Claims, ReadError> {
        let testimony = self.predicate.testimony;
        let classes = testimony.digest_classes;
        if self.subject.0.is_empty() {
            return Err(ReadError::Subjects);
        }
        let mut subjects = Vec::with_capacity(self.subject.0.len());
        for subject in self.subject.0 {
            hex::decode_sha256(&subject.digest.sha256).ok_or(ReadError::Value("a subject's digest"))?;
            subjects.push((subject.name.into_owned(), subject.digest.sha256.into_owned()));
        }
        Ok(Claims {
            subjects,
            complete: testimony.complete,
            lossless: testimony.lossless,
            coverage_level: testimony.coverage_level,
            gaps: testimony.gaps.0,
            blind_spots: testimony.blind_spots.0,
            survivors: testimony.survivors.0,
            hooks: testimony.coverage.0,
            log: testimony.log.head(&testimony.session.id)?,
            digest_classes: [classes.kernel, classes.stable, classes.ephemeral, classes.raced, classes.absent],
            counted_classes: self.predicate.monitor_log.file_access.0,
            listed: [self.predicate.monitor_log.process.0, self.predicate.monitor_log.network.0],
            meta: testimony.session.meta()?,
        })
    }
}

impl Session {
    fn meta(self) -> Result<Meta, ReadError> {
        let unescaped = crate::escape::unescape(&self.signer).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let signer = unescaped.ok_or(ReadError::Value("the signer"))?;
        let previous = match self.previous {
            Some(text) => Some(hex::decode_sha256(&text).ok_or(ReadError::Value("the previous digest"))?),
            None => None,
        };
        Ok(Meta { signer, number: self.number, previous })
    }
}

impl Log {
    fn head(self, session_id: &str) -> Result<LogHead, ReadError> {
        let id =
            hex::decode(session_id).and_then(|id| id.try_into().ok()).ok_or(ReadError::Value("the session's id"))?;
        let root = hex::decode_sha256(&self.root_sha256).ok_or(ReadError::Value("the log's root"))?;
        let mut segments = Vec::with_capacity(self.segments.0.len());
        for (expected, segment) in (0..).zip(self.segments.0) {
            let sha256 = hex::decode_sha256(&segment.sha256).filter(|_| segment.sequence == expected);
            let sha256 = sha256.ok_or(ReadError::Value("a segment"))?;
            let Segment { sequence, frames, bytes, .. } = segment;
            segments.push(SegmentSummary { sequence, sha256, frames, bytes });
        }
        Ok(LogHead { session_id: id, tree_size: self.tree_size, root, segments })
    }
}

/// The list of files: each with a name, a class that its digest allows, a digest or a URI; counted by class.
struct FileAccess<'a>([u64; 5], std::marker::PhantomData<&'a ()>);

#[derive(Deserialize)]
struct FileEntry<'a> {
    #[serde(rename = "name", borrow)]
    _name: Cow<'a, str>,
    #[serde(default, borrow)]
    digest: Option<Digest<'a>>,
    #[serde(default)]
    uri: Option<IgnoredAny>,
    #[serde(borrow)]
    annotations: Annotations<'a>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(borrow)]
    class: Cow<'a, str>,
}

impl FileEntry<'_> {
    /// Place of the class among the counts; `None` where class and digest contradict each other.
    fn class(&self) -> Option<usize> {
        let digest = match &self.digest {
            Some(digest) => {
                hex::decode_sha256(&digest.sha256)?;
                true
            }
            None => {
                self.uri?;
                false
            }
        };
        match (self.annotations.class.as_ref(), digest) {
            ("kernel", true) => Some(0),
            ("stable", true) => Some(1),
            ("ephemeral", false) => Some(2),
            ("raced", true) => Some(3),
            ("absent", false) => Some(4),
            _ => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for FileAccess<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = [u64; 5];
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of files")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<[u64; 5], A::Error> {
                let mut counts = [0; 5];
                while let Some(entry) = list.next_element::<FileEntry<'_>>()? {
                    let place = entry.class().and_then(|place| counts.get_mut(place));
                    *place.ok_or_else(|| A::Error::custom("a file whose class and digest contradict each other"))? += 1;
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_seq(List).map(|counts| Self(counts, std::marker::PhantomData))
    }
}
