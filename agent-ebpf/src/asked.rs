//! Acts where the kernel asks its security modules, for kernels in which `sys_exit` is preempted and skipped too often: told as the
//! system call in progress, before it is over. No program at such a hook is ever skipped.

use agent_ebpf::{
    attention,
    call::{BY_COMPAT, Call, act, asked, class},
};
use aya_ebpf::helpers::{bpf_get_current_task_btf, generated};

use crate::{
    account,
    act::{self as acts, About},
    globals::{call, offset},
    kernel::read,
    member,
    syscall::{self, Registers},
};

/// PTRACE_MODE_ATTACH.
const ATTACH: u32 = 2;

/// What the running task entered the kernel with; read as a pointer whose type the verifier knows.
#[inline(always)]
fn entered() -> *const Registers {
    // SAFETY: the running task.
    unsafe { generated::bpf_task_pt_regs(bpf_get_current_task_btf().cast()) as *const Registers }
}

/// The word of the call in progress, if it is told where this is asked.
#[inline(always)]
fn in_progress(registers: *const Registers, wanted: u8) -> Option<u64> {
    // SAFETY: as in `Registers::argument`.
    let word = call(unsafe { Registers::number(registers) });
    if word as u8 != class::ACT || Call::unpack(word).flagged_operation != wanted || syscall::by_compat_entry() {
        return None;
    }
    acts::is_told(&Call::unpack(word), registers).then_some(word)
}

/// `capable`: the task has the privilege that it needs, and uses it.
#[inline(always)]
pub(crate) fn privileged() {
    let registers = entered();
    // SAFETY: as in `Registers::argument`.
    let word = call(unsafe { Registers::number(registers) });
    if word == 0 {
        return;
    }
    let (pid, _) = member::current_ids();
    let Some(member) = member::of(pid) else { return };
    if word & BY_COMPAT != 0 && syscall::by_compat_entry() {
        return account::attend(&member, attention::COMPAT_SYSCALL, word);
    }
    if let Some(word) = in_progress(registers, asked::PRIVILEGE) {
        acts::asked(&member, word, registers, &About { file: 0, outside: 0 });
    }
}

/// `bpf`.
#[inline(always)]
pub(crate) fn bpf() {
    let (pid, _) = member::current_ids();
    let Some(member) = member::of(pid) else { return };
    let registers = entered();
    if let Some(word) = in_progress(registers, asked::BPF) {
        acts::asked(&member, word, registers, &About { file: 0, outside: 0 });
    }
}

/// `file_receive`: a descriptor of this file comes to the running task. By other calls than those that ask for one, somebody put it
/// there.
#[inline(always)]
pub(crate) fn received(file: u64) {
    let (pid, _) = member::current_ids();
    let Some(member) = member::of(pid) else { return };
    let registers = entered();
    match in_progress(registers, asked::DESCRIPTOR) {
        Some(word) => {
            let outside = u32::from(acts::is_outside(&member, &Call::unpack(word), registers));
            acts::asked(&member, word, registers, &About { file, outside });
        }
        None => account::attend(&member, attention::REACHED_FROM_OUTSIDE, pid.into()),
    }
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
        // SAFETY: as in `Registers::argument`.
        let reads = Call::unpack(call(unsafe { Registers::number(registers) }));
        if reads.class == class::ACT && reads.operation == act::MEMORY && reads.flag_bit == 0 {
            return;
        }
        if let Some(member) = member::of(reached) {
            account::attend(&member, attention::REACHED_FROM_OUTSIDE, reached.into());
        }
        return;
    };
    if let Some(word) = in_progress(registers, asked::ACCESS) {
        let outside = u32::from(member::of(reached).is_none_or(|whose| whose.serial != member.serial));
        acts::asked(&member, word, registers, &About { file: 0, outside });
    }
}
