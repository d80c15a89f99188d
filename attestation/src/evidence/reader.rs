//! Reading a log back: segment by segment, frame by frame, in bounded memory, with the tree and the objects' digests
//! recomputed on the way. Nothing is taken on trust: whatever the bytes are, the answer is a frame or a typed error.

use super::{FORMAT_VERSION, FRAME_BYTES_MAX, LogHead, SegmentSummary, WINDOW_LOG_MAX};
use crate::merkle::{Hash, Tree};
use prost::Message as _;
use proto::evidence::{Frame, SegmentHeader, frame};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, BufReader, Read};
use thiserror::Error;
use zstd::stream::read::Decoder;

/// What a reader is willing to take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one frame.
    pub frame_bytes_max: usize,
    /// Bytes of all frames of a log, uncompressed.
    pub log_bytes_max: u64,
    /// zstd window, as a power of two.
    pub window_log_max: u32,
}

impl Default for Limits {
    /// 1 MiB a frame, 64 GiB a log, a window of 8 MiB.
    fn default() -> Self {
        Self { frame_bytes_max: FRAME_BYTES_MAX, log_bytes_max: 1 << 36, window_log_max: WINDOW_LOG_MAX }
    }
}

/// Why a log could not be read on.
#[derive(Debug, Error)]
pub enum LogError {
    /// The input itself failed: nothing is said about the log.
    #[error("the segment could not be read")]
    Io(#[source] io::Error),
    /// The object ends in the middle: a run that died, or a cut file. All whole frames came before.
    #[error("the segment is truncated")]
    Truncated,
    /// The bytes are no zstd stream, or a damaged one, or one with too large a window.
    #[error("the segment is no intact zstd stream")]
    NotZstd(#[source] io::Error),
    /// Something follows the zstd stream.
    #[error("bytes follow the segment's zstd stream")]
    Trailing,
    /// A frame is longer than [`Limits::frame_bytes_max`], or its length is no minimal varint.
    #[error("a frame's length is over the limit of {max} bytes, or malformed")]
    FrameTooLarge {
        /// The limit.
        max: usize,
    },
    /// The frames are more than [`Limits::log_bytes_max`].
    #[error("the log is over the limit of {max} bytes")]
    LogTooLarge {
        /// The limit.
        max: u64,
    },
    /// A frame's bytes are no protobuf `Frame`.
    #[error("leaf {leaf} is no frame")]
    NotProtobuf {
        /// Index of the leaf.
        leaf: u64,
        /// What the decoder says.
        #[source]
        source: prost::DecodeError,
    },
    /// A frame without a body that this version knows.
    #[error("leaf {leaf} has no body that format version 1 knows")]
    UnknownFrame {
        /// Index of the leaf.
        leaf: u64,
    },
    /// A frame has fields that this version does not know, or is not written in the one form of protobuf.
    #[error("leaf {leaf} is not in its one form")]
    NotCanonical {
        /// Index of the leaf.
        leaf: u64,
    },
    /// The segment does not begin with a header.
    #[error("the segment does not begin with a header")]
    NoHeader,
    /// A header where none may be.
    #[error("leaf {leaf} is a second header in its segment")]
    SecondHeader {
        /// Index of the leaf.
        leaf: u64,
    },
    /// Another version of the format.
    #[error("format version {0} is not known")]
    Version(u32),
    /// The segment is of another session.
    #[error("the segment is of another session")]
    Session,
    /// The segment is not the next one.
    #[error("segment {found} stands where {expected} should")]
    Sequence {
        /// The next sequence number.
        expected: u64,
        /// What the header says.
        found: u64,
    },
    /// The header's first leaf is not the log's next.
    #[error("the segment begins at leaf {found}, not {expected}")]
    FirstLeaf {
        /// Leaves so far.
        expected: u64,
        /// What the header says.
        found: u64,
    },
    /// The header does not name the object before.
    #[error("the segment does not follow the object before it")]
    Previous,
    /// The segment before this one, or what went before in this one, could not be read to its end.
    #[error("a segment was not read to its end")]
    Unfinished,
}

/// The state of reading a log: tree, sealed segments, what comes next.
#[derive(Debug, Clone)]
pub struct LogReader {
    limits: Limits,
    session_id: Option<[u8; 16]>,
    tree: Tree,
    segments: Vec<SegmentSummary>,
    bytes: u64,
    unfinished: bool,
}

impl LogReader {
    /// Nothing read yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, session_id: None, tree: Tree::default(), segments: Vec::new(), bytes: 0, unfinished: false }
    }

    /// Begins the next segment: reads and checks its header. The header is a frame too and is the first that
    /// [`SegmentReader::next_frame`] returns.
    ///
    /// # Errors
    /// Why the input is not the next segment of this log.
    pub fn segment<R: Read>(&mut self, input: R) -> Result<SegmentReader<'_, R>, LogError> {
        if self.unfinished {
            return Err(LogError::Unfinished);
        }
        let mut segment = self.reader(input)?;
        let header = segment.read_header()?;
        segment.first = Some(header);
        Ok(segment)
    }

