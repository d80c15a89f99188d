//! The size that the product promises: 1,000,000 events, 200,000 pairs of process and file, 100,000 files, in far less
//! than 100 MB, and the statement streamed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "the crate is pure, the kernel's measure of memory is a file")]

use attestation::evidence::{Limits, LogReader, LogWriter};
use attestation::statement::{self, Meta};
use attestation::synthetic::{self, SESSION_ID, Session};
use attestation::trace::Builder;
use proto::evidence as log;
use proto::evidence::{Frame, event, frame};
use std::io::{self, Write};

const EVENTS: u64 = 1_000_000;
const PAIRS: u64 = 200_000;
const FILES: u64 = 100_000;
const MEMORY_BYTES_MAX: u64 = 100 << 20;

/// Peak resident memory of this process.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Event n: the first PAIRS are of other pairs, the rest repeat them.
fn event_frame(n: u64) -> Frame {
    let pair = n % PAIRS;
    let (id, pid) = (pair % FILES + 1, 2000 + u32::try_from(pair / FILES).unwrap());
    let path = format!("/usr/lib/gcc/x86_64-linux-gnu/12/include/a/rather/long/path/of/a/header-{id}.h");
    let file = (n < FILES).then(|| synthetic::file(id, path.as_bytes()));
    let body = event::Body::Open(log::Open { file_id: id, file, access: 1, fd: 3 });
    let event =
        log::Event { hook: 4, cpu: 0, epoch: 0, number: n, boottime_ns: n, pid, tid: pid, flags: 0, body: Some(body) };
    Frame { body: Some(frame::Body::Event(event)) }
}

fn digest_frame(id: u64) -> Frame {
    let sha256 = synthetic::content(&id.to_le_bytes());
    let digest = log::ContentDigest { file_id: id, class: 2, sha256, ..log::ContentDigest::default() };
    Frame { body: Some(frame::Body::Digest(digest)) }
}

fn write_log() -> Vec<u8> {
    let mut session = Session::open();
    session.fork(synthetic::ROOT, 2000);
    session.fork(synthetic::ROOT, 2001);
    let (mut writer, mut object) = (LogWriter::new(SESSION_ID), Vec::new());
    let mut segment = writer.begin_segment(&mut object).unwrap();
    let frames = session.frames.into_iter().chain((0..EVENTS).map(event_frame)).chain((1..=FILES).map(digest_frame));
    for frame in frames {
        segment.append(&mut writer, &frame).unwrap();
    }
    segment.finish(&mut writer).unwrap();
    object
}

struct Counting(u64);

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_million_events_are_folded_and_stated_in_bounded_memory() {
    let object = write_log();
    let before = peak_bytes();
    let (mut log, mut builder) = (LogReader::new(Limits::default()), Builder::default());
    let mut segment = log.segment(object.as_slice()).unwrap();
    while let Some((_, frame)) = segment.next_frame().unwrap() {
        builder.push(&frame).unwrap();
    }
    let trace = builder.finish().unwrap();
    let mut out = Counting(0);
    statement::write(&mut out, &trace, &log.head(), &Meta::default()).unwrap();
    let taken = peak_bytes() - before;
    assert_eq!(trace.files().count() as u64, FILES);
    assert_eq!(trace.files().map(|file| file.processes().len() as u64).sum::<u64>(), PAIRS);
    assert_eq!(trace.files().map(|file| file.accesses).sum::<u64>(), EVENTS);
    assert!(out.0 > FILES * 200, "{} bytes of statement", out.0);
    println!("{taken} bytes of memory, {} bytes of statement", out.0);
    assert!(taken < MEMORY_BYTES_MAX, "{taken} bytes");
}
