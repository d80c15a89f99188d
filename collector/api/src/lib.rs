//! Statements and enrolments on their way to a collector, version 1, over gRPC: generated from
//! `proto/testimony/collector/v1/collector.proto` by `cargo xtask proto`.
#![expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated; the .proto file carries the comments"
)]

include!("testimony.collector.v1.rs");
