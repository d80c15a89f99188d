//! The calls that are told as what they are: their numbers, names, and which of their arguments are texts.

use agent_ebpf::{
    call::{Call, act, asked, class},
    hook,
};

/// A call that is told.
pub(super) struct Told {
    pub(super) number: usize,
    name: &'static str,
    pub(super) call: Call,
}

/// The name of a call that is told, as Linux has it.
pub(crate) fn name(number: u32) -> Option<&'static str> {
    ACTS.iter().find(|act| act.number == number as usize).map(|act| act.name)
}

const fn told(number: usize, name: &'static str, which: u8) -> Told {
    let call = super::call(class::ACT, hook::ACT, 0);
    Told { number, name, call: Call { operation: which, ..call } }
}

/// Told where the kernel asks about it too, in kernels where the end of system calls cannot be relied upon.
const fn by(told: Told, asked: u8) -> Told {
    Told { call: Call { flagged_operation: asked, ..told.call }, ..told }
}

/// With a text.
const fn one(told: Told, text: u8) -> Told {
    Told { call: Call { from_name: text, ..told.call }, ..told }
}

/// With two texts.
const fn two(told: Told, first: u8, second: u8) -> Told {
    Told { call: Call { from_name: first, to_name: second, ..told.call }, ..told }
}

/// With the bit that tells two kinds of one operation apart.
const fn marked(told: Told) -> Told {
    Told { call: Call { flag_bit: 1, ..told.call }, ..told }
}

/// By number.
pub(super) const ACTS: &[Told] = &[
    by(told(9, "mmap", act::MAP), asked::MAP),
    by(told(10, "mprotect", act::PROTECT), asked::PROTECT),
    by(told(16, "ioctl", act::CONTROL), asked::CONTROL),
    by(told(29, "shmget", act::ALL), asked::IPC),
    by(told(30, "shmat", act::ALL), asked::IPC),
    by(told(41, "socket", act::ALL), asked::SOCKET),
    by(told(47, "recvmsg", act::RECEIVE), asked::DESCRIPTOR),
    by(told(53, "socketpair", act::ALL), asked::SOCKET),
    by(told(56, "clone", act::CLONE), asked::PRIVILEGE),
    by(told(64, "semget", act::ALL), asked::IPC),
    by(told(68, "msgget", act::ALL), asked::IPC),
    by(told(101, "ptrace", act::TRACE), asked::ACCESS),
    by(told(105, "setuid", act::ALL), asked::CREDENTIALS),
    by(told(106, "setgid", act::ALL), asked::CREDENTIALS),
    by(told(113, "setreuid", act::ALL), asked::CREDENTIALS),
    by(told(114, "setregid", act::ALL), asked::CREDENTIALS),
    by(told(116, "setgroups", act::ALL), asked::PRIVILEGE),
    by(told(117, "setresuid", act::ALL), asked::CREDENTIALS),
    by(told(119, "setresgid", act::ALL), asked::CREDENTIALS),
    by(told(122, "setfsuid", act::ALL), asked::CREDENTIALS),
    by(told(123, "setfsgid", act::ALL), asked::CREDENTIALS),
    by(told(126, "capset", act::ALL), asked::CREDENTIALS),
    told(135, "personality", act::ALL),
    by(two(told(155, "pivot_root", act::ALL), 0, 1), asked::PRIVILEGE),
    by(told(159, "adjtimex", act::ALL), asked::PRIVILEGE),
    by(one(told(161, "chroot", act::ALL), 0), asked::PRIVILEGE),
    by(one(told(163, "acct", act::ALL), 0), asked::PRIVILEGE),
    by(told(164, "settimeofday", act::ALL), asked::PRIVILEGE),
    by(two(told(165, "mount", act::ALL), 0, 1), asked::PRIVILEGE),
    by(one(told(166, "umount2", act::ALL), 0), asked::PRIVILEGE),
    by(one(told(167, "swapon", act::ALL), 0), asked::PRIVILEGE),
    by(one(told(168, "swapoff", act::ALL), 0), asked::PRIVILEGE),
    by(told(172, "iopl", act::ALL), asked::PRIVILEGE),
    by(told(173, "ioperm", act::ALL), asked::PRIVILEGE),
    by(told(175, "init_module", act::ALL), asked::PRIVILEGE),
    by(one(told(176, "delete_module", act::ALL), 0), asked::PRIVILEGE),
    by(told(227, "clock_settime", act::ALL), asked::PRIVILEGE),
    one(told(240, "mq_open", act::ALL), 0),
    by(told(246, "kexec_load", act::ALL), asked::PRIVILEGE),
    by(two(told(248, "add_key", act::ALL), 0, 1), asked::KEY),
    by(two(told(249, "request_key", act::ALL), 0, 1), asked::KEY),
    by(told(250, "keyctl", act::ALL), asked::KEY),
    by(told(272, "unshare", act::ALL), asked::PRIVILEGE),
    by(told(298, "perf_event_open", act::ALL), asked::PERFORMANCE),
    by(told(300, "fanotify_init", act::ALL), asked::PRIVILEGE),
    by(marked(told(299, "recvmmsg", act::RECEIVE)), asked::DESCRIPTOR),
    by(told(305, "clock_adjtime", act::ALL), asked::PRIVILEGE),
    by(told(308, "setns", act::ALL), asked::PRIVILEGE),
    by(told(310, "process_vm_readv", act::MEMORY), asked::ACCESS),
    by(marked(told(311, "process_vm_writev", act::MEMORY)), asked::ACCESS),
    by(told(313, "finit_module", act::ALL), asked::PRIVILEGE),
    told(317, "seccomp", act::ALL),
    by(one(told(319, "memfd_create", act::ALL), 0), asked::ANONYMOUS),
    by(told(320, "kexec_file_load", act::ALL), asked::PRIVILEGE),
    by(told(321, "bpf", act::ALL), asked::BPF),
    by(told(323, "userfaultfd", act::ALL), asked::ANONYMOUS),
    by(told(329, "pkey_mprotect", act::PROTECT), asked::PROTECT),
    by(told(425, "io_uring_setup", act::ALL), asked::ANONYMOUS),
    by(one(told(428, "open_tree", act::ALL), 1), asked::PRIVILEGE),
    by(two(told(429, "move_mount", act::ALL), 1, 3), asked::PRIVILEGE),
    by(one(told(430, "fsopen", act::ALL), 0), asked::PRIVILEGE),
    by(told(431, "fsconfig", act::ALL), asked::PRIVILEGE),
    by(told(432, "fsmount", act::ALL), asked::PRIVILEGE),
    by(one(told(433, "fspick", act::ALL), 1), asked::PRIVILEGE),
    by(told(435, "clone3", act::CLONE3), asked::PRIVILEGE),
    by(told(438, "pidfd_getfd", act::DESCRIPTOR), asked::DESCRIPTOR),
    by(one(told(442, "mount_setattr", act::ALL), 1), asked::PRIVILEGE),
    by(told(447, "memfd_secret", act::ALL), asked::ANONYMOUS),
    by(one(told(467, "open_tree_attr", act::ALL), 1), asked::PRIVILEGE),
];

