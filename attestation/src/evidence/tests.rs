//! Logs that are whole, cut, foreign and hostile.

use super::*;
use crate::merkle::{self, leaf_hash};
use proptest::prelude::*;
use prost::Message as _;
use proto::evidence::{BlindSpot, Frame, SegmentHeader, frame};
use std::io::{self, Read, Write};

const ID: [u8; 16] = [7; 16];

fn spot(detail: &str) -> Frame {
    let body = BlindSpot { code: "X".into(), detail: detail.into(), ends_completeness: false };
    Frame { body: Some(frame::Body::BlindSpot(body)) }
}

/// A log whose segments have these details, and its objects.
fn write(segments: &[&[&str]]) -> (LogWriter, Vec<Vec<u8>>) {
    let mut log = LogWriter::new(ID);
    let objects = segments.iter().map(|details| {
        let mut object = Vec::new();
        let mut segment = log.begin_segment(&mut object).unwrap();
        for detail in *details {
            segment.append(&mut log, &spot(detail)).unwrap();
        }
        segment.finish(&mut log).unwrap();
        object
    });
    let objects = objects.collect();
    (log, objects)
}

fn read_segment(log: &mut LogReader, input: impl Read) -> (Vec<Vec<u8>>, Result<(), LogError>) {
    let mut leaves = Vec::new();
    let mut segment = match log.segment(input) {
        Ok(segment) => segment,
        Err(error) => return (leaves, Err(error)),
    };
    loop {
        match segment.next_frame() {
            Ok(Some((leaf, frame))) => {
                assert_eq!(Frame::decode(leaf).unwrap(), frame);
                leaves.push(leaf.to_vec());
            }
            Ok(None) => return (leaves, Ok(())),
            Err(error) => return (leaves, Err(error)),
        }
    }
}

fn read(objects: &[Vec<u8>]) -> (LogReader, Vec<Vec<u8>>, Result<(), LogError>) {
    let (mut log, mut all) = (LogReader::new(Limits::default()), Vec::new());
    for object in objects {
        let (leaves, read) = read_segment(&mut log, object.as_slice());
        all.extend(leaves);
        if read.is_err() {
            return (log, all, read);
        }
    }
    (log, all, Ok(()))
}

/// An object of any log frames, as given.
fn object_of(frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        prost::encoding::encode_varint(frame.len() as u64, &mut bytes);
        bytes.extend_from_slice(frame);
    }
    zstd::encode_all(bytes.as_slice(), 1).unwrap()
}

fn header() -> SegmentHeader {
    SegmentHeader { format_version: 1, session_id: ID.to_vec(), sequence: 0, first_leaf: 0, previous_sha256: vec![] }
}

fn encoded(header: SegmentHeader) -> Vec<u8> {
    Frame { body: Some(frame::Body::Segment(header)) }.encode_to_vec()
}

/// What reading an object as the first segment comes to.
fn first(object: &[u8]) -> LogError {
    let (_, leaves, read) = read(&[object.to_vec()]);
    assert!(leaves.len() < 4);
    read.unwrap_err()
}

#[test]
fn what_is_written_is_read_with_the_same_head() {
    let (writer, objects) = write(&[&["a", "b"], &[], &["c"]]);
    let (reader, leaves, read) = read(&objects);
    read.unwrap();
    assert_eq!(reader.head(), writer.head());
    assert_eq!(leaves.len(), 6);
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    assert_eq!(merkle::root_of(&hashes), writer.head().root);
    assert_eq!(writer.head().segments[0].frames, 3);
    assert_eq!(writer.head().segments[2].object_name(), crate::hex::encode(&writer.head().segments[2].sha256));
}

#[test]
fn one_segment_is_open_at_a_time() {
    let mut log = LogWriter::new(ID);
    let segment = log.begin_segment(Vec::new()).unwrap();
    assert!(log.begin_segment(Vec::new()).is_err());
    segment.finish(&mut log).unwrap();
    assert!(log.begin_segment(Vec::new()).is_ok());
}