    fn reader<R: Read>(&mut self, input: R) -> Result<SegmentReader<'_, R>, LogError> {
        let tracked = Tracked { input, sha256: Sha256::new(), bytes: 0, failed: false };
        let mut decoder = Decoder::new(tracked).map_err(LogError::Io)?.single_frame();
        decoder.window_log_max(self.limits.window_log_max).map_err(LogError::Io)?;
        self.unfinished = true;
        let frames = BufReader::with_capacity(1 << 16, decoder);
        Ok(SegmentReader {
            log: self,
            frames,
            leaf: Vec::new(),
            again: Vec::new(),
            first: None,
            count: 0,
            failed: false,
        })
    }

    /// Tree and segments so far. After [`LogError::Truncated`] the tree has all whole frames, while the truncated
    /// segment is not among the segments.
    #[must_use]
    pub fn head(&self) -> LogHead {
        LogHead {
            session_id: self.session_id.unwrap_or_default(),
            tree_size: self.tree.size(),
            root: self.tree.root(),
            segments: self.segments.clone(),
        }
    }

    /// A writer that goes on after the segments sealed so far: how what a run that died left is sealed.
    ///
    /// # Errors
    /// [`LogError::Unfinished`] in the middle of a segment; [`LogError::NoHeader`] if nothing was read.
    pub fn writer(&self) -> Result<super::LogWriter, LogError> {
        if self.unfinished {
            return Err(LogError::Unfinished);
        }
        let session_id = self.session_id.ok_or(LogError::NoHeader)?;
        Ok(super::LogWriter::resume(session_id, self.tree.clone(), self.segments.clone()))
    }

    fn check_header(&mut self, header: &SegmentHeader) -> Result<(), LogError> {
        if header.format_version != FORMAT_VERSION {
            return Err(LogError::Version(header.format_version));
        }
        let session: [u8; 16] = header.session_id.as_slice().try_into().map_err(|_| LogError::Session)?;
        if *self.session_id.get_or_insert(session) != session {
            return Err(LogError::Session);
        }
        let (expected, found) = (self.segments.len() as u64, header.sequence);
        if expected != found {
            return Err(LogError::Sequence { expected, found });
        }
        let (expected, found) = (self.tree.size(), header.first_leaf);
        if expected != found {
            return Err(LogError::FirstLeaf { expected, found });
        }
        let previous: &[u8] = self.segments.last().map_or(&[], |segment| &segment.sha256);
        if header.previous_sha256 == previous { Ok(()) } else { Err(LogError::Previous) }
    }
}

/// The header of an object, whatever its place in the log: what gives a log without a statement its order.
///
/// # Errors
/// Why the object does not begin with one. Session, sequence and the rest are not checked.
pub fn header<R: Read>(input: R, limits: Limits) -> Result<SegmentHeader, LogError> {
    let mut log = LogReader::new(limits);
    let mut segment = log.reader(input)?;
    match segment.first_frame()?.body {
        Some(frame::Body::Segment(header)) => Ok(header),
        _ => Err(LogError::NoHeader),
    }
}

type Frames<R> = BufReader<Decoder<'static, BufReader<Tracked<R>>>>;

/// One segment of a log, frame by frame.
pub struct SegmentReader<'a, R: Read> {
    log: &'a mut LogReader,
    frames: Frames<R>,
    leaf: Vec<u8>,
    /// The leaf as it must be written.
    again: Vec<u8>,
    /// The header, until it was returned.
    first: Option<Frame>,
    count: u64,
    /// An error was returned.
    failed: bool,
}

