//! The agent's side: starts the process, asks it, and hears what it reports.

use std::{
    fs::DirBuilder,
    io::{self, Read as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
};

use super::{Besides, Round, acts::THIS, rounds::LAST};

/// How long a round that was asked for may take.
const ROUND_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of reports that were not ended by a line's end.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Where it acts: root's alone, and gone with the boot; else where temporary files go.
const PLACE: &str = "/run";

/// The process beside a session. It ends with the agent.
pub(crate) struct Beside {
    child: Child,
    asks: Option<ChildStdin>,
    says: ChildStdout,
    read: Vec<u8>,
    directory: PathBuf,
}

impl Beside {
    /// Starts it; it acts when it is asked to, and from time to time. `cgroups` are the session's and the agent's.
    pub(crate) fn start(besides: Besides, cgroups: Option<(&Path, &Path)>) -> io::Result<Self> {
        let directory = make(&place())?;
        let mut command = Command::new(THIS);
        command.env_clear().arg("canary").arg("--rounds");
        let Besides { cut, reach, ask, mean_ms } = besides;
        command.arg("--mean").arg(mean_ms.to_string());
        let asked = [("--cut", cut), ("--reach", reach), ("--ask", ask)];
        command.args(asked.into_iter().filter_map(|(name, is)| is.then_some(name)));
        if let Some((session, home)) = cgroups {
            command.arg("--enter").arg(session).arg("--home").arg(home);
        }
        // A signal of the terminal is for the command.
        command.arg("--").arg(&directory).current_dir("/").process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (asks, says) = (child.stdin.take(), child.stdout.take());
        let says = says.ok_or_else(|| io::Error::other("no pipe"))?;
        fcntl_setfl(&says, fcntl_getfl(&says)? | OFlags::NONBLOCK)?;
        Ok(Self { child, asks, says, read: Vec::new(), directory })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for a round; after the last one it performs no other.
    pub(crate) fn ask(&mut self, last: bool) -> io::Result<()> {
        let asks = self.asks.as_mut().ok_or_else(|| io::Error::other("it was stopped"))?;
        asks.write_all(if last { LAST } else { b"." })
    }

    /// Rounds that were reported since the last look, without waiting.
    pub(crate) fn rounds(&mut self) -> io::Result<Vec<Round>> {
        let mut some = [0; 4096];
        let mut ended = false;
        while !ended {
            match self.says.read(&mut some) {
                Ok(0) => ended = true,
                Ok(bytes) => self.read.extend_from_slice(some.get(..bytes).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut rounds = Vec::new();
        while let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.read.drain(..=end).collect();
            rounds.push(serde_json::from_slice(&line)?);
        }
        if ended && rounds.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.read.len() > LINE_BYTES_MAX {
            return Err(io::Error::other("a report without an end"));
        }
        Ok(rounds)
    }

    /// Waits until the round that was asked for is reported, and returns it with those before.
    pub(crate) fn await_asked(&mut self) -> io::Result<Vec<Round>> {
        let limit = Instant::now() + ROUND_TIME_MAX;
        let mut rounds: Vec<Round> = Vec::new();
        loop {
            rounds.extend(self.rounds()?);
            if rounds.iter().any(|round| round.asked) {
                return Ok(rounds);
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.says.as_fd(), PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It ends where its input does, between two rounds; one that hangs is ended.
        drop(self.asks.take());
        let limit = Instant::now() + Duration::from_secs(1);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A directory that nobody else can reach or could have made before.
fn make(place: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let directory = place.join(format!("testimony-canary-{:016x}", u64::from_ne_bytes(random)));
    DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(directory)
}

fn place() -> PathBuf {
    let run = Path::new(PLACE);
    match rustix::fs::access(run, rustix::fs::Access::WRITE_OK) {
        Ok(()) => run.to_owned(),
        Err(_) => std::env::temp_dir(),
    }
}
