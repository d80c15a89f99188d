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
    /// Use the weakest way of every observation, whatever the kernel grants.
    pub weakest: bool,
    /// Observations that are not made, of [`optional`].
    pub without: Vec<String>,
    /// Attach programs that do nothing too, for the cost of the others to be measured beside.
    pub with_empty: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ring_bytes: 16 << 20,
            slots: 4,
            folds: 262_144,
            members: 65_536,
            weakest: false,
            without: Vec::new(),
            with_empty: false,
        }
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
    /// Its programs; the first names the row.
    pub programs: Vec<&'static str>,
    /// The kernel's tag of the first program.
    pub tag: [u8; 8],
    /// Stronger ways that the kernel refused, with its answer.
    pub refused: Vec<String>,
}

impl Attached {
    /// Whether acts are seen as the kernel asks its security modules about them, and only those that it asks about.
    pub fn is_asked(&self) -> bool {
        self.hook == hook::ACT && !self.programs.contains(&SYS_EXIT.name)
    }
}

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Point {
    /// BTF tracepoint.
    Tracepoint,
    /// LSM hook.
    Lsm,
    /// Entry of a kernel function.
    Entry,
    /// Exit of a kernel function.
    Exit,
    /// cgroup socket address hook, at the hierarchy's root.
    CgroupSockAddr,
    /// Packets that go out, at the hierarchy's root.
    CgroupEgress,
    /// Packets that come in, at the hierarchy's root.
    CgroupIngress,
}

/// A program and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) point: Point,
    /// The tracepoint, hook or function.
    pub(super) target: &'static str,
    /// A second program for the same, which tells what the kernel skipped the first for.
    pub(super) spare: Option<&'static str>,
}

impl Program {
    /// The kernel's type by whose number the program is attached: a function, or a tracepoint's typedef.
    pub(super) fn kernel_type(&self) -> Option<String> {
        match self.point {
            Point::Tracepoint => Some(format!("btf_trace_{}", self.target)),
            Point::Lsm => Some(format!("bpf_lsm_{}", self.target)),
            Point::Entry | Point::Exit => Some(self.target.to_owned()),
            Point::CgroupSockAddr | Point::CgroupEgress | Point::CgroupIngress => None,
        }
    }
}

/// Every program that may be attached; spares have the types of those that they stand in for.
pub(super) fn programs() -> impl Iterator<Item = &'static Program> {
    let ways = OBSERVATIONS.iter().chain(&ASKED).flat_map(|one| one.ways);
    ways.flat_map(|way| way.programs).chain([&SYS_EXIT, &RENAMES, &IMA])
}

/// One way to make an observation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) method: &'static str,
    pub(super) level: u32,
    pub(super) programs: &'static [Program],
}

/// An observation, its ways from the strongest to the weakest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation {
    pub(super) hook: u16,
    pub(super) name: &'static str,
    pub(super) ways: &'static [Way],
}

const fn tracepoint(name: &'static str, target: &'static str) -> Program {
    Program { name, point: Point::Tracepoint, target, spare: None }
}

const fn spared(name: &'static str, spare: &'static str, target: &'static str) -> Program {
    Program { spare: Some(spare), ..tracepoint(name, target) }
}

const fn lsm(name: &'static str, target: &'static str) -> Program {
    Program { point: Point::Lsm, ..tracepoint(name, target) }
}

const fn entry(name: &'static str, target: &'static str) -> Program {
    Program { point: Point::Entry, ..tracepoint(name, target) }
}

const fn sock_addr(name: &'static str) -> Program {
    Program { point: Point::CgroupSockAddr, ..tracepoint(name, name) }
}

const fn packets(name: &'static str, point: Point) -> Program {
    Program { point, ..tracepoint(name, name) }
}

const fn way(method: &'static str, level: u32, programs: &'static [Program]) -> Way {
    Way { method, level, programs }
}

/// The end of every system call.
pub(super) const SYS_EXIT: Program = tracepoint("sys_exit", "sys_exit");
/// Asks IMA what it measured at an exec, for the tracepoint to tell; where the kernel refuses it, nobody is asked.
pub(super) const IMA: Program = lsm("ima_exec", "bprm_committed_creds");
/// Counts renames, so that a path told before one is told again.
pub(super) const RENAMES: Program = Program { point: Point::Exit, ..tracepoint("fexit_rename", "vfs_rename") };

/// Programs that do nothing, at the hooks that are run most.
pub(super) const EMPTY: [Program; 2] = [lsm("empty_file_open", "file_open"), tracepoint("empty_sys_exit", "sys_exit")];

const fn returned(level: u32) -> Way {
    way("tp_btf/sys_exit", level, &[SYS_EXIT])
}

const fn only(hook: u16, name: &'static str, ways: &'static [Way]) -> Observation {
    Observation { hook, name, ways }
}

/// The spare of a program.
pub(super) fn spare(name: &str) -> Option<&'static str> {
    programs().find(|program| program.name == name)?.spare
}

