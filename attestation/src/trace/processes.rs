//! Processes in the order of their beginning. A pid means the process that had it last in the log's order: it stays
//! known after its end, because the kernel still closes files for it then, until a fork gives the pid to another.

use super::intern::Text;
use proto::evidence as log;
use std::collections::HashMap;

/// How a process came into the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The session's own command.
    Root,
    /// Forked by a process of the session.
    Forked,
    /// Was there before and entered.
    Joined,
    /// Acted without its beginning being seen.
    Unknown,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// When, CLOCK_BOOTTIME.
    pub boottime_ns: u64,
    /// As wait(2): low 7 bits signal, bits 8-15 exit code.
    pub status: u32,
    /// CPU time in user space.
    pub utime_ns: u64,
    /// CPU time in the kernel.
    pub stime_ns: u64,
    /// Peak resident set.
    pub max_rss_bytes: u64,
}

/// A process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Thread group, in the initial pid namespace.
    pub pid: u32,
    /// Index of the parent, where that is of the session.
    pub parent: Option<u32>,
    /// How it came into the session.
    pub origin: Origin,
    /// Start, CLOCK_BOOTTIME; 0 where not known.
    pub start_ns: u64,
    /// How it ended, if it did before the session was closed.
    pub end: Option<End>,
    /// Named among the survivors.
    pub survivor: bool,
    /// Programs that it ran, in order.
    pub(super) execs: Vec<ExecRow>,
}

/// A program that a process ran.
#[derive(Debug, Clone)]
pub(super) struct ExecRow {
    pub(super) boottime_ns: u64,
    pub(super) cap_effective: u64,
    pub(super) namespaces: [u64; 4],
    pub(super) ids: [u32; 4],
    pub(super) binary: u32,
    pub(super) filename: Text,
    pub(super) interpreter: Text,
    pub(super) directory: Text,
    pub(super) args_bytes: u32,
    pub(super) args: Vec<u8>,
}

/// All processes of a session.
#[derive(Debug, Default)]
pub(super) struct Processes {
    list: Vec<Process>,
    /// pid to the process that had it last.
    last: HashMap<u32, u32>,
}

impl Processes {
    pub(super) fn root(&mut self, pid: u32) {
        self.begin(pid, None, Origin::Root, 0);
    }

    pub(super) fn current(&self, pid: u32) -> Option<u32> {
        self.last.get(&pid).copied()
    }

    pub(super) fn begin(&mut self, pid: u32, parent: Option<u32>, origin: Origin, start_ns: u64) -> u32 {
        // The builder's limit on memory lies far below 2^32 rows.
        let index = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(Process { pid, parent, origin, start_ns, end: None, survivor: false, execs: Vec::new() });
        self.last.insert(pid, index);
        index
    }

    fn get(&mut self, process: u32) -> Option<&mut Process> {
        self.list.get_mut(process as usize)
    }

    fn live(&mut self, pid: u32) -> Option<&mut Process> {
        let process = self.current(pid)?;
        self.get(process).filter(|process| process.end.is_none())
    }

    pub(super) fn fork(&mut self, parent: u32, fork: &log::Fork) {
        let known = self.live(fork.child_pid);
        // The same child may have been announced by its cgroup first.
        if let Some(child) = known.filter(|child| child.start_ns == fork.child_start_ns) {
            child.parent = child.parent.or(Some(parent));
            return;
        }
        self.begin(fork.child_pid, Some(parent), Origin::Forked, fork.child_start_ns);
    }

    /// A process entered from outside; false if it was of the session already.
    pub(super) fn join(&mut self, pid: u32, start_ns: u64) -> bool {
        if let Some(known) = self.live(pid) {
            if known.start_ns == 0 {
                known.start_ns = start_ns;
            }
            if known.start_ns == start_ns {
                return false;
            }
        }
        self.begin(pid, None, Origin::Joined, start_ns);
        true
    }

    pub(super) fn exec(
        &mut self,
        process: u32,
        event: &log::Event,
        exec: &log::Exec,
        binary: u32,
        [filename, interpreter, directory]: [Text; 3],
    ) {
        let row = ExecRow {
            boottime_ns: event.boottime_ns,
            cap_effective: exec.cap_effective,
            namespaces: [exec.pid_ns, exec.mnt_ns, exec.net_ns, exec.user_ns],
            ids: [exec.uid, exec.gid, exec.euid, exec.egid],
            binary,
            filename,
            interpreter,
            directory,
            args_bytes: exec.args_bytes,
            args: Vec::with_capacity(exec.args_bytes as usize),
        };
        if let Some(process) = self.get(process) {
            process.execs.push(row);
        }
    }

    /// Adds a part of argv to the last program; `None` if it does not fit there.
    pub(super) fn exec_args(&mut self, process: u32, part: &log::ExecArgs) -> Option<()> {
        let row = self.get(process)?.execs.last_mut()?;
        let args_bytes = part.args_bytes.unwrap_or(row.args_bytes);
        let room = (args_bytes as usize).checked_sub(row.args.len());
        let fits = row.args.len() == part.offset as usize && room.is_some_and(|room| part.data.len() <= room);
        if fits {
            row.args_bytes = args_bytes;
            row.args.extend_from_slice(&part.data);
        }
        fits.then_some(())
    }

    pub(super) fn exit(
        &mut self,
        process: u32,
        event: &log::Event,
        exit: &log::Exit,
    ) -> Result<(), super::builder::TraceError> {
        let ended = super::builder::TraceError::EndedTwice(event.pid);
        let process = self.get(process).filter(|process| process.end.is_none()).ok_or(ended)?;
        if process.start_ns == 0 {
            process.start_ns = exit.start_ns;
        }
        process.end = Some(End {
            boottime_ns: event.boottime_ns,
            status: exit.status,
            utime_ns: exit.utime_ns,
            stime_ns: exit.stime_ns,
            max_rss_bytes: exit.max_rss_bytes,
        });
        Ok(())
    }

    /// Marks a process as living on; false if the session has no such process.
    pub(super) fn survive(&mut self, pid: u32, start_ns: u64) -> bool {
        match self.live(pid) {
            Some(process) if process.start_ns == start_ns || process.start_ns == 0 || start_ns == 0 => {
                process.survivor = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.list.iter()
    }

    pub(super) fn into_list(mut self) -> Vec<Process> {
        self.list.shrink_to_fit();
        self.list
    }
}
