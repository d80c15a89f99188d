//! Acts where the kernel asks its security modules, for kernels in which `sys_exit` is preempted and skipped too often: told as the
//! system call in progress, before it is over. No program at such a hook is ever skipped.

use agent_ebpf::{
    Member, attention,
    call::{BY_COMPAT, Call, act, asked, class},
    hook,
};
use aya_ebpf::helpers::{bpf_get_current_task_btf, generated};

use crate::{
    account,
    act::{self as acts, About, PROT_EXEC},
    globals::{call, offset},
    kernel::{current, read},
    member,
    syscall::{self, Registers},
};

const CAP_SYS_ADMIN: i32 = 21;
/// PTRACE_MODE_ATTACH.
const ATTACH: u32 = 2;
/// read, pread64, readv, preadv, process_vm_readv.
const READS: [u64; 5] = [0, 17, 19, 295, 310];
const OPENAT: u64 = 257;
const IO_URING_ENTER: u64 = 426;
const O_ACCMODE: u64 = 3;

/// What the running task entered the kernel with; read as a pointer whose type the verifier knows.
#[inline(always)]
fn entered() -> *const Registers {
    // SAFETY: the running task.
    unsafe { generated::bpf_task_pt_regs(bpf_get_current_task_btf().cast()) as *const Registers }
}

/// PF_IO_WORKER, in `task_struct.flags`: its registers are a copy of another task's.
const IO_WORKER: u32 = 0x10;

/// Whether the registers of the running task are a copy of another's.
#[inline(always)]
fn is_worker() -> bool {
    read::<u32>(current(), offset!(task_flags)) & IO_WORKER != 0
}

/// The word of the call in progress, if it is told where this is asked, by its registers or in any case. By the 32-bit entry its number
/// means another.
#[inline(always)]
fn in_progress(member: &Member, registers: *const Registers, wanted: u8, anyhow: bool) -> Option<u64> {
    if is_worker() {
        return None;
    }
    // SAFETY: as in `Registers::argument`.
    let word = call(unsafe { Registers::number(registers) });
    if syscall::by_compat_entry() {
        if word & BY_COMPAT != 0 {
            account::attend(member, attention::COMPAT_SYSCALL, word);
        }
        return None;
    }
    let is_wanted = word as u8 == class::ACT && Call::unpack(word).flagged_operation == wanted;
    (is_wanted && (anyhow || acts::is_told(&Call::unpack(word), registers))).then_some(word)
}

/// `capable`: the task has the privilege that it needs, and uses it.
#[inline(always)]
pub(crate) fn privileged(capability: i32) {
    let registers = entered();
    // SAFETY: as in `Registers::argument`.
    if call(unsafe { Registers::number(registers) }) == 0 {
        return;
    }
    let (pid, _) = member::current_ids();
    let Some(member) = member::of_any(pid) else { return };
    let Some(word) = in_progress(&member, registers, asked::PRIVILEGE, false) else { return };
    // What it asks for stands in memory that another thread may have changed since; the kernel asks this of namespaces.
    if Call::unpack(word).operation != act::CLONE3 || capability == CAP_SYS_ADMIN {
        acts::asked(&member, word, registers, &About { hook: hook::ACT, file: 0, outside: 0 });
    }
}

/// A hook that is about nothing but the call.
#[inline(always)]
pub(crate) fn called(wanted: u8) {
    about(hook::ACT, wanted, 0, false);
}

/// `socket_create`: through a ring it is asked for by no call that is told.
#[inline(always)]
pub(crate) fn socket() {
    let registers = entered();
    // SAFETY: as in `Registers::argument`.
    if is_worker() || unsafe { Registers::number(registers) } == IO_URING_ENTER {
        let (pid, _) = member::current_ids();
        if let Some(member) = member::of(pid) {
            account::attend(&member, attention::IO_URING, 0);
        }
    }
    called(asked::SOCKET);
}

/// `file_mprotect`, with the protection that is applied: it may be more than was asked for, by READ_IMPLIES_EXEC.
#[inline(always)]
pub(crate) fn protected(applied: u64) {
    about(hook::ACT, asked::PROTECT, 0, applied & PROT_EXEC != 0);
}

/// `mmap_file`, of which the first argument is a `struct file`, or 0: read from memory, since the verifier lets no program take a pointer
/// that may be none for a number. Programs are mapped all the time: what tells it is counted for itself, or nobody could say whether
/// those of the others were told.
#[inline(always)]
pub(crate) fn mapped(arguments: u64) {
    // After the file and what was asked for: the protection that is applied, as in `protected`.
    let applied: u64 = read(arguments, 16);
    about(hook::MAPPING, asked::MAP, read(arguments, 0), applied & PROT_EXEC != 0);
}

#[inline(always)]
fn about(hook: u16, wanted: u8, file: u64, anyhow: bool) {
    let registers = entered();
    // SAFETY: as in `Registers::argument`.
    if call(unsafe { Registers::number(registers) }) == 0 {
        return;
    }
    let (pid, _) = member::current_ids();
    let Some(member) = member::of_any(pid) else { return };
    if let Some(word) = in_progress(&member, registers, wanted, anyhow) {
        let outside = u32::from(acts::is_outside(&member, &Call::unpack(word), registers));
        acts::asked(&member, word, registers, &About { hook, file, outside });
    }
}

/// `file_receive`: a descriptor of this file comes to the running task. By other calls than those that ask for one, somebody put it
/// there.
#[inline(always)]
pub(crate) fn received(file: u64) {
    let (pid, _) = member::current_ids();
    let Some(member) = member::of_any(pid) else { return };
    let registers = entered();
    match in_progress(&member, registers, asked::DESCRIPTOR, false) {
        Some(word) => {
            let outside = u32::from(acts::is_outside(&member, &Call::unpack(word), registers));
            acts::asked(&member, word, registers, &About { hook: hook::ACT, file, outside });
        }
        None => account::attend(&member, attention::REACHED_FROM_OUTSIDE, pid.into()),
    }
}

/// Whether the call in progress can only read of the other task: the files of /proc that show its stack, registers or settings ask as it
/// is read from them, `mem` as it is opened.
#[inline(always)]
fn only_reads(registers: *const Registers) -> bool {
    // SAFETY: as in `Registers::argument`.
    let (number, flags) = unsafe { (Registers::number(registers), Registers::argument(registers, 2)) };
    !is_worker()
        && !syscall::by_compat_entry()
        && (READS.contains(&number) || number == OPENAT && flags & O_ACCMODE == 0)
}

/// `ptrace_access_check`: the running task reaches into another, to change or to read what it has.
#[inline(always)]
pub(crate) fn accessed(child: u64, mode: u32) {
    if mode & ATTACH == 0 {
        return;
    }
    let (pid, _) = member::current_ids();
    let reached: u32 = read(child, offset!(task_tgid));
    let registers = entered();
    let Some(member) = member::of(pid) else {
        if let Some(member) = member::of(reached).filter(|_| !only_reads(registers)) {
            account::attend(&member, attention::REACHED_FROM_OUTSIDE, reached.into());
        }
        return;
    };
    if let Some(word) = in_progress(&member, registers, asked::ACCESS, false) {
        let outside = u32::from(member::of(reached).is_none_or(|whose| whose.serial != member.serial));
        acts::asked(&member, word, registers, &About { hook: hook::ACT, file: 0, outside });
    }
}
