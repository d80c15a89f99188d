//! Reading a statement back, in bounded memory, from bytes that were verified before: what the published schema forbids
//! is refused, and what verification needs is kept.
//!
//! The document has one form: no key twice, no space, no needless escape, no number but integers. So no two readers take
//! two values from it. Lists that may be long are checked entry by entry and only counted.

use super::wire::Wire;
use super::{EXTENSION_VERSION, Meta, PREDICATE_TYPE, STATEMENT_TYPE};
use crate::evidence::LogHead;
use crate::json::{LIST_MAX, Object, Strict, is_compact};
use crate::x509::UnixSeconds;
use serde::Deserialize;
use serde::de::DeserializeSeed as _;
use std::borrow::Cow;
use thiserror::Error;

/// Why a payload is no statement of ours.
#[derive(Debug, Error)]
pub enum ReadError {
    /// No JSON, or not of the shape.
    #[error("the payload has not the shape of a statement")]
    Shape(#[source] serde_json::Error),
    /// A key stands twice in one object, a number is no integer, or the JSON is broken.
    #[error("the payload is no strict JSON")]
    NotStrict(#[source] serde_json::Error),
    /// White space outside strings, or an escape that is not needed.
    #[error("the payload's JSON is not in its one form")]
    NotCompact,
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
    /// When the session ended by the host's clock, where it says so.
    pub ended: Option<UnixSeconds>,
    /// Host and boot, in hexadecimal: with the signer, the scope of its number.
    pub host_and_boot: [String; 2],
}

/// A gap or a blind spot, as signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its code.
    pub code: String,
    /// What it concerns, escaped.
    pub detail: String,
    /// How often.
    pub count: u64,
    /// Whether it ends completeness; gaps always do.
    pub ends_completeness: bool,
}

/// A hook's row, as signed.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// What it saw of the agent's known acts; none in a session without any.
    pub canaries: Option<CanaryClaim>,
}

/// What a hook saw of the agent's known acts, as signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryClaim {
    /// Rounds in which it saw all that was made for it.
    pub seen: u64,
    /// Rounds in which it did not.
    pub silent: u64,
    /// The longest time, in nanoseconds, that it may have been muted without notice.
    pub longest_ns: u64,
}

/// Reads a statement's claims.
///
/// # Errors
/// Why the payload is no statement of ours. Unknown fields are ignored, as in-toto demands.
pub fn read(payload: &[u8]) -> Result<Claims, ReadError> {
    let mut strict = serde_json::Deserializer::from_slice(payload);
    Strict.deserialize(&mut strict).and_then(|()| strict.end()).map_err(ReadError::NotStrict)?;
    if !is_compact(payload) {
        return Err(ReadError::NotCompact);
    }
    let Object(types) = serde_json::from_slice::<Object<Types<'_>>>(payload).map_err(ReadError::Shape)?;
    if types.statement != STATEMENT_TYPE || types.predicate_type != PREDICATE_TYPE {
        return Err(ReadError::Type);
    }
    let Object(versions) = serde_json::from_slice::<Object<Versions>>(payload).map_err(ReadError::Shape)?;
    let Object(versions) = versions.predicate.0.testimony;
    if versions.version != EXTENSION_VERSION {
        return Err(ReadError::Version(versions.version));
    }
    if versions.log.0.format_version != crate::evidence::FORMAT_VERSION {
        return Err(ReadError::Version(versions.log.0.format_version));
    }
    serde_json::from_slice::<Object<Wire<'_>>>(payload).map_err(ReadError::Shape)?.0.claims()
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
    predicate: Object<VersionsPredicate>,
}

#[derive(Deserialize)]
struct VersionsPredicate {
    testimony: Object<VersionsTestimony>,
}

#[derive(Deserialize)]
struct VersionsTestimony {
    version: u32,
    log: Object<VersionsLog>,
}

#[derive(Deserialize)]
struct VersionsLog {
    #[serde(rename = "formatVersion")]
    format_version: u32,
}
