//! The workers: threads that hash, bounded in number and in what waits for them, none of which can end unseen.
//!
//! A file system that does not answer can hold a worker for ever. Nobody waits for such a one: it is left behind, another
//! takes its place once, and the file it holds counts as timed out.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, unbounded};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, capabilities, set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::hash::{self, BUFFER_BYTES, Moment, Outcome, Probe, Target, Tools};
use super::look::{Looker, Looks};
use super::version::Stamp;
use super::{Caller, Error, Limits};

/// What a hash is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The workers and what lies between them and us.
#[derive(Debug)]
pub(super) struct Pool {
    jobs: Sender<Job>,
    waiting: Receiver<Job>,
    reports: Receiver<Report>,
    answer: Sender<Report>,
    tools: Arc<Tools>,
    caller: Option<Caller>,
    outstanding: usize,
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
            outstanding: 0,
            replacements: workers,
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
        match self.jobs.try_send(job) {
            Ok(()) => {
                self.outstanding += 1;
                Ok(())
            }
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Err(job),
        }
    }

    /// A report that is there already.
    pub(super) fn report(&mut self) -> Option<Report> {
        let report = self.reports.try_recv().ok()?;
        self.received(report)
    }

    fn received(&mut self, report: Report) -> Option<Report> {
        self.outstanding -= 1;
        if let Report::Panicked(what) = report {
            self.panicked.get_or_insert(what);
            return None;
        }
        Some(report)
    }

    /// Works off jobs and hands each report to `take`, until all have reported or those left are held by workers that no
    /// longer move.
    pub(super) fn finish(
        &mut self,
        jobs: impl IntoIterator<Item = Job>,
        mut take: impl FnMut(Report),
    ) -> Result<(), Error> {
        let mut jobs = jobs.into_iter();
        let mut next = jobs.next();
        let mut stall = Stall::new(&self.tools);
        while next.is_some() || self.outstanding > 0 {
            while let Some(job) = next.take() {
                match self.offer(job) {
                    Ok(()) => next = jobs.next(),
                    Err(job) => {
                        next = Some(job);
                        break;
                    }
                }
            }
            match self.reports.recv_timeout(Duration::from_millis(20)) {
                Ok(report) => {
                    stall = Stall::new(&self.tools);
                    if let Some(report) = self.received(report) {
                        take(report);
                    }
                }
                Err(RecvTimeoutError::Timeout) if stall.lasts(&self.tools) < self.blocked_max => {}
                Err(_) => {
                    if self.waiting.is_empty() && next.is_none() || !self.replace()? {
                        break;
                    }
                    stall = Stall::new(&self.tools);
                }
            }
        }
        self.panicked.take().map_or(Ok(()), |what| Err(Error::Panicked(what)))
    }

    /// Puts another worker beside one that does not move; false if there were enough of these.
    fn replace(&mut self) -> Result<bool, Error> {
        if self.replacements == 0 {
            return Ok(false);
        }
        self.replacements -= 1;
        self.spawn()?;
        Ok(true)
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

fn work(waiting: &Receiver<Job>, answer: &Sender<Report>, tools: &Tools) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(job) = waiting.recv() {
        let done = catch_unwind(AssertUnwindSafe(|| act(job, tools, &mut buffer)));
        tools.beat.fetch_add(1, Ordering::Relaxed);
        let report = done.unwrap_or_else(|panic| Report::Panicked(said(panic.as_ref())));
        if answer.send(report).is_err() {
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
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a worker failed".to_owned())
}
