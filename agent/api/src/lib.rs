//! What the node's agent does for who may ask it, version 1, over gRPC on a unix socket: generated from
//! `proto/testimony/node/v1/node.proto` by `cargo xtask proto`.
#![expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated; the .proto file carries the comments"
)]

include!("testimony.node.v1.rs");
