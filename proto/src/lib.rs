//! The evidence log's messages, generated from `testimony/evidence/v1/evidence.proto` by `cargo xtask proto`.

/// Frames of an evidence log, format version 1; `docs/format.md` says what each means.
#[expect(missing_docs, reason = "generated; the .proto file carries the comments")]
pub mod evidence {
    include!("testimony.evidence.v1.rs");
}
