//! The segments of a log that nobody signed: read in order, the last one sealed again with word of its recovery.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter},
    path::{Path, PathBuf},
    time::SystemTime,
};

use attestation::{
    codes,
    evidence::{Limits, LogError, LogHead, LogReader, LogWriter, Segment, header},
    trace::{Builder, Trace},
};
use proto::evidence::{Frame, frame::Body};
use testimony_verify::files::{Directory, open_regular};

use super::Error;
use crate::{run::Owner, session::blind_spot};

/// Name of the segment that is being made. It is no name that a run gives, and a recovery overwrites it.
const MAKING: &str = "recovering";

/// A log as it was found.
pub(super) struct Left {
    session_id: [u8; 16],
    /// All but the last, whole.
    sealed: Vec<PathBuf>,
    /// The last: cut, or whole and followed by nothing.
    last: PathBuf,
}

/// A log that ends with word of its recovery.
pub(super) struct Sealed {
    pub(super) head: LogHead,
    pub(super) trace: Trace,
    replaced: Vec<PathBuf>,
}

impl Sealed {
    /// Removes the segments that the log no longer has.
    pub(super) fn remove_replaced(&self) -> Result<(), Error> {
        self.replaced.iter().try_for_each(|path| fs::remove_file(path).map_err(Error::io(path)))
    }
}

/// Finds the segments, and sees that a session was begun in them.
pub(super) fn look(evidence: &Path) -> Result<Left, Error> {
    let directory = Directory::new(evidence.to_owned());
    let mut found: Vec<(u64, SystemTime, PathBuf, [u8; 16])> = Vec::new();
    for path in directory.segments().map_err(Error::io(evidence))? {
        let header = match header(open(&path)?, Limits::default()) {
            Ok(header) => header,
            // A segment whose header was never whole holds nothing.
            Err(LogError::Truncated) => continue,
            Err(source) => return Err(Error::Damaged { path, source }),
        };
        let Ok(session_id) = header.session_id.as_slice().try_into() else {
            return Err(Error::Damaged { path, source: LogError::Session });
        };
        let modified = path.metadata().and_then(|metadata| metadata.modified()).map_err(Error::io(&path))?;
        if path.file_name().is_none_or(|name| name != MAKING) {
            found.push((header.sequence, modified, path, session_id));
        }
    }
    // A recovery that died after it wrote the last segment again left it beside the old one: the newer has all of it.
    found.sort();
    found.reverse();
    found.dedup_by_key(|(sequence, ..)| *sequence);
    let (_, _, last, session_id) = found.first().cloned().ok_or_else(|| Error::Empty(evidence.to_owned()))?;
    let sealed = found.into_iter().skip(1).rev().map(|(_, _, path, _)| path).collect();
    Ok(Left { session_id, sealed, last })
}

/// Reads everything, and writes the last segment again, for `owner`. `bound` is whether the signers say which host it was: if
/// not, the log has to.
pub(super) fn seal(evidence: &Path, left: &Left, owner: &Owner, bound: bool) -> Result<Sealed, Error> {
    let mut words = Words::new(bound);
    let mut log = LogReader::new(Limits::default());
    let mut builder = Builder::default();
    for path in &left.sealed {
        read_sealed(path, &mut log, &mut builder, &mut words)?;
    }
    let mut writer = if left.sealed.is_empty() {
        LogWriter::new(left.session_id)
    } else {
        log.writer().map_err(|source| Error::Damaged { path: left.last.clone(), source })?
    };
    let making = evidence.join(MAKING);
    let file = super::make(&making, owner).map_err(Error::io(&making))?;
    let mut copy = Copy { segment: None, path: &making, builder, words };
    copy.segment = Some(writer.begin_segment(BufWriter::new(file)).map_err(Error::io(&making))?);
    copy.last(&left.last, &mut log, &mut writer)?;
    let (summary, builder) = copy.finish(&mut writer)?;
    let trace = builder.finish().map_err(|_| Error::Empty(evidence.to_owned()))?;
    let sealed = evidence.join(&summary);
    File::open(&making).and_then(|file| file.sync_all()).map_err(Error::io(&making))?;
    fs::rename(&making, &sealed).map_err(Error::io(&sealed))?;
    File::open(evidence).and_then(|directory| directory.sync_all()).map_err(Error::io(evidence))?;
    let replaced = others(evidence, left, &sealed)?;
    Ok(Sealed { head: writer.head(), trace, replaced })
}

