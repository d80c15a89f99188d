//! Acts beyond files, names and peers: what sees or changes other processes or the kernel, what changes the meaning of paths,
//! descriptors that come without an open. Each is told as the system call that it is, when it is over, with its arguments:
//! registers as the kernel saved them at the entry. Texts and what was received are read from the program's memory.

use agent_ebpf::{
    Act, Member, attention,
    call::{Call, NONE, act},
    flag, hook, kind,
};
use aya_ebpf::helpers::bpf_probe_read_user;

use crate::{
    account::{self, Record},
    globals::offset,
    kernel::{current, kernel_file_of, kernel_unknown, read, shares_descriptors},
    member, path,
    syscall::Registers,
    unix,
};

const PTRACE_TRACEME: u64 = 0;
const PTRACE_ATTACH: u64 = 16;
const PTRACE_SEIZE: u64 = 0x4206;
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// CLONE_NEWTIME: of `clone` it would lie in the signal's bits.
const NEW_TIME_NAMESPACE: u64 = 0x80;
pub(crate) const PROT_EXEC: u64 = 4;
const MAP_SHARED: u64 = 1;
const MAP_ANONYMOUS: u64 = 0x20;
/// SECCOMP_IOCTL_NOTIF_ADDFD: a supervisor puts a descriptor into a process that it stopped. Of this request the kernel looks at
/// the lower half only.
const ADD_DESCRIPTOR: u32 = 0x2103;
const LOOP_SET_FD: u32 = 0x4c00;
const LOOP_CHANGE_FD: u32 = 0x4c06;
const LOOP_CONFIGURE: u32 = 0x4c0a;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
const AF_UNIX: u16 = 1;
/// Messages of a `recvmsg` beside its data that are looked at.
const CONTROLS_MAX: u32 = 4;

/// Whether the call is one to tell, by its registers alone: most calls of some kinds do nothing that counts.
#[inline(always)]
pub(crate) fn is_told(call: &Call, registers: *const Registers) -> bool {
    // SAFETY: a tracepoint's argument, trusted by the verifier.
    let argument = |index| unsafe { Registers::argument(registers, index) };
    match call.operation {
        act::TRACE => {
            let request = argument(0);
            request == PTRACE_TRACEME || request == PTRACE_ATTACH || request == PTRACE_SEIZE
        }
        act::CLONE => argument(0) & NEW_NAMESPACES != 0,
        act::MAP => {
            let (protection, flags) = (argument(2), argument(3));
            protection & PROT_EXEC != 0 || (flags & MAP_SHARED != 0 && flags & MAP_ANONYMOUS == 0)
        }
        act::PROTECT => argument(2) & PROT_EXEC != 0,
        act::CONTROL => {
            let request = argument(1) as u32;
            request & 0xffff == ADD_DESCRIPTOR || matches!(request, LOOP_SET_FD | LOOP_CHANGE_FD | LOOP_CONFIGURE)
        }
        _ => true,
    }
}

/// A member made such a call. A function of its own, as all that follows from one: `sys_exit` has no room for its frame.
#[inline(never)]
pub(crate) fn called(member: &Member, word: u64, registers: *const Registers, result: i64) {
    let call = &Call::unpack(word);
    // SAFETY: as in `is_told`.
    let argument = |index| unsafe { Registers::argument(registers, index) };
    let descriptor =
        if call.operation == act::RECEIVE { received(call, argument(0), argument(1), result) } else { NOTHING };
    let happened = match call.operation {
        // The child returns from it too.
        act::CLONE => result > 0,
        act::CLONE3 => result > 0 && asks_for_namespaces(argument(0)),
        act::RECEIVE => descriptor != NOTHING,
        _ => true,
    };
    if happened {
        let file = match call.operation {
            act::MAP if argument(3) & MAP_ANONYMOUS == 0 => kernel_file_of(argument(4)),
            act::RECEIVE => kernel_file_of(u64::from(descriptor)),
            act::DESCRIPTOR => kernel_file_of(result as u64),
            _ => 0,
        };
        let outside = u32::from(is_outside(member, call, registers));
        tell(member, call, registers, result, &About { hook: hook::ACT, file, outside });
    }
}

/// The kernel asks about a call of a member, which is not over: what it comes to is not known.
#[inline(never)]
pub(crate) fn asked(member: &Member, word: u64, registers: *const Registers, about: &About) {
    tell(member, &Call::unpack(word), registers, 0, about);
}

/// What a call is about.
pub(crate) struct About {
    /// One of [`hook`]: what told it.
    pub(crate) hook: u16,
    /// A `struct file`, 0 if it is about none.
    pub(crate) file: u64,
    /// See [`Act::outside`].
    pub(crate) outside: u32,
}

/// Sends the call.
#[inline(always)]
fn tell(member: &Member, call: &Call, registers: *const Registers, result: i64, about: &About) {
    let (pid, tid) = member::current_ids();
    let Some(ticket) = account::take(member, about.hook) else { return };
    let Some(mut record) = account::begin::<Act>(&ticket) else { return };
    let body = record.body::<Act>();
    // SAFETY: the body lies in the scratch; the registers as in `is_told`.
    unsafe {
        (*body).result = result;
        let mut index = 0;
        while index < 6 {
            (*body).arguments[index as usize] = Registers::argument(registers, index);
            index += 1;
        }
        (*body).call = Registers::number(registers) as u32;
        (*body).outside = about.outside;
        (*body).reserved = 0;
        let inode: u64 = read(about.file, offset!(file_inode));
        (*body).ino = read(inode, offset!(inode_ino));
        (*body).dev = read(read::<u64>(inode, offset!(inode_sb)), offset!(sb_dev));
        text(&mut record, registers, call.from_name);
        text(&mut record, registers, call.to_name);
    }
    // Of a call that failed, a text that cannot be read may be the very reason.
    if result < 0 {
        record.flags &= !flag::TRUNCATIONS;
    }
    record.finish(&ticket, kind::ACT, pid, tid);
}

