//! The fold: each frame changes the state a little, and nothing is read twice.

use super::account::Accounts;
use super::acts::{self, ActRow};
use super::canaries::Rounds;
use super::coverage::{self, Findings};
use super::facts::Trace;
use super::files::Files;
use super::intern::{Interner, Text};
use super::network::Contacts;
use super::processes::{Origin, Processes};
use crate::codes;
use prost::Message as _;
use proto::evidence::{self as log, event, frame};
use std::mem::size_of;
use thiserror::Error;

/// Bytes that a trace's facts may take, by the builder's own count: 1 GiB.
pub const STATE_BYTES_MAX: usize = 1 << 30;
/// Bytes of argv that a program can have: the kernel allows three quarters of an 8 MiB stack.
const ARGV_BYTES_MAX: u32 = 6 << 20;

/// Why a frame was left out. The trace goes on, and is never complete.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceError {
    /// The log has no `SessionOpened`, or a frame comes before it.
    #[error("the session was not opened")]
    NotOpened,
    /// A second `SessionOpened`.
    #[error("the session was opened twice")]
    OpenedTwice,
    /// A second `Container`.
    #[error("the session is two containers")]
    ContainerTwice,
    /// A frame after `SessionClosed`.
    #[error("a frame follows the session's end")]
    AfterClose,
    /// A frame or an event without a body, or without a part that it must have.
    #[error("a frame lacks its {0}")]
    Missing(&'static str),
    /// Two hooks with one id.
    #[error("hook {0} is declared twice")]
    HookTwice(u32),
    /// A hook that the session did not declare.
    #[error("hook {0} is not of this session")]
    UnknownHook(u32),
    /// An event's number was seen before.
    #[error("number {number} of epoch {epoch}, hook {hook}, cpu {cpu} was seen before")]
    NumberTwice {
        /// Epoch of the event.
        epoch: u32,
        /// Hook of the event.
        hook: u32,
        /// CPU of the event.
        cpu: u32,
        /// The number.
        number: u64,
    },
    /// A second account, or a second count of misses, of the same key.
    #[error("hook {hook} of epoch {epoch} has two accounts on cpu {cpu}")]
    AccountTwice {
        /// Epoch of the account.
        epoch: u32,
        /// Hook of the account.
        hook: u32,
        /// CPU of the account.
        cpu: u32,
    },
    /// A file id that no record defined.
    #[error("file {0} was never defined")]
    UnknownFile(u64),
    /// A file id that was defined as another version.
    #[error("file {0} was defined as another version")]
    FileRedefined(u64),
    /// A digest that its class does not allow.
    #[error("file {0} has a digest that its class does not allow")]
    DigestOfClass(u64),
    /// Parts of argv that do not follow each other, or have no program.
    #[error("arguments of process {0} do not fit together")]
    Arguments(u32),
    /// An end of a process that had ended.
    #[error("process {0} ended twice")]
    EndedTwice(u32),
    /// A value outside its enumeration, or text that is no code.
    #[error("a value of {0} is not known")]
    Value(&'static str),
    /// The facts are beyond the limit.
    #[error("the trace is over the limit of {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
}

/// Folds frames into a [`Trace`].
#[derive(Debug)]
pub struct Builder {
    opened: Option<Box<log::SessionOpened>>,
    closed: Option<log::SessionClosed>,
    container: Option<Box<log::Container>>,
    pub(super) strings: Interner,
    pub(super) processes: Processes,
    pub(super) files: Files,
    pub(super) contacts: Contacts,
    names: Vec<super::facts::NameRow>,
    acts: Vec<ActRow>,
    accounts: Accounts,
    rounds: Rounds,
    findings: Findings,
    survivors: Vec<(u32, u64)>,
    /// Bytes of rows that were taken, counted as they are; the strings count by themselves.
    row_bytes: usize,
    state_bytes_max: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self::with_limit(STATE_BYTES_MAX)
    }
}

impl Builder {
    /// A builder whose facts may take this many bytes.
    #[must_use]
    pub fn with_limit(state_bytes_max: usize) -> Self {
        Self {
            opened: None,
            closed: None,
            container: None,
            strings: Interner::default(),
            processes: Processes::default(),
            files: Files::default(),
            contacts: Contacts::default(),
            names: Vec::new(),
            acts: Vec::new(),
            accounts: Accounts::default(),
            rounds: Rounds::default(),
            findings: Findings::default(),
            survivors: Vec::new(),
            row_bytes: 0,
            state_bytes_max,
        }
    }