/// Acts beyond files, names and peers, which not every set of hooks has. Arguments are registers as the kernel saved them, but
/// texts and what was received are read from the program's memory.
pub(super) const ACTS: Observation = only(hook::ACT, "act", &[returned(level::USER_ARGUMENT)]);

/// What every kernel of that kind has.
macro_rules! asked_always {
    () => {
        "lsm/capable+userns_create+file_receive+ptrace_access_check+ptrace_traceme+bpf+file_mprotect+socket_create+\
         task_fix_setuid+task_fix_setgid+capset+shm_alloc_security+sem_alloc_security+msg_queue_alloc_security+\
         ipc_permission+inode_init_security_anon+perf_event_open+file_ioctl"
    };
}

/// Of the kernels that have keys, one more.
const ASKED_PROGRAMS: [Program; 19] = [
    lsm("lsm_capable", "capable"),
    lsm("lsm_userns", "userns_create"),
    lsm("lsm_receive", "file_receive"),
    lsm("lsm_access", "ptrace_access_check"),
    lsm("lsm_traceme", "ptrace_traceme"),
    lsm("lsm_bpf", "bpf"),
    lsm("lsm_mprotect", "file_mprotect"),
    lsm("lsm_socket", "socket_create"),
    lsm("lsm_setuid", "task_fix_setuid"),
    lsm("lsm_setgid", "task_fix_setgid"),
    lsm("lsm_capset", "capset"),
    lsm("lsm_shm", "shm_alloc_security"),
    lsm("lsm_sem", "sem_alloc_security"),
    lsm("lsm_msg", "msg_queue_alloc_security"),
    lsm("lsm_ipc", "ipc_permission"),
    lsm("lsm_anonymous", "inode_init_security_anon"),
    lsm("lsm_perf", "perf_event_open"),
    lsm("lsm_ioctl", "file_ioctl"),
    lsm("lsm_key", "key_permission"),
];

/// The same where tracepoints are preempted: no call is missed that the kernel asks about. What a call comes to is not known.
pub(super) const ASKED: [Observation; 2] = [
    only(
        hook::ACT,
        ACTS.name,
        &[
            way(concat!(asked_always!(), "+key_permission"), level::USER_ARGUMENT, &ASKED_PROGRAMS),
            way(asked_always!(), level::USER_ARGUMENT, ASKED_PROGRAMS.split_at(ASKED_PROGRAMS.len() - 1).0),
        ],
    ),
    only(hook::MAPPING, "mapping", &[way("lsm/mmap_file", level::OBJECT, &[lsm("lsm_mmap", "mmap_file")])]),
];

/// Observations without which a session can still follow its processes.
pub fn optional() -> impl Iterator<Item = &'static str> {
    let needed = |one: &&Observation| ![hook::FORK, hook::EXEC, hook::EXIT, hook::CGROUP].contains(&one.hook);
    OBSERVATIONS.iter().filter(needed).chain([&ACTS]).map(|one| one.name)
}

