//! What holds of an evidence log for any bytes: as objects of a store, as the frames that an object holds decompressed, and as
//! messages that a writer made a log of.
//!
//! What is read has the one form of frames, is within the limits, and is the same whether it comes at once or byte by byte; the
//! tree is the one over its leaves. Its fold is the same each time, and the statement over it is one that a reader takes.

use attestation::dsse;
use attestation::evidence::{Limits, LogError, LogHead, LogReader, LogWriter, SegmentSummary, describe, header};
use attestation::merkle::{Hash, leaf_hash, root_of};
use attestation::statement::{self, Meta};
use attestation::synthetic::{self, SESSION_ID};
use attestation::trace::{Builder, Trace};
use attestation::verify::{Objects, Options, verify};
use prost::Message as _;
use proto::evidence::{Frame, frame};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// The first byte of an input that is the frames of one object, which only must be compressed.
pub const STREAM: u8 = 0;
/// The first byte of an input that is messages, each with its length in two bytes.
pub const MESSAGES: u8 = 1;
/// The same, signed and verified as well.
pub const SIGNED: u8 = 2;
/// What a fuzzer's reader takes: small, so that a limit is reached by few bytes.
pub const LIMITS: Limits = Limits { frame_bytes_max: 32 << 10, log_bytes_max: 256 << 10, window_log_max: 20 };
/// Bytes of facts that a fuzzer's fold may take.
pub const STATE_BYTES_MAX: usize = 1 << 20;
/// What a zstd frame begins with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether a log came of the bytes that has a trace.
pub fn hold(input: &[u8]) -> bool {
    match input.split_first() {
        Some((&MESSAGES, rest)) => messages(rest, false),
        Some((&SIGNED, rest)) => messages(rest, true),
        _ => read_and_fold(&objects(input)),
    }
}

/// The objects of an input.
pub fn objects(input: &[u8]) -> Vec<Vec<u8>> {
    match input.split_first() {
        Some((&STREAM, stream)) => vec![zstd::bulk::compress(stream, 1).expect("memory takes everything")],
        _ => {
            let next = |at: &usize| *at == 0 || input[*at..].starts_with(&MAGIC);
            let begins: Vec<usize> = (0..input.len()).filter(next).chain([input.len()]).collect();
            begins.windows(2).map(|range| input[range[0]..range[1]].to_vec()).collect()
        }
    }
}

/// A log that was read as far as it went.
struct Log {
    frames: Vec<(Vec<u8>, Frame)>,
    head: LogHead,
    ended: Option<LogError>,
}

fn read<R: Read>(objects: impl Iterator<Item = R>) -> Log {
    let (mut log, mut frames) = (LogReader::new(LIMITS), Vec::new());
    let ended = objects.map(|object| read_object(&mut log, object, &mut frames)).find_map(Result::err);
    assert_eq!(log.writer().is_ok(), ended.is_none() && !frames.is_empty(), "a log goes on after what is whole");
    Log { frames, head: log.head(), ended }
}

fn read_object(log: &mut LogReader, object: impl Read, frames: &mut Vec<(Vec<u8>, Frame)>) -> Result<(), LogError> {
    let mut segment = log.segment(object)?;
    loop {
        match segment.next_frame() {
            Ok(Some((leaf, frame))) => frames.push((leaf.to_vec(), frame)),
            Ok(None) => {
                assert!(matches!(segment.next_frame(), Ok(None)), "more comes after the end");
                return Ok(());
            }
            Err(error) => {
                assert!(!matches!(segment.next_frame(), Ok(Some(_))), "more comes after an error: {error}");
                return Err(error);
            }
        }
    }
}

fn read_and_fold(objects: &[Vec<u8>]) -> bool {
    let log = read(objects.iter().map(Vec::as_slice));
    check_frames(&log, objects);
    check_same(&log, &read(objects.iter().map(|object| Dribble(object))));
    let Some(trace) = fold(&log.frames) else {
        return false;
    };
    check_statement(&trace, &fold(&log.frames).expect("it was folded"), &log.head);
    true
}