/// What the new log does not have: the segment that was written again, and those without a whole header.
fn others(evidence: &Path, left: &Left, sealed: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Directory::new(evidence.to_owned()).segments().map_err(Error::io(evidence))?;
    paths.retain(|path| path != sealed && !left.sealed.contains(path));
    Ok(paths)
}

fn open(path: &Path) -> Result<BufReader<File>, Error> {
    open_regular(path).map(BufReader::new).map_err(Error::io(path))
}

fn read_sealed(path: &Path, log: &mut LogReader, builder: &mut Builder, words: &mut Words) -> Result<(), Error> {
    let damaged = |source| Error::Damaged { path: path.to_owned(), source };
    let mut frames = log.segment(open(path)?).map_err(damaged)?;
    while let Some((_, frame)) = frames.next_frame().map_err(damaged)? {
        words.saw(&frame);
        // What the builder refuses it records as a gap.
        let _ = builder.push(&frame);
    }
    let named = log.head().segments.last().map(|segment| segment.object_name());
    if path.file_name().and_then(|name| name.to_str()) == named.as_deref() {
        Ok(())
    } else {
        Err(Error::Renamed(path.to_owned()))
    }
}

/// The last segment on its way from the old object to the new one.
struct Copy<'a> {
    segment: Option<Segment<BufWriter<File>>>,
    path: &'a Path,
    builder: Builder,
    words: Words,
}

/// What the log has to say besides, and whether that ends completeness; what it says already is not said again.
struct Words(Vec<(&'static str, bool)>);

impl Words {
    fn new(bound: bool) -> Self {
        let recovered = (codes::RECOVERED, true);
        Self(if bound { vec![recovered] } else { vec![recovered, (codes::SIGNER_NOT_BOUND, false)] })
    }

    fn saw(&mut self, frame: &Frame) {
        if let Some(Body::BlindSpot(spot)) = &frame.body {
            self.0.retain(|(code, _)| spot.code != *code);
        }
    }
}

impl Copy<'_> {
    /// Copies every whole frame; whatever ends the old object ends it here too.
    fn last(&mut self, path: &Path, log: &mut LogReader, writer: &mut LogWriter) -> Result<(), Error> {
        let damaged = |source| Error::Damaged { path: path.to_owned(), source };
        let mut frames = log.segment(open(path)?).map_err(damaged)?;
        // A segment that was cut, or whose tail a crash of the host left as zeros, is good up to there.
        while let Ok(Some((leaf, frame))) = frames.next_frame() {
            match &frame.body {
                // The new segment has its own.
                Some(Body::Segment(_)) => continue,
                // Nothing may follow the session's end: the word comes before it.
                Some(Body::Closed(_)) => self.tell(writer)?,
                _ => self.words.saw(&frame),
            }
            let _ = self.builder.push(&frame);
            self.append(|segment| segment.append_leaf(writer, leaf))?;
        }
        self.tell(writer)
    }

    fn tell(&mut self, writer: &mut LogWriter) -> Result<(), Error> {
        for (code, ends_completeness) in std::mem::take(&mut self.words.0) {
            let frame = Frame { body: Some(blind_spot(code, "", ends_completeness)) };
            let _ = self.builder.push(&frame);
            self.append(|segment| segment.append(writer, &frame))?;
        }
        Ok(())
    }

    fn append(&mut self, append: impl FnOnce(&mut Segment<BufWriter<File>>) -> io::Result<u64>) -> Result<(), Error> {
        match &mut self.segment {
            Some(segment) => append(segment).map(drop).map_err(Error::io(self.path)),
            None => Ok(()),
        }
    }

    /// Ends the segment; the name of its object.
    fn finish(mut self, writer: &mut LogWriter) -> Result<(String, Builder), Error> {
        let missing = || Error::io(self.path)(io::ErrorKind::BrokenPipe.into());
        let segment = self.segment.take().ok_or_else(missing)?;
        let summary = segment.finish(writer).map_err(Error::io(self.path))?;
        Ok((summary.object_name(), self.builder))
    }
}
