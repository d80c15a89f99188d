//! A session: `testimony run` started with its options, and what it left behind.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::place::{Scratch, binary, need_root};
use crate::record::Record;

/// The option that has the weakest way of every observation used.
pub const WEAKEST: &str = "--weakest-hooks";

/// How long a session may take before it counts as hung; guests under emulation are slow.
const RUN_TIME_MAX: Duration = Duration::from_secs(300);
/// How long a program that was just written may be busy.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// `testimony run` before it starts.
#[derive(Debug)]
pub struct Run {
    before: Vec<OsString>,
    options: Vec<OsString>,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    alone: bool,
    program: PathBuf,
    directory: PathBuf,
    name: PathBuf,
    key: PathBuf,
}

impl Run {
    /// Traces `command` in the scratch folder, which also takes the outputs and the key.
    pub fn new<T: AsRef<OsStr>>(scratch: &Scratch, command: impl IntoIterator<Item = T>) -> Self {
        Self {
            before: Vec::new(),
            options: Vec::new(),
            command: command.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            environment: Vec::new(),
            alone: false,
            program: binary(),
            directory: scratch.path(),
            name: scratch.join("out"),
            key: scratch.join("signing.key"),
        }
    }

    /// Adds an option of `run`.
    #[must_use]
    pub fn option(mut self, option: impl AsRef<OsStr>) -> Self {
        self.options.push(option.as_ref().to_owned());
        self
    }

    /// Starts within a test that has the host alone.
    #[must_use]
    pub fn within(mut self, _: &Alone) -> Self {
        self.alone = true;
        self
    }

    /// Puts words before the program: another one that starts it.
    #[must_use]
    pub fn under<T: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.before = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Runs a copy of the program in the scratch folder, which a user who may not enter the work tree can start.
    #[must_use]
    pub fn copied(mut self, scratch: &Scratch) -> Self {
        self.program = scratch.join("testimony");
        std::fs::copy(binary(), &self.program).expect("the program is copied");
        self
    }

    /// The working directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Name of the outputs.
    #[must_use]
    pub fn output(mut self, name: impl Into<PathBuf>) -> Self {
        self.name = name.into();
        self
    }

    /// The signing key.
    #[must_use]
    pub fn key(mut self, key: impl Into<PathBuf>) -> Self {
        self.key = key.into();
        self
    }

    /// A variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Starts it.
    #[must_use]
    pub fn start(self) -> Started {
        need_root();
        let host = (!self.alone).then(|| host(FlockOperation::LockShared));
        let mut words = self.before.clone();
        words.push(self.program.clone().into());
        words.extend(["run", "--key"].map(OsString::from));
        words.push(self.key.clone().into());
        words.push("-o".into());
        words.push(self.name.clone().into());
        words.extend(self.options.iter().cloned());
        if let Some(name) = left_out() {
            words.push(format!("--leave-out={name}").into());
            // What is seen by whom is shown for the weak path; on the strong one another hook may tell the same.
            words.extend((!self.options.iter().any(|option| option == WEAKEST)).then(|| WEAKEST.into()));
        }
        words.push("--".into());
        words.extend(self.command.iter().cloned());
        let mut run = Command::new(&words[0]);
        run.args(&words[1..]).current_dir(&self.directory).env_remove("SUDO_UID").env_remove("SUDO_GID");
        run.envs(self.environment.iter().map(|(name, value)| (name, value)));
        run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = spawn(&mut run).unwrap_or_else(|error| panic!("{}: {error}", words[0].display()));
        Started { child, run: self, host }
    }

    /// Runs it to its end.
    #[must_use]
    pub fn go(self) -> Ran {
        self.start().wait()
    }
}

/// A copy of the program may be busy for a moment: what another test started meanwhile holds the descriptor that it was written by,
/// until it is the program that it becomes.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let limit = Instant::now() + BUSY_TIME_MAX;
    loop {
        match command.spawn() {
            Err(busy) if busy.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < limit => {
                std::thread::sleep(Duration::from_millis(5));
            }
            started => return started,
        }
    }
}

/// The observation that this test is to do without, to see that it fails then.
#[must_use]
pub fn left_out() -> Option<String> {
    std::env::var("TESTIMONY_LEAVE_OUT").ok()
}

/// `testimony run` under way.
#[derive(Debug)]
pub struct Started {
    child: Child,
    run: Run,
    /// Until it has ended, no test has the host alone.
    host: Option<File>,
}

/// The host without the session of any other test: for one that changes what every session tells. It is to be taken before the
/// first change, and dropped after the last was put back.
#[derive(Debug)]
pub struct Alone {
    _locked: File,
}

impl Alone {
    /// Waits until no other test's session is under way, and lets none begin.
    #[must_use]
    pub fn wait() -> Self {
        Self { _locked: host(FlockOperation::LockExclusive) }
    }
}

/// The host as a file that is locked.
fn host(lock: FlockOperation) -> File {
    let path = std::env::temp_dir().join("testimony-tests.lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    flock(&file, lock).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file
}

impl Started {
    /// The process id of `testimony`, or of what starts it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a file appears that the command makes.
    pub fn wait_for(&mut self, path: &Path) {
        let limit = Instant::now() + RUN_TIME_MAX;
        while !path.exists() {
            let ended = self.child.try_wait().unwrap_or_else(|error| panic!("{error}"));
            assert!(ended.is_none(), "the run ended before {} was there", path.display());
            assert!(Instant::now() < limit, "{} never appeared", path.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end.
    #[must_use]
    pub fn wait(self) -> Ran {
        let Self { child, run, host } = self;
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap_or_else(|error| panic!("{error}"));
        drop(host);
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Ran { status, stdout, stderr, name: run.directory.join(run.name), key: run.key }
    }
}

/// `testimony run` after its end.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What the command printed.
    pub stdout: Vec<u8>,
    /// What the command and `testimony` said.
    pub stderr: String,
    name: PathBuf,
    key: PathBuf,
}

impl Ran {
    /// The exit status; a signal fails the test.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by {}: {}", self.status, self.stderr))
    }

    /// The statement's file.
    #[must_use]
    pub fn statement(&self) -> PathBuf {
        self.with_suffix(".intoto.jsonl")
    }

    /// The evidence's folder.
    #[must_use]
    pub fn evidence(&self) -> PathBuf {
        self.with_suffix(".evidence")
    }

    /// The public half of the signing key.
    #[must_use]
    pub fn public_key(&self) -> PathBuf {
        let mut key = self.key.as_os_str().to_owned();
        key.push(".pub");
        key.into()
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = self.name.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }

    /// Verifies the statement with its evidence and reads the log: whatever it says, it must say provably.
    #[must_use]
    pub fn record(&self) -> Record {
        assert!(self.statement().is_file(), "no statement was signed: {}", self.stderr);
        Record::read(&self.statement(), &self.evidence(), &self.public_key())
    }

    /// The record of a run whose command succeeded and that saw everything.
    #[must_use]
    pub fn complete(&self) -> Record {
        assert_eq!(self.code(), 0, "{}", self.stderr);
        let record = self.record();
        record.must_be_complete();
        record
    }
}
