//! The statement: an in-toto Statement v1 with a runtime-trace v0.1 predicate and one extension, `testimony`.
//!
//! It is written as a stream, twice if need be, with the same bytes each time: what it says follows from the trace, the
//! log's head and [`Meta`], and from nothing else. A verifier that has the evidence writes it again and compares.
//!
//! Numbers that may be 2^53 or more are written as strings of decimal digits, since many readers of JSON round them.
//!
//! Fields of the predicate: in-toto/attestation, spec/predicates/runtime-trace.md; docs/format.md lists ours.

mod document;
mod files;
mod network;
mod platform;
mod processes;
mod read;
mod rules;
mod testimony;
#[cfg(test)]
mod tests;
mod unsigned;
mod wire;

pub use crate::json::LIST_MAX;
pub(crate) use files::{algorithm, means};
pub use read::{CanaryClaim, Claims, HookClaim, Item, ReadError, read};
pub use unsigned::Unsigned;

use crate::evidence::LogHead;
use crate::merkle::Hash;
use crate::trace::Trace;
use serde::Serialize as _;
use std::io::{self, BufWriter, Write};

/// `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of a trace.
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/runtime-trace/v0.1";
/// `monitor.type`: what a consumer trusts or not.
pub const MONITOR_TYPE: &str = "urn:testimony:monitor:v1";
/// Version of the extension `testimony`.
pub const EXTENSION_VERSION: u32 = 1;
/// Name of the subject where the session left no product.
pub const SUBJECT_EVIDENCE: &str = "evidence";

/// What a statement says that its log does not: who signs, and the signer's own chain of statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The signer: the id of its key, or the SPIFFE ID that it signs as; may be empty.
    pub signer: String,
    /// Who else signs, named in the same way.
    pub co_signers: Vec<String>,
    /// Whom the signer stands in for: the one who was to sign, and could not.
    pub instead_of: Option<String>,
    /// Number of this statement in its scope (host, signer, boot), taken at signing.
    pub number: Option<u64>,
    /// SHA-256 of the payload of the statement before it in the scope.
    pub previous: Option<Hash>,
}

/// Writes the statement: JSON in one line, without a line end.
///
/// # Errors
/// What `out` answers.
pub fn write(out: impl Write, trace: &Trace, head: &LogHead, meta: &Meta) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    document::Document { trace, head, meta }.serialize(&mut serde_json::Serializer::new(&mut out))?;
    out.flush()
}
