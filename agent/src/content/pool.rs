//! The workers: threads that hash, bounded in number and in what waits for them, none of which can end unseen.
//!
//! A file system that does not answer can hold a worker for ever. Nobody waits for such a one: it is left behind, another
//! takes its place once, and the file it holds counts as timed out.

use std::collections::HashSet;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, capabilities, set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::hash::{self, BUFFER_BYTES, Moment, Outcome, Probe, Target, Tools};
use super::look::{Looker, Looks};
use super::version::Stamp;
use super::{Error, Limits};

/// How often a wait looks whether the workers still move.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whose eyes the hashers look through.
#[derive(Debug, Clone)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What a hash is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket {
    pub(super) inode: u32,
    /// The version expected; [`super::table::NONE`] for whatever is there.
    pub(super) version: u32,
}

/// Work for a worker.
#[derive(Debug)]
pub(super) enum Job {
    /// Hash a file.
    Hash(Ticket, Target, Option<Stamp>, Moment),
    /// Say what is there and who can write it.
    Probe(Ticket, Target),
    /// Say under which names some inodes are found.
    Look(Arc<Looker>, Range<u32>),
    /// Look for inodes that no known name leads to.
    Search(Arc<Looker>, Vec<u32>),
}

/// What came of a job.
#[derive(Debug)]
pub(super) enum Report {
    Hashed(Ticket, Outcome),
    Probed(Ticket, Option<Probe>),
    Looked(Looks),
    /// The worker's code failed.
    Panicked(String),
}

/// Jobs and reports carry the round they belong to: what was given up may still come back, and counts no more.
type Round = u32;

/// The workers and what lies between them and us.
#[derive(Debug)]
pub(super) struct Pool {
    jobs: Sender<(Round, Job)>,
    waiting: Receiver<(Round, Job)>,
    reports: Receiver<(Round, Report)>,
    answer: Sender<(Round, Report)>,
    tools: Arc<Tools>,
    caller: Option<Caller>,
    round: Round,
    outstanding: usize,
    /// Files handed out that have not come back.
    held: HashSet<Ticket>,
    replacements: usize,
    blocked_max: Duration,
    panicked: Option<String>,
}

impl Pool {
    pub(super) fn start(
        limits: &Limits,
        grain: super::clock::Grain,
        inotify: OwnedFd,
        caller: Option<Caller>,
    ) -> Result<Self, Error> {
        let (jobs, waiting) = bounded(limits.queue_max.max(1));
        let (answer, reports) = unbounded();
        let tools = Tools {
            grain,
            file_bytes_max: limits.file_bytes_max,
            inotify,
            watches: AtomicU32::new(0),
            watches_max: limits.watches_max,
            beat: AtomicU64::new(0),
        };
        let workers = limits.workers.max(1);
        let pool = Self {
            jobs,
            waiting,
            reports,
            answer,
            tools: Arc::new(tools),
            caller,
            round: 0,
            outstanding: 0,
            held: HashSet::new(),
            replacements: 2 * workers,
            blocked_max: Duration::from_millis(limits.blocked_ms_max),
            panicked: None,
        };
        (0..workers).try_for_each(|_| pool.spawn())?;
        Ok(pool)
    }

    fn spawn(&self) -> Result<(), Error> {
        let (waiting, answer, tools) = (self.waiting.clone(), self.answer.clone(), Arc::clone(&self.tools));
        let caller = self.caller.clone();
        let (ready, started) = bounded(1);
        let body = move || {
            let assumed = caller.as_ref().map_or(Ok(()), assume);
            let rights = assumed.is_ok();
            if ready.send(assumed).is_ok() && rights {
                work(&waiting, &answer, &tools);
            }
        };
        thread::Builder::new().name("content".to_owned()).spawn(body).map_err(Error::Thread)?;
        started.recv().map_err(|_| Error::Panicked("a worker ended at its start".to_owned()))?.map_err(Error::Rights)
    }