/// Reading does not depend on how the bytes come. Of a damaged zstd stream the decoder may give more or less before it says so.
fn check_same(log: &Log, slow: &Log) {
    let is_damaged = |log: &Log| matches!(log.ended, Some(LogError::NotZstd(_)));
    if is_damaged(log) || is_damaged(slow) {
        assert!(log.ended.is_some() && slow.ended.is_some(), "a damaged stream is read to its end");
        let both = log.frames.len().min(slow.frames.len());
        assert_eq!(log.frames[..both], slow.frames[..both], "frames byte by byte");
        return;
    }
    assert_eq!(log.frames, slow.frames, "frames byte by byte");
    assert_eq!(log.head, slow.head, "the head, byte by byte");
    assert_eq!(format!("{:?}", log.ended), format!("{:?}", slow.ended), "the end, byte by byte");
}

fn check_frames(log: &Log, objects: &[Vec<u8>]) {
    let Log { frames, head, ended } = log;
    let mut bytes = 0;
    for (leaf, frame) in frames {
        assert!(frame.body.is_some() && frame.encode_to_vec() == *leaf, "a frame that is not in its one form");
        assert!(leaf.len() <= LIMITS.frame_bytes_max, "a frame of {} bytes", leaf.len());
        assert!(!describe(frame).chars().any(char::is_control), "{:?}", describe(frame));
        bytes += leaf.len() as u64;
    }
    assert!(bytes <= LIMITS.log_bytes_max, "a log of {bytes} bytes");
    let leaves: Vec<Hash> = frames.iter().map(|(leaf, _)| leaf_hash(leaf)).collect();
    assert_eq!((head.tree_size, head.root), (leaves.len() as u64, root_of(&leaves)), "the tree");
    assert!(ended.is_some() || head.segments.len() == objects.len(), "an object is no segment");
    let mut first = 0;
    for ((sequence, segment), object) in (0..).zip(&head.segments).zip(objects) {
        let (sha256, object_bytes) = (Sha256::digest(object).into(), object.len() as u64);
        assert_eq!(*segment, SegmentSummary { sequence, sha256, frames: segment.frames, bytes: object_bytes });
        let Some(frame::Body::Segment(opening)) = &frames[first].1.body else { panic!("a segment without a header") };
        assert_eq!(header(object.as_slice(), LIMITS).as_ref().ok(), Some(opening), "the header by itself");
        first += usize::try_from(segment.frames).expect("they were read");
        assert!(first <= frames.len(), "more frames than were read");
    }
    assert!(ended.is_some() || first == frames.len(), "frames outside the segments");
}

/// The trace of these frames, if a session was opened.
pub fn fold(frames: &[(Vec<u8>, Frame)]) -> Option<Trace> {
    let mut builder = Builder::with_limit(STATE_BYTES_MAX);
    let refused = frames.iter().filter(|(_, frame)| builder.push(frame).is_err()).count();
    let trace = builder.finish().ok()?;
    assert!(refused == 0 || !trace.complete(), "a frame was left out of a complete trace");
    assert!(!trace.complete() || (trace.lossless() && trace.gaps().is_empty()), "complete, with gaps");
    Some(trace)
}

fn payload(trace: &Trace, head: &LogHead, meta: &Meta) -> Vec<u8> {
    let mut payload = Vec::new();
    statement::write(&mut payload, trace, head, meta).expect("memory takes everything");
    payload
}

fn check_statement(trace: &Trace, again: &Trace, head: &LogHead) {
    let meta = Meta { signer: "signer".into(), number: Some(u64::MAX), previous: Some([7; 32]), ..Meta::default() };
    let payload = payload(trace, head, &meta);
    assert!(payload == self::payload(again, head, &meta), "two folds of one log give two statements");
    if head.segments.is_empty() {
        return;
    }
    let claims = statement::read(&payload).unwrap_or_else(|error| {
        panic!("{error:?} in {}", String::from_utf8_lossy(&payload));
    });
    assert_eq!((&claims.log, &claims.meta), (head, &meta), "what the statement says of its log");
    assert_eq!((claims.complete, claims.lossless), (trace.complete(), trace.lossless()));
    assert_eq!((claims.digest_classes, claims.counted_classes), (trace.class_counts(), trace.class_counts()));
    assert_eq!((claims.gaps.len(), claims.blind_spots.len()), (trace.gaps().len(), trace.blind_spots().len()));
}

