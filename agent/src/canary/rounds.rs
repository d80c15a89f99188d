//! The process that performs the acts, in rounds: when it is asked to, and at random times between.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{ACTS, Act, Besides, INPUT, MOVED, Round, acts, asked::ASKED};
use crate::{probe, session::boottime_ns};

/// What asks for the last round: what came after it would belong to no round.
pub(super) const LAST: &[u8; 1] = b"!";
/// Mean time between two rounds that nobody asked for, unless it is said.
pub(crate) const MEAN_MS: u64 = 1000;
/// The same beside what runs for long, of which there is much at once.
pub(crate) const QUIET_MEAN_MS: u64 = 15_000;
/// Bounds of that time: a round costs some milliseconds, and none may be far away, nor later than a complete session's may be.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(45));
/// How much longer than the mean it may be.
const MEANS_MAX: u32 = 10;
/// Between two rounds in which the cgroup is entered: moving a task holds up forks everywhere on the host.
const ENTER_EVERY: Duration = Duration::from_secs(20);

/// Performs rounds until standard input ends.
pub(super) fn perform(directory: &Path, besides: Besides, cgroups: Option<(PathBuf, PathBuf)>) -> io::Result<()> {
    // Where there is none to be had, the host's own loopback device and port 53 must do.
    let _ = probe::own_network();
    // What the host's own is full of must not refuse the acts, and what is left there by an end in between is gone with it.
    let _ = probe::own_ipc();
    // A new one each round, in the one that nobody else can reach.
    let directory = &directory.join("round");
    let mut process = Process { directory, besides, cgroups, number: 0, entered: None, refused: Vec::new() };
    // It is no part of a session before it is first asked.
    let mut limit = None;
    loop {
        let waited = wait(limit)?;
        if waited == Waited::Ended {
            return Ok(());
        }
        process.round(waited != Waited::Passed)?;
        if waited == Waited::AskedLast {
            // Its own end would be one more act of the session.
            while wait(None)? != Waited::Ended {}
            return Ok(());
        }
        limit = Some(between(Duration::from_millis(besides.mean_ms))?);
    }
}

/// How a waiting ended.
#[derive(PartialEq, Eq)]
enum Waited {
    Passed,
    Asked,
    AskedLast,
    Ended,
}

fn wait(limit: Option<Duration>) -> io::Result<Waited> {
    let until = limit.map(|limit| Instant::now() + limit);
    let mut input = io::stdin().lock();
    loop {
        let left = until.map(|until| Timespec::try_from(until.saturating_duration_since(Instant::now())));
        let left = left.transpose().map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut ready, left.as_ref()) {
            Ok(0) => return Ok(Waited::Passed),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut byte = [0];
        return Ok(match input.read(&mut byte)? {
            0 => Waited::Ended,
            _ if byte == *LAST => Waited::AskedLast,
            _ => Waited::Asked,
        });
    }
}

/// An exponential time, so that whoever mutes a hook between two rounds cannot know when the next one comes.
fn between(mean: Duration) -> io::Result<Duration> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    // The upper 53 bits, which a double has; never 0.
    let uniform = ((u64::from_ne_bytes(bytes) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    Ok(mean.mul_f64(-uniform.ln()).clamp(BETWEEN.0, BETWEEN.1.min(mean * MEANS_MAX).max(BETWEEN.0)))
}

struct Process<'a> {
    directory: &'a Path,
    besides: Besides,
    /// The session's, and the agent's.
    cgroups: Option<(PathBuf, PathBuf)>,
    number: u64,
    entered: Option<Instant>,
    /// Acts that the host refuses for good.
    refused: Vec<&'static str>,
}

impl Process<'_> {
    /// Performs every act, and reports it.
    fn round(&mut self, asked: bool) -> io::Result<()> {
        let began_ns = boottime_ns();
        let mut done = Done::default();
        if done.count(make(self.directory), MADE) {
            let asked = self.besides.ask.then_some(ASKED).into_iter().flatten();
            let more = self.besides.cut.then_some(&acts::CUT).into_iter().chain(asked);
            for act in ACTS.iter().chain(more) {
                self.perform(act, &mut done);
            }
        }
        if !done.count(remove(self.directory), REMOVED) {
            let _ = fs::remove_dir_all(self.directory);
        }
        done.count(self.enter(asked), &[("membership", 1)]);
        let acts = done.0.into_iter().map(|(observation, count)| (observation.to_owned(), count)).collect();
        let round = Round { number: self.number, began_ns, ended_ns: boottime_ns(), acts, asked };
        self.number += 1;
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &round)?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// Performs an act, and counts what it gives. One that is refused may be seen nevertheless and stand in for another that is not, so it
    /// is not tried again where it would be refused again.
    fn perform(&mut self, act: &Act, done: &mut Done) {
        if self.refused.contains(&act.name) {
            return;
        }
        let performed = (act.perform)(self.directory);
        if performed.as_ref().is_err_and(is_for_good) {
            self.refused.push(act.name);
        }
        let performed = done.count(performed, act.observations);
        if performed && self.besides.reach {
            done.count(Ok(()), act.reached);
        }
        if performed && self.besides.ask && act.sockets > 0 {
            done.count(Ok(()), &[("act", act.sockets)]);
        }
    }

    /// Enters the session's cgroup and comes back, where that is due.
    fn enter(&mut self, asked: bool) -> io::Result<()> {
        let due = asked || self.entered.is_none_or(|entered| entered.elapsed() > ENTER_EVERY);
        let Some((session, home)) = self.cgroups.as_ref().filter(|_| due) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.entered = Some(Instant::now());
        // Not cut as it is opened: where two hooks see files cut, one of them could be mute unnoticed.
        let move_to = |cgroup: &Path| OpenOptions::new().write(true).open(cgroup.join("cgroup.procs"))?.write_all(b"0");
        move_to(session).and_then(|()| move_to(home))
    }
}

/// Whether a host that refuses an act so has not what it needs, or does not let it.
fn is_for_good(error: &io::Error) -> bool {
    const ERRORS: [Errno; 4] = [Errno::NOSYS, Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::OPNOTSUPP];
    error.kind() == io::ErrorKind::PermissionDenied
        || error.raw_os_error().is_some_and(|number| ERRORS.contains(&Errno::from_raw_os_error(number)))
}

/// Acts that were performed, by observation: every event that they give, or one of two programs could be mute unnoticed.
#[derive(Default)]
struct Done(BTreeMap<&'static str, u32>);

impl Done {
    fn count(&mut self, performed: io::Result<()>, observations: &[(&'static str, u32)]) -> bool {
        if performed.is_ok() {
            for (observation, count) in observations {
                *self.0.entry(observation).or_default() += count;
            }
        }
        performed.is_ok()
    }
}

const MADE: &[(&str, u32)] = &[("mkdir", 1), ("open", 1)];
const REMOVED: &[(&str, u32)] = &[("unlink", 3)];

/// A new directory and a new file each time: what a process opens again is counted, and not told.
fn make(directory: &Path) -> io::Result<()> {
    fs::create_dir(directory)?;
    let mut input = OpenOptions::new().write(true).create_new(true).open(directory.join(INPUT))?;
    input.write_all(b"canary\n")
}

fn remove(directory: &Path) -> io::Result<()> {
    fs::remove_file(directory.join(INPUT))?;
    fs::remove_file(directory.join(MOVED[1]))?;
    fs::remove_dir(directory)
}
