//! Writing a log: one segment open at a time, every frame encoded once, hashed as a leaf, compressed, and the compressed
//! bytes hashed as they leave.

use super::{FORMAT_VERSION, FRAME_BYTES_MAX, LogHead, SegmentSummary};
use crate::merkle::Tree;
use crate::platform::Head;
use prost::Message as _;
use proto::evidence::{Frame, SegmentHeader, frame};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use zstd::stream::write::Encoder;

/// zstd's level: at 1 the compressor keeps up with the tracer, in a window of 512 KiB.
const ZSTD_LEVEL: i32 = 1;

/// The tree over all frames of a log and the segments sealed so far. The caller owns the outputs.
#[derive(Debug, Clone)]
pub struct LogWriter {
    session_id: [u8; 16],
    tree: Tree,
    segments: Vec<SegmentSummary>,
    /// A segment was begun and neither sealed nor given up.
    open: bool,
    scratch: Vec<u8>,
}

impl LogWriter {
    /// An empty log of the session with this random id.
    #[must_use]
    pub fn new(session_id: [u8; 16]) -> Self {
        Self { session_id, tree: Tree::default(), segments: Vec::new(), open: false, scratch: Vec::new() }
    }

    pub(super) fn resume(session_id: [u8; 16], tree: Tree, segments: Vec<SegmentSummary>) -> Self {
        Self { session_id, tree, segments, open: false, scratch: Vec::new() }
    }

    /// Begins the next segment on `out` and writes its header frame.
    ///
    /// # Errors
    /// What `out` answers; `InvalidInput` while another segment is open.
    pub fn begin_segment<W: Write>(&mut self, out: W) -> io::Result<Segment<W>> {
        if self.open {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the segment before is still open"));
        }
        let header = SegmentHeader {
            format_version: FORMAT_VERSION,
            session_id: self.session_id.to_vec(),
            sequence: self.segments.len() as u64,
            first_leaf: self.tree.size(),
            previous_sha256: self.segments.last().map(|segment| segment.sha256.to_vec()).unwrap_or_default(),
        };
        let mut encoder = Encoder::new(Hashed::new(out), ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        let mut segment = Segment { encoder, sequence: header.sequence, frames: 0, uncompressed: 0 };
        segment.append(self, &Frame { body: Some(frame::Body::Segment(header)) })?;
        self.open = true;
        Ok(segment)
    }

    /// The tree's size and root.
    #[must_use]
    pub fn tree_head(&self) -> Head {
        Head { tree_size: self.tree.size(), root: self.tree.root() }
    }

    /// The tree's size and root, and the segments sealed so far.
    #[must_use]
    pub fn head(&self) -> LogHead {
        LogHead {
            session_id: self.session_id,
            tree_size: self.tree.size(),
            root: self.tree.root(),
            segments: self.segments.clone(),
        }
    }
}

/// A segment being written. Dropped without [`Segment::finish`], its object is truncated and the log cannot go on.
pub struct Segment<W: Write> {
    encoder: Encoder<'static, Hashed<W>>,
    sequence: u64,
    frames: u64,
    uncompressed: u64,
}

impl<W: Write> Segment<W> {
    /// Appends a frame and returns its leaf's index in the log.
    ///
    /// # Errors
    /// What the output answers, after which the segment is lost; `InvalidInput`, with nothing written, for a frame of
    /// more than [`FRAME_BYTES_MAX`] bytes or without a body.
    pub fn append(&mut self, log: &mut LogWriter, frame: &Frame) -> io::Result<u64> {
        if frame.body.is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame without a body"));
        }
        let mut scratch = std::mem::take(&mut log.scratch);
        scratch.clear();
        let appended = match frame.encode_length_delimited(&mut scratch) {
            Ok(()) => {
                let at = prefix_bytes(&scratch);
                self.write(log, &scratch, at)
            }
            Err(error) => Err(io::Error::new(io::ErrorKind::OutOfMemory, error)),
        };
        log.scratch = scratch;
        appended
    }

    /// Appends a frame by its protobuf bytes, unchanged: how what a run that died left is sealed again.
    ///
    /// # Errors
    /// As [`Segment::append`]. That the bytes are a frame is not checked.
    pub fn append_leaf(&mut self, log: &mut LogWriter, leaf: &[u8]) -> io::Result<u64> {
        let mut scratch = std::mem::take(&mut log.scratch);
        scratch.clear();
        prost::encoding::encode_varint(leaf.len() as u64, &mut scratch);
        let at = scratch.len();
        scratch.extend_from_slice(leaf);
        let appended = self.write(log, &scratch, at);
        log.scratch = scratch;
        appended
    }

    /// `framed` is the varint length and, from `at` on, the leaf.
    fn write(&mut self, log: &mut LogWriter, framed: &[u8], at: usize) -> io::Result<u64> {
        let leaf = framed.get(at..).unwrap_or_default();
        if leaf.len() > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame too large"));
        }
        self.encoder.write_all(framed)?;
        self.frames += 1;
        self.uncompressed += framed.len() as u64;
        Ok(log.tree.push(leaf))
    }

    /// Sends what was appended so far to the output, so that a crash leaves it readable.
    ///
    /// # Errors
    /// What the output answers.
    pub fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }

    /// Bytes of the frames so far, before compression.
    #[must_use]
    pub fn uncompressed_bytes(&self) -> u64 {
        self.uncompressed
    }

    /// Place in the log, from 0.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The output, for instance to sync a file after [`Segment::flush`].
    pub fn output(&self) -> &W {
        &self.encoder.get_ref().out
    }

    /// Seals the segment: ends the zstd stream, flushes the output, and enters the summary in the log.
    ///
    /// # Errors
    /// What the output answers.
    pub fn finish(self, log: &mut LogWriter) -> io::Result<SegmentSummary> {
        let mut hashed = self.encoder.finish()?;
        hashed.out.flush()?;
        let summary = SegmentSummary {
            sequence: self.sequence,
            sha256: hashed.sha256.finalize().into(),
            frames: self.frames,
            bytes: hashed.bytes,
        };
        log.segments.push(summary);
        log.open = false;
        Ok(summary)
    }
}

/// Bytes of the varint at the beginning.
fn prefix_bytes(framed: &[u8]) -> usize {
    framed.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1
}

/// An output whose bytes are hashed and counted as they pass.
struct Hashed<W> {
    out: W,
    sha256: Sha256,
    bytes: u64,
}

impl<W> Hashed<W> {
    fn new(out: W) -> Self {
        Self { out, sha256: Sha256::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sha256.update(bytes.get(..written).unwrap_or(bytes));
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl SegmentSummary {
    /// The name of the object in `NAME.evidence/`: its digest in lowercase hexadecimal.
    #[must_use]
    pub fn object_name(&self) -> String {
        crate::hex::encode(&self.sha256)
    }
}