    /// Takes the next frame of the log.
    ///
    /// # Errors
    /// Why the frame was left out. The builder stays usable, and what it makes is never complete.
    pub fn push(&mut self, frame: &log::Frame) -> Result<(), TraceError> {
        let taken = self.take(frame);
        match &taken {
            Ok(()) => {}
            Err(TraceError::TooLarge { .. }) => self.findings.gap(codes::TRACE_TOO_LARGE, ""),
            Err(_) => self.findings.gap(codes::MALFORMED_LOG, ""),
        }
        taken
    }

    /// Ends the fold.
    ///
    /// # Errors
    /// [`TraceError::NotOpened`] for a log without a session.
    pub fn finish(mut self) -> Result<Trace, TraceError> {
        let opened = self.opened.ok_or(TraceError::NotOpened)?;
        self.accounts.attribute_folds(&mut self.files);
        coverage::judge_survivors(&self.survivors, &mut self.processes, &mut self.findings);
        let misses = self.closed.as_ref().map(|closed| closed.misses.as_slice());
        let mut rows = coverage::judge_numbers(&opened.hooks, &self.accounts, misses, &mut self.findings);
        self.rounds.judge(&opened.membership, self.closed.as_ref(), &mut rows, &mut self.findings);
        coverage::judge_arguments(&self.processes, &mut self.findings);
        coverage::judge_end(self.closed.as_ref(), &mut self.findings);
        let level = coverage::judge_hooks(&opened.hooks, &mut self.findings);
        let products = self.files.products();
        self.strings.seal();
        self.files.seal();
        let (gaps, blind_spots) = self.findings.into_lists();
        Ok(Trace {
            opened: *opened,
            closed: self.closed,
            container: self.container,
            strings: self.strings,
            processes: self.processes.into_list(),
            files: self.files,
            contacts: self.contacts.into_list(),
            names: self.names,
            acts: self.acts,
            products,
            coverage: rows,
            level,
            gaps,
            blind_spots,
            survivors: self.survivors,
        })
    }

    fn take(&mut self, frame: &log::Frame) -> Result<(), TraceError> {
        let body = frame.body.as_ref().ok_or(TraceError::Missing("body"))?;
        if let frame::Body::Segment(_) = body {
            return Ok(());
        }
        if let frame::Body::Opened(opened) = body {
            return self.open(opened);
        }
        match (&self.opened, &self.closed) {
            (None, _) => return Err(TraceError::NotOpened),
            (Some(_), Some(_)) => return Err(TraceError::AfterClose),
            (Some(_), None) => {}
        }
        match body {
            frame::Body::Segment(_) | frame::Body::Opened(_) | frame::Body::Directive(_) => Ok(()),
            frame::Body::Event(event) => self.event(event),
            frame::Body::Folded(folded) => {
                self.charge(size_of::<(u64, u64)>())?;
                self.accounts.fold(folded)
            }
            frame::Body::Digest(digest) => {
                let left_at = if digest.left_at.is_empty() { None } else { Some(self.text(&digest.left_at)?) };
                if digest.measure.is_some() {
                    self.charge(Files::MEASURE_BYTES)?;
                }
                self.files.digest(digest, left_at)
            }
            frame::Body::Account(account) => {
                self.charge(64)?;
                self.accounts.account(account)
            }
            frame::Body::BlindSpot(spot) => self.blind_spot(&spot.code, &spot.detail, spot.ends_completeness),
            frame::Body::Canary(round) => self.rounds.round(round),
            frame::Body::Survivor(survivor) => {
                self.charge(size_of::<(u32, u64)>())?;
                self.survivors.push((survivor.pid, survivor.start_ns));
                Ok(())
            }
            frame::Body::Container(container) => self.container(container),
            frame::Body::Closed(closed) => {
                self.closed = Some(closed.clone());
                Ok(())
            }
        }
    }

    fn open(&mut self, opened: &log::SessionOpened) -> Result<(), TraceError> {
        if self.opened.is_some() {
            return Err(TraceError::OpenedTwice);
        }
        for hook in &opened.hooks {
            self.accounts.declare(hook.id)?;
            self.rounds.declare(hook.id, opened.opened_boottime_ns);
        }
        self.processes.root(opened.root_pid);
        self.opened = Some(Box::new(opened.clone()));
        Ok(())
    }

