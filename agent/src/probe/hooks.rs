//! Which programs watch which observation: for each the strongest that the kernel grants, recorded with what it refused.

use agent_ebpf::{hook, level};

/// Sizes of the kernel side's tables.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the ring, a power of two.
    pub ring_bytes: u32,
    /// Concurrent sessions under this loader.
    pub slots: u32,
    /// (process, file version) pairs whose repeats are folded.
    pub folds: u32,
    /// Processes that are members at once.
    pub members: u32,
    /// Use the weakest method of every observation, whatever the kernel grants.
    pub weakest: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ring_bytes: 16 << 20, slots: 4, folds: 262_144, members: 65_536, weakest: false }
    }
}

/// A hook in place.
#[derive(Debug, Clone)]
pub struct Attached {
    /// One of [`hook`].
    pub hook: u16,
    /// What it observes.
    pub observation: &'static str,
    /// How, in the kernel's terms.
    pub method: &'static str,
    /// One of [`level`].
    pub level: u32,
    /// The program's name.
    pub program: &'static str,
    /// The kernel's tag of the program.
    pub tag: [u8; 8],
    /// Whether the kernel skips, and counts, a run of this program inside itself.
    pub guarded: bool,
    /// Stronger methods that the kernel refused, with its answer.
    pub refused: Vec<String>,
}

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// BTF tracepoint of this name.
    Tracepoint(&'static str),
    /// cgroup socket address hook, at the hierarchy's root.
    CgroupSockAddr,
}

/// A program and where it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) point: Point,
}

/// One way to make an observation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) hook: u16,
    pub(super) observation: &'static str,
    pub(super) method: &'static str,
    pub(super) level: u32,
    pub(super) program: &'static str,
}

/// Every program of the weak path.
pub(super) const PROGRAMS: &[Program] = &[
    Program { name: "fork", point: Point::Tracepoint("sched_process_fork") },
    Program { name: "exec", point: Point::Tracepoint("sched_process_exec") },
    Program { name: "exit", point: Point::Tracepoint("sched_process_exit") },
    Program { name: "sock_state", point: Point::Tracepoint("inet_sock_set_state") },
    Program { name: "cgroup_attach", point: Point::Tracepoint("cgroup_attach_task") },
    Program { name: "cgroup_mkdir", point: Point::Tracepoint("cgroup_mkdir") },
    Program { name: "connect4", point: Point::CgroupSockAddr },
    Program { name: "connect6", point: Point::CgroupSockAddr },
    Program { name: "sendmsg4", point: Point::CgroupSockAddr },
    Program { name: "sendmsg6", point: Point::CgroupSockAddr },
    Program { name: "sys_exit", point: Point::Tracepoint("sys_exit") },
];

const fn way(hook: u16, observation: &'static str, method: &'static str, level: u32, program: &'static str) -> Way {
    Way { hook, observation, method, level, program }
}

/// Every observation by its weakest way.
pub(super) const WEAKEST: &[Way] = &[
    way(hook::FORK, "fork", "tp_btf/sched_process_fork", level::OBJECT, "fork"),
    way(hook::EXEC, "exec", "tp_btf/sched_process_exec", level::OBJECT, "exec"),
    way(hook::EXIT, "exit", "tp_btf/sched_process_exit", level::OBJECT, "exit"),
    way(hook::OPEN, "open", "tp_btf/sys_exit", level::RETURNED_OBJECT, "sys_exit"),
    way(hook::RENAME, "rename", "tp_btf/sys_exit", level::USER_ARGUMENT, "sys_exit"),
    way(hook::LINK, "link", "tp_btf/sys_exit", level::USER_ARGUMENT, "sys_exit"),
    way(hook::UNLINK, "unlink", "tp_btf/sys_exit", level::USER_ARGUMENT, "sys_exit"),
    way(hook::MKDIR, "mkdir", "tp_btf/sys_exit", level::USER_ARGUMENT, "sys_exit"),
    way(hook::SYMLINK, "symlink", "tp_btf/sys_exit", level::USER_ARGUMENT, "sys_exit"),
    way(hook::TRUNCATE, "truncate", "tp_btf/sys_exit", level::RETURNED_OBJECT, "sys_exit"),
    way(hook::CONNECT, "connect", "tp_btf/sys_exit", level::RETURNED_OBJECT, "sys_exit"),
    way(hook::CONNECT_ATTEMPT, "connect-attempt", "cgroup/connect4+connect6", level::OBJECT, "connect4"),
    way(hook::SEND, "send", "cgroup/sendmsg4+sendmsg6", level::OBJECT, "sendmsg4"),
    way(hook::BIND, "bind", "tp_btf/sys_exit", level::RETURNED_OBJECT, "sys_exit"),
    way(hook::ACCEPT, "accept", "tp_btf/sys_exit", level::RETURNED_OBJECT, "sys_exit"),
    way(hook::CLOSE, "close", "tp_btf/inet_sock_set_state", level::OBJECT, "sock_state"),
    way(hook::CGROUP, "membership", "tp_btf/cgroup_attach_task+cgroup_mkdir", level::OBJECT, "cgroup_attach"),
    way(hook::ATTENTION, "attention", "tp_btf/sys_exit", level::OBJECT, "sys_exit"),
    way(hook::OUTSIDE, "outside-write", "tp_btf/sys_exit", level::RETURNED_OBJECT, "sys_exit"),
];
