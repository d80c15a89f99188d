//! The checks on the log itself, and the survey of a log that has no statement.

use super::checks::{chain, not_claimed, proven, refused};
use super::platform::Heads;
use super::{Check, Objects, Verdict};
use crate::codes;
use crate::evidence::{Limits, LogError, LogHead, LogReader, SegmentSummary};
use crate::hex;
use crate::merkle::Hash;
use crate::statement::Claims;
use crate::trace::{Builder, Finding, Trace};
use sha2::{Digest, Sha256};
use std::io::{self, Read};

const NAME: &str = "log";
const OPEN: &str = "That the frames are true, or that frames were not left out before it was signed.";

/// Reads every segment that the statement names; the trace, if all of them are what it says.
pub(super) fn log(
    objects: &dyn Objects,
    claims: &Claims,
    limits: Limits,
    heads: &mut Heads,
    checks: &mut Vec<Check>,
) -> Option<Trace> {
    let mut log = LogReader::new(limits);
    let mut builder = Builder::default();
    for segment in &claims.log.segments {
        if let Err(check) = read_segment(objects, segment, &mut log, &mut builder, heads) {
            checks.push(check);
            return None;
        }
    }
    let head = log.head();
    checks.push(compare_heads(&head, &claims.log));
    if head != claims.log {
        return None;
    }
    match builder.finish() {
        Ok(trace)
            if trace.gaps().iter().any(|gap| gap.code == codes::TRACE_TOO_LARGE) && !super::gave_up(&claims.gaps) =>
        {
            let says = "the log is beyond what this verifier folds, and its statement does not say so".to_owned();
            checks.push(refused("trace", codes::TRACE_TOO_LARGE, says, OPEN));
            None
        }
        Ok(trace) => Some(trace),
        Err(error) => {
            checks.push(refused("trace", codes::LOG_MALFORMED, chain(&error), OPEN));
            None
        }
    }
}

fn read_segment(
    objects: &dyn Objects,
    segment: &SegmentSummary,
    log: &mut LogReader,
    builder: &mut Builder,
    heads: &mut Heads,
) -> Result<(), Check> {
    let name = hex::encode(&segment.sha256);
    let missing = |error: io::Error| refused(NAME, codes::SEGMENT_MISSING, format!("segment {name}: {error}"), OPEN);
    // An object is read no further than a byte beyond the size that was signed.
    let input = objects.open(&segment.sha256).map_err(missing)?.take(segment.bytes.saturating_add(1));
    let read = read_frames(input, log, builder, heads);
    // Whatever the frames say: an object with another digest is not the one that was signed.
    let last = log.head().segments.last().copied();
    if read.is_ok() && last.is_some_and(|last| last == *segment) {
        return Ok(());
    }
    let changed = !limits_hit(&read) && digest_of(objects, segment).map_err(missing)? != segment.sha256;
    match read {
        _ if changed => Err(refused(NAME, codes::SEGMENT_CHANGED, format!("segment {name} was changed"), OPEN)),
        Err(error) => Err(refused(NAME, codes::LOG_MALFORMED, format!("segment {name}: {}", chain(&error)), OPEN)),
        Ok(()) => Err(refused(NAME, codes::LOG_MALFORMED, format!("segment {name} has not the frames signed"), OPEN)),
    }
}

fn limits_hit(read: &Result<(), LogError>) -> bool {
    matches!(read, Err(LogError::LogTooLarge { .. }))
}

fn read_frames(
    input: impl Read,
    log: &mut LogReader,
    builder: &mut Builder,
    heads: &mut Heads,
) -> Result<(), LogError> {
    let mut frames = log.segment(input)?;
    while let Some((_, frame)) = frames.next_frame()? {
        // What the builder refuses it records as a gap.
        let _ = builder.push(&frame);
        heads.look(frames.tree());
    }
    Ok(())
}

fn digest_of(objects: &dyn Objects, segment: &SegmentSummary) -> io::Result<Hash> {
    let mut input = objects.open(&segment.sha256)?.take(segment.bytes.saturating_add(1));
    let (mut sha256, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok(sha256.finalize().into());
        }
        sha256.update(buffer.get(..read).unwrap_or_default());
    }
}

fn compare_heads(found: &LogHead, claimed: &LogHead) -> Check {
    if found == claimed {
        let root = hex::encode(&found.root);
        let says = format!("{} frames in {} segments, root {root}", found.tree_size, found.segments.len());
        return proven(NAME, says, OPEN);
    }
    if found.session_id != claimed.session_id {
        let says = format!("the log is of session {}", hex::encode(&found.session_id));
        return refused(NAME, codes::LOG_MALFORMED, says, OPEN);
    }
    let says = format!("the log has {} frames and root {}", found.tree_size, hex::encode(&found.root));
    refused(NAME, codes::LOG_ROOT, says, OPEN)
}

/// What a log without a statement holds: nobody signed it.
#[derive(Debug)]
pub struct Survey {
    /// The facts, never complete unless the log was closed.
    pub trace: Option<Trace>,
    /// The tree over all whole frames, and the sealed segments.
    pub head: LogHead,
    /// Why reading ended, where it did not reach the end.
    pub ended: Option<LogError>,
}

/// Reads the segments of a log that has no statement, in order; the last may be cut. What it finds is unsigned.
pub fn survey<R: Read>(segments: impl IntoIterator<Item = R>, limits: Limits) -> Survey {
    let (mut log, mut builder) = (LogReader::new(limits), Builder::default());
    let mut ended = None;
    for segment in segments {
        if let Err(error) = read_frames(segment, &mut log, &mut builder, &mut Heads::default()) {
            ended = Some(error);
            break;
        }
    }
    Survey { trace: builder.finish().ok(), head: log.head(), ended }
}

/// The verdict over a log without a statement: always refused, with what it holds.
pub fn unsigned<R: Read>(segments: impl IntoIterator<Item = R>, limits: Limits) -> Verdict {
    const WORD: &str = "Anything: nobody signed it.";
    let survey = survey(segments, limits);
    let mut verdict = Verdict::new();
    verdict.checks.push(refused("signature", codes::NO_STATEMENT, "there is no statement".into(), WORD));
    let ended = survey.ended.as_ref().map_or_else(|| "to its end".to_owned(), |error| chain(error));
    let says =
        format!("{} whole frames, {} sealed segments: {ended}", survey.head.tree_size, survey.head.segments.len());
    verdict.checks.push(not_claimed(NAME, None, says, WORD));
    if let Some(trace) = survey.trace {
        verdict.gaps = trace.incompleteness().cloned().collect();
    }
    verdict.gaps.push(Finding {
        code: codes::NO_STATEMENT.to_owned(),
        detail: String::new(),
        count: 1,
        ends_completeness: true,
    });
    verdict
}