/// Every observation that all sets of hooks have.
pub(super) const OBSERVATIONS: &[Observation] = &[
    only(
        hook::FORK,
        "fork",
        &[way("tp_btf/sched_process_fork", level::OBJECT, &[spared("fork", "fork_spare", "sched_process_fork")])],
    ),
    only(
        hook::EXEC,
        "exec",
        &[way("tp_btf/sched_process_exec", level::OBJECT, &[spared("exec", "exec_spare", "sched_process_exec")])],
    ),
    only(
        hook::EXIT,
        "exit",
        &[way("tp_btf/sched_process_exit", level::OBJECT, &[spared("exit", "exit_spare", "sched_process_exit")])],
    ),
    only(
        hook::OPEN,
        "open",
        &[
            way("lsm/file_open", level::OBJECT, &[lsm("lsm_file_open", "file_open")]),
            way("fentry/security_file_open", level::OBJECT, &[entry("fentry_file_open", "security_file_open")]),
            returned(level::RETURNED_OBJECT),
        ],
    ),
    only(
        hook::RENAME,
        "rename",
        &[
            way("lsm/path_rename", level::OBJECT, &[lsm("lsm_rename", "path_rename")]),
            way("fentry/security_path_rename", level::OBJECT, &[entry("fentry_rename", "security_path_rename")]),
            returned(level::USER_ARGUMENT),
        ],
    ),
    only(
        hook::LINK,
        "link",
        &[
            way("lsm/path_link", level::OBJECT, &[lsm("lsm_link", "path_link")]),
            way("fentry/security_path_link", level::OBJECT, &[entry("fentry_link", "security_path_link")]),
            returned(level::USER_ARGUMENT),
        ],
    ),
    only(
        hook::UNLINK,
        "unlink",
        &[
            way(
                "lsm/path_unlink+path_rmdir",
                level::OBJECT,
                &[lsm("lsm_unlink", "path_unlink"), lsm("lsm_rmdir", "path_rmdir")],
            ),
            way(
                "fentry/security_path_unlink+security_path_rmdir",
                level::OBJECT,
                &[entry("fentry_unlink", "security_path_unlink"), entry("fentry_rmdir", "security_path_rmdir")],
            ),
            returned(level::USER_ARGUMENT),
        ],
    ),
    only(
        hook::MKDIR,
        "mkdir",
        &[
            way("lsm/path_mkdir", level::OBJECT, &[lsm("lsm_mkdir", "path_mkdir")]),
            way("fentry/security_path_mkdir", level::OBJECT, &[entry("fentry_mkdir", "security_path_mkdir")]),
            returned(level::USER_ARGUMENT),
        ],
    ),
    only(
        hook::SYMLINK,
        "symlink",
        &[
            way("lsm/path_symlink", level::OBJECT, &[lsm("lsm_symlink", "path_symlink")]),
            way("fentry/security_path_symlink", level::OBJECT, &[entry("fentry_symlink", "security_path_symlink")]),
            returned(level::USER_ARGUMENT),
        ],
    ),
    only(
        hook::TRUNCATE,
        "truncate",
        &[
            way(
                "lsm/path_truncate+file_truncate",
                level::OBJECT,
                &[lsm("lsm_truncate", "path_truncate"), lsm("lsm_ftruncate", "file_truncate")],
            ),
            // Before 6.2 the kernel asks for both with the path.
            way("lsm/path_truncate", level::OBJECT, &[lsm("lsm_truncate", "path_truncate")]),
            way(
                "fentry/security_path_truncate+security_file_truncate",
                level::OBJECT,
                &[
                    entry("fentry_truncate", "security_path_truncate"),
                    entry("fentry_ftruncate", "security_file_truncate"),
                ],
            ),
            returned(level::RETURNED_OBJECT),
        ],
    ),
    only(
        hook::CONNECT,
        "connect",
        &[
            way(
                "lsm/socket_connect+unix_stream_connect",
                level::OBJECT,
                &[lsm("lsm_connect", "socket_connect"), lsm("lsm_unix_connect", "unix_stream_connect")],
            ),
            way(
                "fentry/security_socket_connect+security_unix_stream_connect",
                level::OBJECT,
                &[
                    entry("fentry_connect", "security_socket_connect"),
                    entry("fentry_unix_connect", "security_unix_stream_connect"),
                ],
            ),
            returned(level::RETURNED_OBJECT),
        ],
    ),
    only(
        hook::CONNECT_ATTEMPT,
        "connect-attempt",
        &[way("cgroup/connect4+connect6", level::OBJECT, &[sock_addr("connect4"), sock_addr("connect6")])],
    ),
    only(
        hook::SEND,
        "send",
        &[way("cgroup/sendmsg4+sendmsg6", level::OBJECT, &[sock_addr("sendmsg4"), sock_addr("sendmsg6")])],
    ),
    only(
        hook::UNIX_SEND,
        "unix-send",
        &[
            way("lsm/unix_may_send", level::OBJECT, &[lsm("lsm_unix_send", "unix_may_send")]),
            way("fentry/security_unix_may_send", level::OBJECT, &[entry("fentry_unix_send", "security_unix_may_send")]),
            returned(level::USER_ARGUMENT),
        ],
    ),
    only(
        hook::DNS,
        "dns",
        &[way(
            "cgroup_skb/egress+ingress",
            level::OBJECT,
            &[packets("dns_sent", Point::CgroupEgress), packets("dns_received", Point::CgroupIngress)],
        )],
    ),
    only(
        hook::BIND,
        "bind",
        &[
            way("lsm/socket_bind", level::OBJECT, &[lsm("lsm_bind", "socket_bind")]),
            way("fentry/security_socket_bind", level::OBJECT, &[entry("fentry_bind", "security_socket_bind")]),
            returned(level::RETURNED_OBJECT),
        ],
    ),
    only(
        hook::ACCEPT,
        "accept",
        &[
            way("lsm/sock_graft", level::OBJECT, &[lsm("lsm_accept", "sock_graft")]),
            way("fentry/security_sock_graft", level::OBJECT, &[entry("fentry_accept", "security_sock_graft")]),
            returned(level::RETURNED_OBJECT),
        ],
    ),
    only(
        hook::CLOSE,
        "close",
        &[way(
            "tp_btf/inet_sock_set_state",
            level::OBJECT,
            &[spared("sock_state", "sock_state_spare", "inet_sock_set_state")],
        )],
    ),
    only(
        hook::CGROUP,
        "membership",
        &[way(
            "tp_btf/cgroup_attach_task+cgroup_mkdir",
            level::OBJECT,
            &[
                spared("cgroup_attach", "cgroup_attach_spare", "cgroup_attach_task"),
                spared("cgroup_mkdir", "cgroup_mkdir_spare", "cgroup_mkdir"),
            ],
        )],
    ),
];
