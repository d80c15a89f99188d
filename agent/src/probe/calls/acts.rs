//! The calls that are told as what they are: their numbers, names, and which of their arguments are texts.

use agent_ebpf::{
    call::{Call, act, class},
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
    told(9, "mmap", act::MAP),
    told(10, "mprotect", act::PROTECT),
    told(16, "ioctl", act::CONTROL),
    told(29, "shmget", act::ALL),
    told(30, "shmat", act::ALL),
    told(41, "socket", act::ALL),
    told(47, "recvmsg", act::RECEIVE),
    told(53, "socketpair", act::ALL),
    told(56, "clone", act::CLONE),
    told(64, "semget", act::ALL),
    told(68, "msgget", act::ALL),
    told(101, "ptrace", act::TRACE),
    told(105, "setuid", act::ALL),
    told(106, "setgid", act::ALL),
    told(113, "setreuid", act::ALL),
    told(114, "setregid", act::ALL),
    told(116, "setgroups", act::ALL),
    told(117, "setresuid", act::ALL),
    told(119, "setresgid", act::ALL),
    told(122, "setfsuid", act::ALL),
    told(123, "setfsgid", act::ALL),
    told(126, "capset", act::ALL),
    told(135, "personality", act::ALL),
    two(told(155, "pivot_root", act::ALL), 0, 1),
    told(159, "adjtimex", act::ALL),
    one(told(161, "chroot", act::ALL), 0),
    one(told(163, "acct", act::ALL), 0),
    told(164, "settimeofday", act::ALL),
    two(told(165, "mount", act::ALL), 0, 1),
    one(told(166, "umount2", act::ALL), 0),
    one(told(167, "swapon", act::ALL), 0),
    one(told(168, "swapoff", act::ALL), 0),
    told(172, "iopl", act::ALL),
    told(173, "ioperm", act::ALL),
    told(175, "init_module", act::ALL),
    one(told(176, "delete_module", act::ALL), 0),
    told(227, "clock_settime", act::ALL),
    one(told(240, "mq_open", act::ALL), 0),
    told(246, "kexec_load", act::ALL),
    two(told(248, "add_key", act::ALL), 0, 1),
    two(told(249, "request_key", act::ALL), 0, 1),
    told(250, "keyctl", act::ALL),
    told(272, "unshare", act::ALL),
    told(298, "perf_event_open", act::ALL),
    told(300, "fanotify_init", act::ALL),
    marked(told(299, "recvmmsg", act::RECEIVE)),
    told(305, "clock_adjtime", act::ALL),
    told(308, "setns", act::ALL),
    told(310, "process_vm_readv", act::MEMORY),
    marked(told(311, "process_vm_writev", act::MEMORY)),
    told(313, "finit_module", act::ALL),
    told(317, "seccomp", act::ALL),
    one(told(319, "memfd_create", act::ALL), 0),
    told(320, "kexec_file_load", act::ALL),
    told(321, "bpf", act::ALL),
    told(323, "userfaultfd", act::ALL),
    told(329, "pkey_mprotect", act::PROTECT),
    told(425, "io_uring_setup", act::ALL),
    one(told(428, "open_tree", act::ALL), 1),
    two(told(429, "move_mount", act::ALL), 1, 3),
    one(told(430, "fsopen", act::ALL), 0),
    told(431, "fsconfig", act::ALL),
    told(432, "fsmount", act::ALL),
    one(told(433, "fspick", act::ALL), 1),
    told(435, "clone3", act::CLONE3),
    told(438, "pidfd_getfd", act::DESCRIPTOR),
    one(told(442, "mount_setattr", act::ALL), 1),
    told(447, "memfd_secret", act::ALL),
    one(told(467, "open_tree_attr", act::ALL), 1),
];

/// Numbers that the 32-bit entry gives to those of these calls that may end completeness, or change what paths mean. Those
/// that every 32-bit program makes are left out: the strong hooks see its files and peers.
pub(super) const COMPAT: &[(usize, u16)] = &[
    (21, hook::ACT),  // mount
    (22, hook::ACT),  // umount
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