#[test]
fn a_frame_of_1_mib_is_written_and_read_and_one_byte_more_is_not() {
    let overhead = spot(&"x".repeat(1 << 20)).encoded_len() - (1 << 20);
    let largest = spot(&"x".repeat(FRAME_BYTES_MAX - overhead));
    assert_eq!(largest.encoded_len(), FRAME_BYTES_MAX);
    let (mut log, mut object) = (LogWriter::new(ID), Vec::new());
    let mut segment = log.begin_segment(&mut object).unwrap();
    segment.append(&mut log, &largest).unwrap();
    let larger = spot(&"x".repeat(FRAME_BYTES_MAX - overhead + 1));
    assert_eq!(segment.append(&mut log, &larger).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(
        segment.append_leaf(&mut log, &[0; FRAME_BYTES_MAX + 1]).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(segment.append(&mut log, &Frame { body: None }).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(segment.append(&mut log, &spot("after")).unwrap(), 2, "what was refused left no leaf");
    segment.finish(&mut log).unwrap();
    let (_, leaves, whole) = read(&[object]);
    whole.unwrap();
    assert_eq!(leaves.len(), 3);
    let hostile = object_of(&[&encoded(header()), &larger.encode_to_vec()]);
    assert!(matches!(first(&hostile), LogError::FrameTooLarge { max: FRAME_BYTES_MAX }));
}

#[test]
fn a_length_is_minimal_and_has_at_most_4_bytes() {
    let raw = |length: &[u8]| {
        let header = encoded(header());
        let bytes = [&[u8::try_from(header.len()).unwrap()], header.as_slice(), length, &[0; 8]].concat();
        zstd::encode_all(bytes.as_slice(), 1).unwrap()
    };
    for length in [&[0x81, 0][..], &[0x80, 0x80, 0x80, 0x80, 0], &[0xff; 10], &[0xff, 0xff, 0xff, 0x7f]] {
        assert!(matches!(first(&raw(length)), LogError::FrameTooLarge { .. }), "{length:?}");
    }
}

#[test]
fn a_log_one_byte_over_its_limit_is_refused() {
    let (_, objects) = write(&[&["a", "b"]]);
    let (_, leaves, _) = read(&objects);
    let bytes: usize = leaves.iter().map(Vec::len).sum();
    let with = |log_bytes_max| {
        let mut log = LogReader::new(Limits { log_bytes_max, ..Limits::default() });
        read_segment(&mut log, objects[0].as_slice()).1
    };
    assert!(with(bytes as u64).is_ok());
    assert!(matches!(with(bytes as u64 - 1), Err(LogError::LogTooLarge { .. })));
}

#[test]
fn a_window_over_8_mib_is_refused() {
    let with_window = |log: u32| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        let header = encoded(header());
        encoder.write_all(&[&[u8::try_from(header.len()).unwrap()], header.as_slice()].concat()).unwrap();
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    };
    read(&[with_window(WINDOW_LOG_MAX)]).2.unwrap();
    assert!(matches!(first(&with_window(WINDOW_LOG_MAX + 1)), LogError::NotZstd(_)));
}

#[test]
fn a_bomb_costs_no_more_than_a_frame() {
    let bomb = object_of(&[&encoded(header()), &vec![0; 900_000], &vec![0; 1 << 26]]);
    assert!(bomb.len() < 20_000);
    assert!(matches!(first(&bomb), LogError::NotProtobuf { leaf: 1, .. }));
}

#[test]
fn what_is_no_segment_is_refused() {
    assert!(matches!(first(b""), LogError::Truncated));
    assert!(matches!(first(b"{}{}{}{}"), LogError::NotZstd(_)));
    assert!(matches!(first(&object_of(&[])), LogError::NoHeader));
    assert!(matches!(first(&object_of(&[&spot("x").encode_to_vec()])), LogError::NoHeader));
    assert!(matches!(first(&object_of(&[b"\xff\xff"])), LogError::NotProtobuf { leaf: 0, .. }));
    assert!(matches!(first(&object_of(&[b""])), LogError::UnknownFrame { leaf: 0 }));
    assert!(matches!(first(&object_of(&[&encoded(header()), b"\xfa\x01\x00"])), LogError::UnknownFrame { leaf: 1 }));
    let twice = object_of(&[&encoded(header()), &encoded(header())]);
    assert!(matches!(first(&twice), LogError::SecondHeader { leaf: 1 }));
    let trailing = [object_of(&[&encoded(header())]), vec![0]].concat();
    assert!(matches!(first(&trailing), LogError::Trailing));
    let two_streams = [object_of(&[&encoded(header())]), object_of(&[])].concat();
    assert!(matches!(first(&two_streams), LogError::Trailing));
}

#[test]
fn after_an_error_nothing_more_comes() {
    let (header, good) = (encoded(header()), spot("good").encode_to_vec());
    for bad in [b"\xff\xff".as_slice(), b"", &header] {
        let object = object_of(&[&header, &good, bad, &good, &good]);
        let mut log = LogReader::new(Limits::default());
        let mut segment = log.segment(object.as_slice()).unwrap();
        for _ in 0..2 {
            assert!(matches!(segment.next_frame(), Ok(Some(_))));
        }
        assert!(!matches!(segment.next_frame(), Ok(_) | Err(LogError::Unfinished)));
        for _ in 0..3 {
            assert!(matches!(segment.next_frame(), Err(LogError::Unfinished)));
        }
        assert_eq!(segment.head().tree_size, 2);
    }
}

#[test]
fn a_header_that_is_not_the_next_is_refused() {
    let with = |bend: fn(&mut SegmentHeader)| {
        let mut header = header();
        bend(&mut header);
        first(&object_of(&[&encoded(header)]))
    };
    assert!(matches!(with(|header| header.format_version = 2), LogError::Version(2)));
    assert!(matches!(with(|header| header.session_id = vec![7; 15]), LogError::Session));
    assert!(matches!(with(|header| header.sequence = 1), LogError::Sequence { expected: 0, found: 1 }));
    assert!(matches!(with(|header| header.first_leaf = 1), LogError::FirstLeaf { expected: 0, found: 1 }));
    assert!(matches!(with(|header| header.previous_sha256 = vec![0; 32]), LogError::Previous));
}

#[test]
fn segments_in_another_order_or_of_another_log_are_refused() {
    let (_, objects) = write(&[&["a"], &["b"], &["c"]]);
    let (_, others) = write(&[&["A"], &["B"]]);
    let skipped = [objects[0].clone(), objects[2].clone()];
    assert!(matches!(read(&skipped).2, Err(LogError::Sequence { expected: 1, found: 2 })));
    let mixed = [objects[0].clone(), others[1].clone()];
    assert!(matches!(read(&mixed).2, Err(LogError::Previous)));
    let mut foreign = LogWriter::new([8; 16]);
    let mut object = Vec::new();
    foreign.begin_segment(&mut object).unwrap().finish(&mut foreign).unwrap();
    let (mut log, _, whole) = read(&objects);
    whole.unwrap();
    assert!(matches!(log.segment(object.as_slice()).map(drop), Err(LogError::Session)));
}

#[test]
fn a_flushed_segment_gives_its_whole_frames_and_then_says_truncated() {
    let (mut log, mut object) = (LogWriter::new(ID), Vec::new());
    let mut segment = log.begin_segment(&mut object).unwrap();
    segment.append(&mut log, &spot("before")).unwrap();
    segment.flush().unwrap();
    let flushed = segment.output().len();
    assert_eq!(segment.uncompressed_bytes() > 30, segment.sequence() == 0);
    segment.append(&mut log, &spot("after, and long enough to be cut in the middle")).unwrap();
    segment.finish(&mut log).unwrap();
    for cut in flushed..object.len() {
        let (reader, leaves, whole) = read(&[object[..cut].to_vec()]);
        assert!(matches!(whole, Err(LogError::Truncated)), "{cut}");
        assert!(leaves.len() >= 2 && reader.head().segments.is_empty());
        assert_eq!(reader.head().tree_size, leaves.len() as u64);
    }
}

#[test]
fn every_cut_of_a_segment_is_told() {
    let (_, objects) = write(&[&["a", "b", "c"]]);
    for cut in 0..objects[0].len() {
        let (_, _, whole) = read(&[objects[0][..cut].to_vec()]);
        assert!(matches!(whole, Err(LogError::Truncated)), "{cut}");
    }
}

#[test]
fn what_a_dead_run_left_can_be_sealed_again() {
    let (whole, objects) = write(&[&["a"], &["b", "c"]]);
    let mut log = LogReader::new(Limits::default());
    read_segment(&mut log, objects[0].as_slice()).1.unwrap();
    let mut writer = log.writer().unwrap();
    let mut sealed = Vec::new();
    let mut again = writer.begin_segment(&mut sealed).unwrap();
    let mut cut = log.segment(objects[1].as_slice()).unwrap();
    cut.next_frame().unwrap();
    while let Ok(Some((leaf, _))) = cut.next_frame() {
        again.append_leaf(&mut writer, leaf).unwrap();
    }
    again.finish(&mut writer).unwrap();
    assert_eq!(writer.head(), whole.head());
    assert_eq!(sealed, objects[1]);
}

#[test]
fn a_log_goes_on_only_after_a_whole_segment() {
    let (_, objects) = write(&[&["a"]]);
    assert!(matches!(LogReader::new(Limits::default()).writer(), Err(LogError::NoHeader)));
    let mut log = LogReader::new(Limits::default());
    drop(log.segment(objects[0].as_slice()).unwrap());
    assert!(matches!(log.writer(), Err(LogError::Unfinished)));
    assert!(matches!(log.segment(objects[0].as_slice()).map(drop), Err(LogError::Unfinished)));
}

#[test]
fn an_input_that_fails_is_no_verdict_over_the_log() {
    struct Failing<'a>(&'a [u8]);
    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => Ok(read),
            }
        }
    }
    let (_, objects) = write(&[&["a"]]);
    for cut in [0, 10, objects[0].len()] {
        let mut log = LogReader::new(Limits::default());
        let (_, read) = read_segment(&mut log, Failing(&objects[0][..cut]));
        assert!(matches!(read, Err(LogError::Io(_))), "{cut}");
    }
}

#[test]
fn an_output_that_fails_says_so() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut log = LogWriter::new(ID);
    let mut segment = log.begin_segment(Full).unwrap();
    segment.append(&mut log, &spot("a")).unwrap();
    assert_eq!(segment.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(log.begin_segment(Vec::new()).is_err(), "a log does not go on after a segment was lost");
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(std::slice::from_ref(&bytes)).2.is_err());
        prop_assert!(super::header(bytes.as_slice(), Limits::default()).is_err());
        let (_, leaves, _) = read(&[object_of(&[&encoded(header()), &bytes])]);
        prop_assert!(leaves.len() <= 2);
    }

    #[test]
    fn any_frames_round_trip(details in proptest::collection::vec(".{0,40}", 0..20)) {
        let details: Vec<&str> = details.iter().map(String::as_str).collect();
        let (writer, objects) = write(&[&details, &details]);
        let (reader, leaves, whole) = read(&objects);
        prop_assert!(whole.is_ok());
        prop_assert_eq!(leaves.len(), 2 * details.len() + 2);
        prop_assert_eq!(reader.head(), writer.head());
    }
}
