//! The evidence log: everything a session saw, as frames in segments under one Merkle tree.
//!
//! A segment is one zstd stream of frames, each a varint length and the bytes of a protobuf `Frame`; those bytes are a
//! leaf of the tree, whose leaves run on from segment to segment. The first frame of a segment is its `SegmentHeader`.
//! Objects and their names (sealed: the lowercase SHA-256 of the bytes; open: `open-<sequence>`) belong to the caller:
//! here are readers and writers only. docs/format.md says the same for strangers.

mod describe;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use describe::describe;
pub use reader::{Limits, LogError, LogReader, SegmentReader, header};
pub use writer::{LogWriter, Segment};

use crate::merkle::Hash;

/// Version of the format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of an encoded frame at most. A frame that is larger is not written, and refused when read.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Largest zstd window that a reader accepts, as a power of two: 8 MiB.
pub const WINDOW_LOG_MAX: u32 = 23;

/// A sealed segment, as the statement lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Place in the log, from 0.
    pub sequence: u64,
    /// SHA-256 of the object's (compressed) bytes; also its name.
    pub sha256: Hash,
    /// Frames in it, its header included.
    pub frames: u64,
    /// Bytes of the object.
    pub bytes: u64,
}

/// What a statement says of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// The session's random id, from the segments' headers.
    pub session_id: [u8; 16],
    /// Leaves of the tree.
    pub tree_size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Sealed segments, in order.
    pub segments: Vec<SegmentSummary>,
}