    fn container(&mut self, container: &log::Container) -> Result<(), TraceError> {
        if self.container.is_some() {
            return Err(TraceError::ContainerTwice);
        }
        if ![0, 32].contains(&container.image_sha256.len()) {
            return Err(TraceError::Value("image"));
        }
        self.charge(size_of::<log::Label>() * container.labels.len() + container.encoded_len())?;
        self.container = Some(Box::new(container.clone()));
        Ok(())
    }

    fn event(&mut self, event: &log::Event) -> Result<(), TraceError> {
        self.charge(16)?;
        self.accounts.deliver(event)?;
        let body = event.body.as_ref().ok_or(TraceError::Missing("event"))?;
        match body {
            event::Body::Fork(fork) => self.fork(event, fork),
            event::Body::Exec(exec) => self.exec(event, exec),
            event::Body::ExecArgs(args) => self.exec_args(event, args),
            event::Body::Exit(exit) => {
                let process = self.actor(event.pid);
                self.processes.exit(process, event, exit)
            }
            event::Body::Open(open) => self.file_open(event, open),
            event::Body::Name(change) => self.name(event, change),
            event::Body::Network(act) => self.network(event, act),
            event::Body::Act(act) => self.act(event, act),
            event::Body::Joined(joined) => self.joined(event.pid, joined),
            event::Body::Canary(_) => {
                self.charge(Rounds::EVENT_BYTES)?;
                self.rounds.event(event);
                Ok(())
            }
            // Who made the session's cgroup stands outside of it.
            event::Body::Provisional(_) => Ok(()),
            event::Body::OutsideWrite(_) => self.blind_spot(codes::OUTSIDE_WRITE, "", false),
            event::Body::Attention(attention) => {
                let detail = if attention.detail == 0 { String::new() } else { attention.detail.to_string() };
                self.blind_spot(&attention.code, &detail, false)
            }
        }
    }

    /// The process that acts; one that nobody announced is entered as such, and said.
    fn actor(&mut self, pid: u32) -> u32 {
        if let Some(process) = self.processes.current(pid) {
            return process;
        }
        self.findings.gap(codes::UNKNOWN_PROCESS, &pid.to_string());
        self.processes.begin(pid, None, Origin::Unknown, 0)
    }

    fn fork(&mut self, event: &log::Event, fork: &log::Fork) -> Result<(), TraceError> {
        self.charge(96)?;
        let parent = self.actor(event.pid);
        self.processes.fork(parent, fork);
        Ok(())
    }

    fn joined(&mut self, pid: u32, joined: &log::Joined) -> Result<(), TraceError> {
        self.charge(96)?;
        if self.processes.join(pid, joined.start_ns) {
            return self.blind_spot(codes::JOINED_PROCESS, &pid.to_string(), true);
        }
        Ok(())
    }

    fn exec(&mut self, event: &log::Event, exec: &log::Exec) -> Result<(), TraceError> {
        if exec.args_bytes > ARGV_BYTES_MAX {
            return Err(TraceError::Arguments(event.pid));
        }
        self.charge(192 + exec.args_bytes as usize)?;
        let process = self.actor(event.pid);
        let file = exec.binary.as_ref().ok_or(TraceError::Missing("binary"))?;
        let binary = self.access(event, file.id, Some(file), super::access::EXEC, process)?;
        let filename = self.text(&exec.filename)?;
        let interpreter = self.text(&exec.interpreter)?;
        let directory = self.text(&exec.directory)?;
        self.processes.exec(process, event, exec, binary, [filename, interpreter, directory]);
        Ok(())
    }

    fn exec_args(&mut self, event: &log::Event, args: &log::ExecArgs) -> Result<(), TraceError> {
        if args.args_bytes.is_some_and(|bytes| bytes > ARGV_BYTES_MAX) {
            return Err(TraceError::Arguments(event.pid));
        }
        // An exec was charged with what it said.
        self.charge(args.args_bytes.map_or(0, |_| args.data.len()))?;
        let process = self.actor(event.pid);
        self.processes.exec_args(process, args).ok_or(TraceError::Arguments(event.pid))
    }

    fn file_open(&mut self, event: &log::Event, open: &log::Open) -> Result<(), TraceError> {
        let bits = u8::try_from(open.access).map_err(|_| TraceError::Value("access"))?;
        let process = self.actor(event.pid);
        self.access(event, open.file_id, open.file.as_ref(), bits, process).map(drop)
    }

