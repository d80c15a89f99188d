//! Messages and services, generated from the files of `testimony/` by `cargo xtask proto`.

/// Frames of an evidence log, format version 1; `docs/format.md` says what each means.
#[expect(missing_docs, reason = "generated; the .proto file carries the comments")]
pub mod evidence {
    include!("testimony.evidence.v1.rs");
}

/// Statements and enrolments on their way to a collector, version 1, over gRPC.
#[cfg(feature = "collector")]
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file carries the comments"
)]
pub mod collector {
    include!("testimony.collector.v1.rs");
}