impl<R: Read> SegmentReader<'_, R> {
    /// The next frame with the bytes of its leaf; `None` at the end of an intact segment, which is thereby sealed in the
    /// log. After an error nothing more comes.
    ///
    /// # Errors
    /// [`LogError::Truncated`] after the last whole frame of a segment that was cut; else why it cannot be read on.
    /// [`LogError::Unfinished`] ever after.
    pub fn next_frame(&mut self) -> Result<Option<(&[u8], Frame)>, LogError> {
        if self.failed {
            return Err(LogError::Unfinished);
        }
        let next = self.advance();
        self.failed = next.is_err();
        Ok(next?.map(|frame| (self.leaf.as_slice(), frame)))
    }

    fn advance(&mut self) -> Result<Option<Frame>, LogError> {
        if let Some(header) = self.first.take() {
            return Ok(Some(header));
        }
        if !self.log.unfinished {
            return Ok(None);
        }
        let Some(frame) = self.read_frame()? else {
            self.seal()?;
            return Ok(None);
        };
        if matches!(frame.body, Some(frame::Body::Segment(_))) {
            return Err(LogError::SecondHeader { leaf: self.log.tree.size() });
        }
        self.enter();
        Ok(Some(frame))
    }

    /// What the log's tree and sealed segments are so far.
    #[must_use]
    pub fn head(&self) -> LogHead {
        self.log.head()
    }

    /// The log's tree so far, with the frame that came last.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.log.tree
    }

    fn read_header(&mut self) -> Result<Frame, LogError> {
        let frame = self.first_frame()?;
        let Some(frame::Body::Segment(header)) = &frame.body else {
            return Err(LogError::NoHeader);
        };
        self.log.check_header(header)?;
        self.enter();
        Ok(frame)
    }

    fn first_frame(&mut self) -> Result<Frame, LogError> {
        if let Some(frame) = self.read_frame()? {
            return Ok(frame);
        }
        // An object of no bytes is one that a crash left.
        let empty = self.frames.get_ref().get_ref().get_ref().bytes == 0;
        Err(if empty { LogError::Truncated } else { LogError::NoHeader })
    }

    fn enter(&mut self) {
        self.log.tree.push(&self.leaf);
        self.count += 1;
    }

    /// Reads a length and that many bytes into `leaf`, and decodes them.
    fn read_frame(&mut self) -> Result<Option<Frame>, LogError> {
        let Some(length) = self.read_length()? else {
            return Ok(None);
        };
        self.log.bytes = self.log.bytes.saturating_add(length as u64);
        let max = self.log.limits.log_bytes_max;
        if self.log.bytes > max {
            return Err(LogError::LogTooLarge { max });
        }
        self.leaf.resize(length, 0);
        let read = self.frames.read_exact(&mut self.leaf);
        read.map_err(|error| self.explain(error))?;
        let leaf = self.log.tree.size();
        let frame = Frame::decode(self.leaf.as_slice()).map_err(|source| LogError::NotProtobuf { leaf, source })?;
        if frame.body.is_none() {
            return Err(LogError::UnknownFrame { leaf });
        }
        self.again.clear();
        if frame.encode(&mut self.again).is_err() || self.again != self.leaf {
            return Err(LogError::NotCanonical { leaf });
        }
        Ok(Some(frame))
    }

    /// A minimal varint; `None` at the end of the stream.
    fn read_length(&mut self) -> Result<Option<usize>, LogError> {
        let max = self.log.limits.frame_bytes_max;
        let mut length = 0usize;
        for shift in [0, 7, 14, 21] {
            let byte = match self.next_byte()? {
                Some(byte) => byte,
                None if shift == 0 => return Ok(None),
                None => return Err(LogError::Truncated),
            };
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let minimal = shift == 0 || byte != 0;
                return if minimal && length <= max { Ok(Some(length)) } else { Err(LogError::FrameTooLarge { max }) };
            }
        }
        Err(LogError::FrameTooLarge { max })
    }

    fn next_byte(&mut self) -> Result<Option<u8>, LogError> {
        let byte = match self.frames.fill_buf() {
            Ok(buffer) => buffer.first().copied(),
            Err(error) => return Err(self.explain(error)),
        };
        if byte.is_some() {
            self.frames.consume(1);
        }
        Ok(byte)
    }

    /// The decoder reports its own errors and its input's alike; the input knows which were its own.
    fn explain(&self, error: io::Error) -> LogError {
        let input = self.frames.get_ref().get_ref().get_ref();
        match error.kind() {
            _ if input.failed => LogError::Io(error),
            io::ErrorKind::UnexpectedEof => LogError::Truncated,
            _ => LogError::NotZstd(error),
        }
    }

    /// The end of the zstd stream must be the end of the object.
    fn seal(&mut self) -> Result<(), LogError> {
        let input = self.frames.get_mut().get_mut();
        if !input.fill_buf().map_err(LogError::Io)?.is_empty() {
            return Err(LogError::Trailing);
        }
        let input = input.get_ref();
        let sha256: Hash = input.sha256.clone().finalize().into();
        let sequence = self.log.segments.len() as u64;
        self.log.segments.push(SegmentSummary { sequence, sha256, frames: self.count, bytes: input.bytes });
        self.log.unfinished = false;
        Ok(())
    }
}

/// An input whose bytes are hashed and counted as they pass, and that remembers whether it failed itself.
struct Tracked<R> {
    input: R,
    sha256: Sha256,
    bytes: u64,
    failed: bool,
}

impl<R: Read> Read for Tracked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(buffer) {
                Ok(read) => {
                    self.sha256.update(buffer.get(..read).unwrap_or_default());
                    self.bytes += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
    }
}