    /// Hands a job to the workers; back it comes if their queue is full.
    pub(super) fn offer(&mut self, job: Job) -> Result<(), Job> {
        let ticket = job.ticket();
        match self.jobs.try_send((self.round, job)) {
            Ok(()) => {
                self.outstanding += 1;
                self.held.extend(ticket);
                Ok(())
            }
            Err(TrySendError::Full((_, job)) | TrySendError::Disconnected((_, job))) => Err(job),
        }
    }

    /// A report that is there already.
    pub(super) fn report(&mut self) -> Option<Report> {
        let (round, report) = self.reports.try_recv().ok()?;
        self.received(round, report)
    }

    fn received(&mut self, round: Round, report: Report) -> Option<Report> {
        if let Report::Panicked(what) = report {
            self.panicked.get_or_insert(what);
            self.outstanding -= usize::from(round == self.round);
            return None;
        }
        if round != self.round {
            return None;
        }
        self.outstanding -= 1;
        if let Some(ticket) = report.ticket() {
            self.held.remove(&ticket);
        }
        Some(report)
    }

    /// Works off jobs and hands each report to `take`, until all have reported or those left are held by workers that no
    /// longer move; these are given up.
    pub(super) fn finish(
        &mut self,
        jobs: impl IntoIterator<Item = Job>,
        mut take: impl FnMut(Report),
    ) -> Result<(), Error> {
        let mut jobs = jobs.into_iter();
        let mut next = jobs.next();
        let mut stall = Stall::new(&self.tools);
        loop {
            while let Some(job) = next.take() {
                if let Err(refused) = self.offer(job) {
                    next = Some(refused);
                    break;
                }
                next = jobs.next();
            }
            let unasked = next.is_some();
            if !unasked && self.outstanding == 0 {
                break;
            }
            match self.reports.recv_timeout(LOOK_EVERY) {
                Ok((round, report)) => {
                    stall = Stall::new(&self.tools);
                    if let Some(report) = self.received(round, report) {
                        take(report);
                    }
                }
                Err(_) if stall.lasts(&self.tools) < self.blocked_max => {}
                Err(_) if (unasked || !self.waiting.is_empty()) && self.replace()? => stall = Stall::new(&self.tools),
                Err(_) => {
                    self.give_up();
                    break;
                }
            }
        }
        self.panicked.take().map_or(Ok(()), |what| Err(Error::Panicked(what)))
    }

    /// Puts another worker beside those that do not move; false if there were enough of these.
    fn replace(&mut self) -> Result<bool, Error> {
        if self.replacements == 0 {
            return Ok(false);
        }
        self.replacements -= 1;
        self.spawn()?;
        Ok(true)
    }

    /// Counts on nothing any more that was handed out.
    fn give_up(&mut self) {
        while self.waiting.try_recv().is_ok() {}
        self.round += 1;
        self.outstanding = 0;
    }

    /// Whether everything handed out has come back and been taken.
    #[cfg(test)]
    pub(super) fn idle(&self) -> bool {
        self.outstanding == 0
    }

    /// Inodes whose file was handed out and never came back.
    pub(super) fn held(&self) -> impl Iterator<Item = u32> {
        self.held.iter().map(|ticket| ticket.inode)
    }

    pub(super) fn tools(&self) -> &Tools {
        &self.tools
    }
}

/// How long no worker has moved.
struct Stall {
    beat: u64,
    since: Instant,
}

impl Stall {
    fn new(tools: &Tools) -> Self {
        Self { beat: tools.beat.load(Ordering::Relaxed), since: Instant::now() }
    }

    fn lasts(&mut self, tools: &Tools) -> Duration {
        if tools.beat.load(Ordering::Relaxed) != self.beat {
            *self = Self::new(tools);
        }
        self.since.elapsed()
    }
}

/// Gives this thread the rights of the session's user: what that user may not read, it cannot hash. Of root's rights one
/// is kept, to ask for leases on files of others.
fn assume(caller: &Caller) -> std::io::Result<()> {
    let groups: Vec<Gid> = caller.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let (uid, gid) = (Uid::from_raw(caller.uid), Gid::from_raw(caller.gid));
    set_thread_groups(&groups)?;
    set_thread_res_gid(None, Some(gid), None)?;
    set_thread_res_uid(None, Some(uid), None)?;
    let mut sets = capabilities(None)?;
    sets.effective = sets.permitted & CapabilitySet::LEASE;
    set_capabilities(None, sets)?;
    Ok(())
}