    /// Enters an access and returns the file's index.
    fn access(
        &mut self,
        event: &log::Event,
        id: u64,
        record: Option<&log::File>,
        bits: u8,
        process: u32,
    ) -> Result<u32, TraceError> {
        let file = match record {
            Some(record) if record.id != id => return Err(TraceError::FileRedefined(id)),
            // A reference may carry the id alone.
            Some(record) if !record.path.is_empty() || !self.files.knows(id) => {
                self.charge(Files::ROW_BYTES)?;
                let path = self.text(&record.path)?;
                self.files.define(record, path, event.flags)?
            }
            _ => self.files.find(id).ok_or(TraceError::UnknownFile(id))?,
        };
        if self.files.access(file, process, bits) {
            self.charge(Files::EDGE_BYTES)?;
        }
        self.accounts.points_to(event, file);
        Ok(file)
    }

    fn name(&mut self, event: &log::Event, change: &log::NameChange) -> Result<(), TraceError> {
        let operation = log::name_change::Operation::try_from(change.operation).unwrap_or_default();
        if operation == log::name_change::Operation::Unspecified {
            return Err(TraceError::Value("operation"));
        }
        self.charge(size_of::<super::facts::NameRow>())?;
        let row = super::facts::NameRow {
            process: self.actor(event.pid),
            operation,
            level: log::Level::try_from(change.level).unwrap_or_default(),
            path: self.text(&change.path)?,
            target: self.text(&change.target)?,
            result: change.result,
            boottime_ns: event.boottime_ns,
        };
        self.names.push(row);
        Ok(())
    }

    fn act(&mut self, event: &log::Event, act: &log::Act) -> Result<(), TraceError> {
        let arguments = acts::arguments(act).ok_or(TraceError::Value("call"))?;
        self.charge(size_of::<ActRow>())?;
        let mut texts = [None; acts::TEXTS_MAX];
        for (text, bytes) in texts.iter_mut().zip(&act.texts) {
            *text = Some(self.text(bytes)?);
        }
        let row = ActRow {
            process: self.actor(event.pid),
            call: self.text(act.call.as_bytes())?,
            arguments,
            result: act.result,
            texts,
            outside: act.outside,
            file: (act.ino != 0).then_some((act.dev, act.ino)),
            boottime_ns: event.boottime_ns,
        };
        self.acts.push(row);
        Ok(())
    }

    fn network(&mut self, event: &log::Event, act: &log::Network) -> Result<(), TraceError> {
        let operation = log::network::Operation::try_from(act.operation).unwrap_or_default();
        if operation == log::network::Operation::Unspecified {
            return Err(TraceError::Value("operation"));
        }
        if act.local_port.max(act.remote_port) > u32::from(u16::MAX) {
            return Err(TraceError::Value("port"));
        }
        self.charge(16)?;
        // The kernel closes sockets outside any process too; such an act has pid 0.
        let process = if event.pid == 0 { None } else { Some(self.actor(event.pid)) };
        let is_dns = matches!(operation, log::network::Operation::DnsSent | log::network::Operation::DnsReceived);
        let message = match &act.dns {
            None if !is_dns => None,
            Some(message) if is_dns => Some(self.text(&message.encode_to_vec())?),
            _ => return Err(TraceError::Value("dns")),
        };
        let remote = self.text(&act.remote)?;
        let local = self.text(&act.local)?;
        if self.contacts.act(process, event.boottime_ns, act, operation, [remote, local], message) {
            self.charge(Contacts::ROW_BYTES)?;
        }
        Ok(())
    }

    fn blind_spot(&mut self, code: &str, detail: &str, ends_completeness: bool) -> Result<(), TraceError> {
        if !codes::is_code(code) {
            return Err(TraceError::Value("code"));
        }
        self.charge(64 + detail.len())?;
        let ends = match codes::find(code) {
            Some(known) => known.ends_completeness() || ends_completeness,
            None => {
                self.findings.gap(codes::UNKNOWN_CODE, code);
                true
            }
        };
        self.findings.blind_spot(code, detail, ends);
        Ok(())
    }

    pub(super) fn text(&mut self, bytes: &[u8]) -> Result<Text, TraceError> {
        let max = self.state_bytes_max;
        self.strings.intern(bytes).ok_or(TraceError::TooLarge { max })
    }

    /// Takes part of the limit.
    fn charge(&mut self, bytes: usize) -> Result<(), TraceError> {
        let max = self.state_bytes_max;
        if self.row_bytes + self.strings.bytes() + bytes > max {
            return Err(TraceError::TooLarge { max });
        }
        self.row_bytes += bytes;
        Ok(())
    }
}