/// Numbers that the 32-bit entry gives to those of these calls that may end completeness, or change what paths mean. Those
/// that every 32-bit program makes are left out: the strong hooks see its files and peers.
pub(super) const COMPAT: &[(usize, u16)] = &[
    (21, hook::ACT),  // mount
    (22, hook::ACT),  // umount
    (25, hook::ACT),  // stime
    (26, hook::ACT),  // ptrace
    (52, hook::ACT),  // umount2
    (61, hook::ACT),  // chroot
    (79, hook::ACT),  // settimeofday
    (87, hook::ACT),  // swapon
    (101, hook::ACT), // ioperm
    (102, hook::ACT), // socketcall
    (110, hook::ACT), // iopl
    (128, hook::ACT), // init_module
    (129, hook::ACT), // delete_module
    (217, hook::ACT), // pivot_root
    (264, hook::ACT), // clock_settime
    (283, hook::ACT), // kexec_load
    (310, hook::ACT), // unshare
    (337, hook::ACT), // recvmmsg
    (338, hook::ACT), // fanotify_init
    (346, hook::ACT), // setns
    (347, hook::ACT), // process_vm_readv
    (348, hook::ACT), // process_vm_writev
    (350, hook::ACT), // finit_module
    (357, hook::ACT), // bpf
    (372, hook::ACT), // recvmsg
    (404, hook::ACT), // clock_settime64
    (417, hook::ACT), // recvmmsg_time64
    (425, hook::ACT), // io_uring_setup
    (428, hook::ACT), // open_tree
    (429, hook::ACT), // move_mount
    (438, hook::ACT), // pidfd_getfd
];