impl Job {
    fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Hash(ticket, ..) | Self::Probe(ticket, _) => Some(*ticket),
            Self::Look(..) | Self::Search(..) => None,
        }
    }
}

impl Report {
    fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Hashed(ticket, _) | Self::Probed(ticket, _) => Some(*ticket),
            Self::Looked(_) | Self::Panicked(_) => None,
        }
    }
}

fn work(waiting: &Receiver<(Round, Job)>, answer: &Sender<(Round, Report)>, tools: &Tools) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok((round, job)) = waiting.recv() {
        let done = catch_unwind(AssertUnwindSafe(|| act(job, tools, &mut buffer)));
        tools.beat.fetch_add(1, Ordering::Relaxed);
        let report = done.unwrap_or_else(|panic| Report::Panicked(said(panic.as_ref())));
        if answer.send((round, report)).is_err() {
            return;
        }
    }
}

fn act(job: Job, tools: &Tools, buffer: &mut [u8]) -> Report {
    match job {
        Job::Hash(ticket, target, expected, moment) => {
            Report::Hashed(ticket, hash::hash(tools, &target, expected.as_ref(), moment, buffer))
        }
        Job::Probe(ticket, target) => Report::Probed(ticket, hash::probe(&target)),
        Job::Look(looker, inodes) => Report::Looked(looker.look(inodes, tools)),
        Job::Search(looker, lost) => Report::Looked(looker.search(&lost, tools)),
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a worker failed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::clock::Grain;
    use crate::content::moves::Moves;
    use crate::content::place::Roots;
    use crate::content::silence::Silence;
    use crate::content::table::Table;

    fn pool(workers: usize) -> Pool {
        let (_, queue) = Silence::start().unwrap();
        let limits = Limits { workers, blocked_ms_max: 100, ..Limits::default() };
        Pool::start(&limits, Grain::new(4_000_000), queue, None).unwrap()
    }

    /// A look at an inode that there is not, which only a defect could order.
    fn defect() -> Job {
        let looker = Looker { table: Table::default(), moves: Moves::new(1), roots: Roots::start(1).unwrap() };
        Job::Look(Arc::new(looker), 5..6)
    }

    fn nothing() -> Job {
        let Job::Look(looker, _) = defect() else { unreachable!() };
        Job::Look(looker, 0..0)
    }

    #[test]
    fn a_worker_that_fails_is_an_error_and_the_others_go_on() {
        let mut pool = pool(1);
        let mut reports = 0;
        let done = pool.finish([nothing(), defect(), nothing(), nothing()], |_| reports += 1);
        assert!(matches!(done, Err(Error::Panicked(_))), "{done:?}");
        assert_eq!(reports, 3);
    }

    #[test]
    fn a_failure_while_the_session_ran_is_not_forgotten() {
        let mut pool = pool(1);
        pool.offer(defect()).unwrap();
        while pool.outstanding > 0 {
            assert!(pool.report().is_none());
        }
        assert!(pool.finish([], |_| {}).is_err());
    }

    #[test]
    fn more_jobs_than_the_queue_holds_are_all_done() {
        let mut pool = pool(2);
        let mut reports = 0;
        pool.finish((0..5000).map(|_| nothing()), |_| reports += 1).unwrap();
        assert_eq!(reports, 5000);
    }

    #[test]
    fn rights_that_cannot_be_taken_are_an_error_at_the_start() {
        let (_, queue) = Silence::start().unwrap();
        let caller = Some(Caller { uid: u32::MAX - 1, gid: u32::MAX - 1, groups: vec![0; 100_000] });
        let started = Pool::start(&Limits::default(), Grain::new(1), queue, caller);
        assert!(matches!(started, Err(Error::Rights(_))), "{started:?}");
    }
}