/// Messages that decode make a log, in which a message of a header stands for the begin of a segment. All of it is read again.
fn messages(input: &[u8], signed: bool) -> bool {
    let frames = decoded(input);
    let (objects, head) = write(&frames);
    let log = read(objects.iter().map(Vec::as_slice));
    if let Some(error) = log.ended {
        assert!(
            matches!(error, LogError::FrameTooLarge { .. } | LogError::LogTooLarge { .. }),
            "a log that was written is not read: {error:?}"
        );
        return false;
    }
    assert_eq!(log.head, head, "the writer's head");
    let is_header = |frame: &Frame| matches!(frame.body, Some(frame::Body::Segment(_)));
    let read: Vec<&Frame> = log.frames.iter().map(|(_, frame)| frame).filter(|frame| !is_header(frame)).collect();
    let written: Vec<&Frame> = frames.iter().filter(|frame| !is_header(frame)).collect();
    assert_eq!(read, written, "the frames that were written");
    if !signed {
        return read_and_fold(&objects);
    }
    let Some(trace) = fold(&log.frames) else {
        return false;
    };
    check_verified(&trace, &head, objects, input.len());
    true
}

fn decoded(mut input: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk::<2>() {
        let (message, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
        frames.extend(Frame::decode(message).ok().filter(|frame| frame.body.is_some()));
        input = rest;
    }
    frames
}

fn write(frames: &[Frame]) -> (Vec<Vec<u8>>, LogHead) {
    let (mut writer, mut objects) = (LogWriter::new(SESSION_ID), Vec::new());
    let is_header = |frame: &Frame| matches!(frame.body, Some(frame::Body::Segment(_)));
    for part in frames.split(is_header) {
        let mut object = Vec::new();
        let mut segment = writer.begin_segment(&mut object).expect("memory takes everything");
        for frame in part {
            segment.append(&mut writer, frame).expect("a frame within the limit");
        }
        segment.finish(&mut writer).expect("memory takes everything");
        objects.push(object);
    }
    (objects, writer.head())
}

/// Signed and verified with its log, a statement is refused for nothing but incompleteness; with one bit of its log changed,
/// it is refused.
fn check_verified(trace: &Trace, head: &LogHead, mut objects: Vec<Vec<u8>>, bent: usize) {
    let key = synthetic::key().expect("the bytes are a key");
    let meta = Meta { signer: key.public().keyid().to_owned(), ..Meta::default() };
    let payload = payload(trace, head, &meta);
    let mut envelope = Vec::new();
    dsse::write_envelope(&mut envelope, |out| out.write_all(&payload), &[&key]).expect("memory takes everything");
    let keys = [key.public().clone()];
    let verdict = |objects: &[Vec<u8>], accept_incomplete| {
        let stored = head.segments.iter().map(|segment| segment.sha256).zip(objects.iter().cloned());
        let store = Store(stored.collect());
        let evidence = Some(&store as &dyn Objects);
        verify(envelope.as_slice(), &Options { evidence, accept_incomplete, limits: LIMITS, ..Options::by_keys(&keys) })
    };
    let whole = verdict(&objects, true);
    assert_eq!(
        (whole.exit_code(), whole.recomputed, whole.complete),
        (0, !gave_up(trace), trace.complete()),
        "{whole:#?}"
    );
    assert_eq!(verdict(&objects, false).exit_code(), u8::from(!trace.complete()));
    let object = bent % objects.len();
    let object = &mut objects[object];
    let byte = bent % object.len();
    object[byte] ^= 1 << (bent % 8);
    assert_eq!(verdict(&objects, true).exit_code(), 1, "a changed log is accepted");
}

fn gave_up(trace: &Trace) -> bool {
    trace.gaps().iter().any(|gap| gap.code == attestation::codes::TRACE_TOO_LARGE)
}

/// Evidence in memory.
struct Store(BTreeMap<Hash, Vec<u8>>);

impl Objects for Store {
    fn open(&self, sha256: &Hash) -> io::Result<Box<dyn Read + '_>> {
        match self.0.get(sha256) {
            Some(object) => Ok(Box::new(object.as_slice())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// An input that comes byte by byte.
struct Dribble<'a>(&'a [u8]);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = buffer.len().min(1).min(self.0.len());
        let (read, rest) = self.0.split_at(bytes);
        buffer[..bytes].copy_from_slice(read);
        self.0 = rest;
        Ok(bytes)
    }
}