/// Appends the string that an argument points to, if there is one.
#[inline(always)]
unsafe fn text(record: &mut Record, registers: *const Registers, index: u8) {
    if index != NONE {
        // SAFETY: the caller's.
        act_text(record, kernel_unknown(unsafe { Registers::argument(registers, index) }));
    }
}

#[inline(never)]
fn act_text(record: &mut Record, address: u64) {
    if address == 0 {
        path::append_nothing(record);
    } else {
        path::append_user_str(record, address);
    }
}

/// The thread that the call reaches into, by its id in the first namespace: 0 if that cannot be told, none if the call
/// reaches into none.
#[inline(always)]
fn reaches(call: &Call, registers: *const Registers) -> Option<u32> {
    // SAFETY: as in `is_told`.
    let argument = |index| unsafe { Registers::argument(registers, index) };
    match call.operation {
        // Its tracer is its parent from now on, whoever that is by now.
        act::TRACE if argument(0) == PTRACE_TRACEME => {
            Some(read(read(current(), offset!(task_real_parent)), offset!(task_tgid)))
        }
        act::TRACE => Some(in_first_namespace(argument(1))),
        act::MEMORY => Some(in_first_namespace(argument(0))),
        act::DESCRIPTOR => Some(of_pidfd(argument(0))),
        _ => None,
    }
}

/// Whether what the call reaches is not known to be of the session.
#[inline(always)]
pub(crate) fn is_outside(member: &Member, call: &Call, registers: *const Registers) -> bool {
    if call.operation == act::RECEIVE {
        // SAFETY: as in `is_told`.
        return unix::session_of_peer(unsafe { Registers::argument(registers, 0) }) != member.serial;
    }
    let Some(tid) = reaches(call, registers) else { return false };
    if call.operation == act::DESCRIPTOR && shares_descriptors() {
        return true;
    }
    match member::of(member::member_of_thread(tid)) {
        Some(whose) => whose.serial != member.serial,
        None => true,
    }
}

/// A process id that the running task gave, 0 if its numbers are those of another namespace.
#[inline(always)]
fn in_first_namespace(pid: u64) -> u32 {
    let own: u64 = read(current(), offset!(task_thread_pid));
    if read::<u32>(own, offset!(pid_level)) == 0 { pid as u32 } else { 0 }
}

/// The process id, in the first namespace, that a pidfd stands for.
#[inline(always)]
fn of_pidfd(fd: u64) -> u32 {
    let file = kernel_file_of(fd);
    let private: u64 = read(read::<u64>(file, offset!(file_inode)), offset!(inode_private));
    let pid: u64 = if private != 0 { private } else { read(file, offset!(file_private)) };
    read(pid, offset!(pid_numbers))
}

/// A task of no session reached into a member: it traces it, wrote its memory or took a descriptor.
#[inline(never)]
pub(crate) fn from_outside(word: u64, registers: *const Registers) {
    let call = &Call::unpack(word);
    if call.operation == act::MEMORY && call.flag_bit == 0 {
        return;
    }
    // SAFETY: as in `is_told`. It becomes its parent's, and reaches into nobody.
    if call.operation == act::TRACE && unsafe { Registers::argument(registers, 0) } == PTRACE_TRACEME {
        return;
    }
    let Some(tid) = reaches(call, registers) else { return };
    let pid = member::member_of_thread(tid);
    if let Some(member) = member::of(pid) {
        account::attend(&member, attention::REACHED_FROM_OUTSIDE, u64::from(pid));
    }
}

/// Whether the arguments of `clone3` ask for new namespaces: its first word, in memory that the process can change.
#[inline(always)]
fn asks_for_namespaces(arguments: u64) -> bool {
    // SAFETY: the helper checks the address.
    let flags: u64 = unsafe { bpf_probe_read_user(arguments as *const u64) }.unwrap_or(u64::MAX);
    flags & (NEW_NAMESPACES | NEW_TIME_NAMESPACE) != 0
}

/// No descriptor.
const NOTHING: u32 = u32::MAX;

/// Descriptors may have come, and which cannot be told.
const SOMETHING: u32 = u32::MAX - 1;

/// The first descriptor that a `recvmsg` received. What arrived is read from the process's memory, where the kernel has just
/// put it. Where it could not be put, or came with other messages (`recvmmsg`), there may have been some.
#[inline(always)]
fn received(call: &Call, fd: u64, message: u64, result: i64) -> u32 {
    const EFAULT: i64 = 14;
    let [control, bytes] = user::<[u64; 2]>(message + 32);
    if control == 0 || family(fd) != AF_UNIX || (result < 0 && result != -EFAULT) {
        return NOTHING;
    }
    if result < 0 || call.flag_bit == 1 {
        return SOMETHING;
    }
    let (mut at, mut seen) = (0_u64, 0);
    while seen < CONTROLS_MAX && at + 16 < bytes {
        let [length, kind] = user::<[u64; 2]>(control + at);
        if kind as u32 == SOL_SOCKET && (kind >> 32) as u32 == SCM_RIGHTS {
            return user(control + at + 16);
        }
        at += (length + 7) & !7;
        seen += 1;
    }
    NOTHING
}

/// The address family of a socket.
#[inline(always)]
fn family(fd: u64) -> u16 {
    let socket: u64 = read(kernel_file_of(fd), offset!(file_private));
    read(read::<u64>(socket, offset!(socket_sk)), offset!(sock_family))
}

#[inline(always)]
fn user<T: Copy + Default>(address: u64) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const T) }.unwrap_or_default()
}
