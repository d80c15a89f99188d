//! The evidence log on disk: a directory of objects named by digest, segments still open beside them.
//!
//! A full disk must not cost the statement: room for the end is reserved at the beginning. When a write finds no space,
//! the reserve is given back, later events are dropped and counted, and the log ends with what it can still say.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use attestation::{
    evidence::{LogHead, LogWriter, Segment},
    platform::Head,
    trace::{Builder, Trace, TraceError},
};
use proto::evidence::{Frame, frame::Body};

/// Bytes set aside for the end of a log whose disk fills up.
const RESERVE_BYTES: u64 = 8 << 20;
/// Uncompressed bytes after which a segment is sealed and the next begun.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// How long frames may wait in memory before a crash could lose them.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Name of the reserve.
pub const RESERVE: &str = "reserve";

/// Why the evidence cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is there already.
    #[error("{0} exists already: choose another name with -o, or remove it")]
    Exists(PathBuf),
    /// It cannot be made.
    #[error("{path} cannot be made")]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("{0} is still being written: the run that makes it lives")]
    Alive(PathBuf),
    /// It tells no session.
    #[error("the log tells no session")]
    Trace(#[from] TraceError),
    /// It cannot be written.
    #[error("the evidence in {path} cannot be written")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Held by whoever writes an evidence directory, until its statement stands. It goes with its holder, however that ends:
/// a directory without a statement that can be held is one that a run left when it died.
#[derive(Debug)]
pub(crate) struct Hold {
    directory: File,
}

impl Hold {
    /// A path to the directory by our descriptor.
    pub fn path(&self) -> PathBuf {
        descriptor_path(&self.directory)
    }

    /// Hands the directory and what is in it over; the directory last, so that until then nobody puts a link in it.
    pub fn give(&self, owner: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        fs::read_dir(self.path())?.try_for_each(|entry| owner(&entry?.path()))?;
        owner(&self.path().join("."))
    }

    /// Takes the directory, if nobody has it.
    pub fn take(directory: &Path) -> Result<Self, Error> {
        let failed = |source| failed(directory, source);
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(directory);
        let file = file.map_err(failed)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Alive(directory.to_owned())),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

/// A log being written. Every frame that it takes is folded into the trace as well, so that the statement says what the
/// log says.
pub struct Log {
    trace: Builder,
    /// What the caller calls the directory, for messages.
    named: PathBuf,
    /// The directory itself, by our descriptor: whoever moves it or puts another in its place does not move us.
    directory: PathBuf,
    writer: LogWriter,
    segment: Option<Segment<BufWriter<Patient>>>,
    full: Arc<AtomicBool>,
    dropped: u64,
    flushed: Instant,
    hold: Hold,
    taps: Vec<Tap>,
}

/// Whoever hears every frame as it is taken. It says whether it wants more.
pub struct Tap {
    /// It may hear what programs of other users did.
    pub of_others: bool,
    /// Takes a frame.
    pub take: Box<dyn FnMut(&Frame) -> bool + Send>,
}

impl Log {
    /// Makes the directory, which must not be there, and the first segment. Both are for their owner alone: they have the arguments
    /// of programs, and names of files that others may not see.
    pub fn create(directory: &Path, session_id: [u8; 16]) -> Result<Self, Error> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists(directory.to_owned()));
            }
            Err(source) => return Err(Error::Create { path: directory.to_owned(), source }),
        }
        let hold = Hold::take(directory)?;
        let held = hold.path();
        reserve(&held.join(RESERVE))?;
        let mut log = Self {
            trace: Builder::default(),
            named: directory.to_owned(),
            directory: held,
            writer: LogWriter::new(session_id),
            segment: None,
            full: Arc::new(AtomicBool::new(false)),
            dropped: 0,
            flushed: Instant::now(),
            hold,
            taps: Vec::new(),
        };
        log.begin()?;
        Ok(log)
    }

    /// Appends a frame. On a full disk events and digests are dropped and counted, everything else is kept.
    pub fn append(&mut self, body: Body) -> Result<(), Error> {
        if self.full() && matches!(body, Body::Event(_) | Body::Digest(_) | Body::Folded(_)) {
            self.dropped += 1;
            return Ok(());
        }
        let segment = self.segment.as_mut().ok_or_else(|| failed(&self.named, io::ErrorKind::BrokenPipe.into()))?;
        let frame = Frame { body: Some(body) };
        segment.append(&mut self.writer, &frame).map_err(|source| failed(&self.named, source))?;
        self.taps.retain_mut(|tap| (tap.take)(&frame));
        // A frame that contradicts another is a finding of the trace, and the trace keeps it.
        let _ = self.trace.push(&frame);
        if segment.uncompressed_bytes() > SEGMENT_BYTES_MAX && !self.full() {
            self.seal()?;
            self.begin()?;
        }
        Ok(())
    }

    /// Has somebody hear every frame from now on.
    pub fn tap(&mut self, tap: Tap) {
        self.taps.push(tap);
    }

    /// What follows is of programs of other users too: some may not hear it.
    pub fn of_others(&mut self) {
        self.taps.retain(|tap| tap.of_others);
    }

    /// The tree's head of now.
    pub fn head(&self) -> Head {
        self.writer.tree_head()
    }

    /// Whether the disk was found full.
    pub fn full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Frames dropped since the disk was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Brings what waits in memory to the disk, at most every half second.
    pub fn tick(&mut self) -> Result<(), Error> {
        if self.flushed.elapsed() < FLUSH_EVERY {
            return Ok(());
        }
        self.flushed = Instant::now();
        match self.segment.as_mut().map(Segment::flush) {
            Some(Err(source)) => Err(failed(&self.named, source)),
            _ => Ok(()),
        }
    }

    /// Seals the last segment; the log's head, what it says, and the hold on the directory, to be kept until the
    /// statement is signed.
    pub fn finish(mut self) -> Result<(LogHead, Trace, Hold), Error> {
        self.seal()?;
        let _ = fs::remove_file(self.directory.join(RESERVE));
        sync(&self.directory).map_err(|source| failed(&self.named, source))?;
        Ok((self.writer.head(), self.trace.finish()?, self.hold))
    }

    fn begin(&mut self) -> Result<(), Error> {
        let sequence = self.writer.head().segments.len();
        let path = self.directory.join(format!("open-{sequence}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|source| Error::Create { path: path.clone(), source })?;
        let patient = Patient { file, reserve: self.directory.join(RESERVE), full: Arc::clone(&self.full) };
        let segment = self.writer.begin_segment(BufWriter::with_capacity(1 << 16, patient));
        self.segment = Some(segment.map_err(|source| failed(&self.named, source))?);
        Ok(())
    }

    fn seal(&mut self) -> Result<(), Error> {
        let Some(mut segment) = self.segment.take() else { return Ok(()) };
        let open = self.directory.join(format!("open-{}", segment.sequence()));
        let sealed = (|| {
            segment.flush()?;
            let summary = segment.finish(&mut self.writer)?;
            File::open(&open)?.sync_data()?;
            fs::rename(&open, self.directory.join(summary.object_name()))
        })();
        sealed.map_err(|source| failed(&self.named, source))
    }
}

/// A path to an open directory that holds whatever becomes of its name.
pub(crate) fn descriptor_path(directory: &File) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}

fn failed(directory: &Path, source: io::Error) -> Error {
    Error::Write { path: directory.to_owned(), source }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn reserve(path: &Path) -> Result<(), Error> {
    let make = || {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES)?;
        Ok(())
    };
    make().map_err(|source: io::Error| Error::Create { path: path.to_owned(), source })
}

/// A file that, when its disk is full, gives the reserve back and tries once more.
struct Patient {
    file: File,
    reserve: PathBuf,
    full: Arc<AtomicBool>,
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            Err(error) if out_of_space(&error) && !self.full.swap(true, Ordering::Relaxed) => {
                fs::remove_file(&self.reserve)?;
                self.file.write(bytes)
            }
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
