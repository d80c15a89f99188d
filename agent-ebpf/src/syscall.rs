//! `sys_exit`: the weakest method of every observation, and the only one that some kernels grant. Everything that the
//! system call did is over; the objects are the kernel's, read after the act. Which call does what stands in a table.

use core::mem::MaybeUninit;

use agent_ebpf::{
    Member, attention,
    call::{BY_COMPAT, Call, NONE, TRUNCATES, class},
    hook, name_op,
};

use crate::{
    account::{self, Ticket},
    act, file,
    globals::call,
    kernel::{Task, kernel_file_of, kernel_unknown},
    member,
    name::{self, At, Change},
    net, process, unix, watch,
};

/// Of the calls of class IO_URING the rare one, told as an act too.
const IO_URING_SETUP: u64 = 425;
const O_ACCMODE: u64 = 3;
/// thread_info.status: the system call came by the 32-bit entry.
const TS_COMPAT: u32 = 2;

/// x86-64 `struct pt_regs`, part of the kernel's ABI.
#[repr(C)]
pub(crate) struct Registers {
    _callee: [u64; 6],
    _r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    _ax: u64,
    _cx: u64,
    dx: u64,
    si: u64,
    di: u64,
    orig_ax: u64,
}

impl Registers {
    /// An argument of the system call by its index; 0 for one that it has not.
    #[inline(always)]
    pub(crate) unsafe fn argument(registers: *const Self, index: u8) -> u64 {
        // SAFETY: a tracepoint's argument, trusted by the verifier.
        unsafe {
            match index {
                0 => (*registers).di,
                1 => (*registers).si,
                2 => (*registers).dx,
                3 => (*registers).r10,
                4 => (*registers).r8,
                5 => (*registers).r9,
                _ => 0,
            }
        }
    }

    /// The system call's number: the kernel does not look at what a program left in the upper half of the register.
    #[inline(always)]
    pub(crate) unsafe fn number(registers: *const Self) -> u64 {
        // SAFETY: as in `argument`.
        u64::from(unsafe { (*registers).orig_ax } as u32)
    }
}

/// A system call of any task ended.
#[inline(always)]
pub(crate) fn exit(registers: *const Registers, result: i64) {
    // SAFETY: as in `argument`.
    let word = call(unsafe { Registers::number(registers) });
    if word == 0 || (word as u8 == class::COMPAT && !by_compat_entry()) {
        return;
    }
    if word as u8 == class::ACT
        && !act::is_told(&Call::unpack(word), registers)
        && (word & BY_COMPAT == 0 || !by_compat_entry())
    {
        return;
    }
    let (pid, tid) = member::current_ids();
    match member::of_any(pid) {
        Some(member) => inside(&member, pid, tid, word, registers, result),
        None => outside(word, registers, result),
    }
}

#[inline(always)]
pub(crate) fn by_compat_entry() -> bool {
    Task::running().status() & TS_COMPAT != 0
}

/// Of a task in no session only writers and renames matter: one may spoil a digest, the other moves paths. Which file was
/// truncated by its name, or what was done by the 32-bit entry or through a ring, is not known: only that there was such a
/// call.
#[inline(always)]
fn outside(word: u64, registers: *const Registers, result: i64) {
    if result < 0 {
        return;
    }
    if by_compat_entry() {
        if word & BY_COMPAT != 0 {
            file::renamed();
            file::unseen_outside();
        }
        return;
    }
    let call = Call::unpack(word);
    if call.class == class::OPEN {
        // SAFETY: as in `argument`. Where the flags are not in a register, the file itself is looked at.
        let flags = if call.flags == NONE { O_ACCMODE } else { unsafe { Registers::argument(registers, call.flags) } };
        if flags & O_ACCMODE != 0 {
            watch::opened_outside(kernel_file_of(result as u64));
        }
    } else if u32::from(call.operation) == name_op::RENAME && call.class == class::NAME {
        file::renamed();
    } else if u32::from(call.operation) == name_op::TRUNCATE && call.class == class::NAME {
        if call.from_name != NONE {
            file::unseen_outside();
        }
    } else if call.class == class::IO_URING {
        file::unseen_outside();
    } else if call.class == class::ACT {
        act::from_outside(word, registers);
    }
}

#[inline(always)]
fn inside(member: &Member, pid: u32, tid: u32, word: u64, registers: *const Registers, result: i64) {
    if by_compat_entry() {
        if word & BY_COMPAT != 0 {
            account::attend(member, attention::COMPAT_SYSCALL, word);
        }
        return;
    }
    let class = word as u8;
    if class == class::OPEN || class == class::EXEC {
        if result >= 0 {
            opened(member, word, registers, result as i32);
        }
        return;
    }
    let call = Call::unpack(word);
    if class == class::NAME {
        named(member, pid, tid, &call, registers, result);
    } else if class == class::ACT {
        act::called(member, word, registers, result);
    } else if class == class::SEND {
        if result >= 0 {
            unix::sent(member, word, registers, result);
        }
    } else if class == class::IO_URING {
        if result >= 0 {
            account::attend(member, attention::IO_URING, 0);
        }
        // SAFETY: as in `argument`.
        if unsafe { Registers::number(registers) } == IO_URING_SETUP {
            act::called(member, word, registers, result);
        }
    } else {
        socket_call(member, pid, tid, &call, registers, result);
    }
}

/// A file was opened, by the call or for the program that it put in place.
#[inline(always)]
fn opened(member: &Member, word: u64, registers: *const Registers, fd: i32) {
    let call = Call::unpack(word);
    let (file, fd, flags) = if call.class == class::EXEC {
        (process::process_loader(), -1, 0)
    } else {
        // SAFETY: as in `argument`.
        let given = unsafe { Registers::argument(registers, call.flags) } as u32;
        (kernel_file_of(fd as u64), fd, if call.operation == TRUNCATES { file::O_TRUNC } else { given })
    };
    if file == process::UNKNOWN {
        account::take(member, hook::OPEN).inspect(Ticket::lost);
    } else if file != 0 {
        file::opened(member, file, fd, flags);
    }
}

#[inline(always)]
fn socket_call(member: &Member, pid: u32, tid: u32, call: &Call, registers: *const Registers, result: i64) {
    let accepted = call.class == class::ACCEPT;
    if accepted && result < 0 {
        return;
    }
    // SAFETY: as in `argument`.
    let (fd, address, bytes) = unsafe { ((*registers).di, (*registers).si, (*registers).dx as u32) };
    let call = net::Call {
        hook: u16::from(call.hook),
        operation: u32::from(call.operation),
        fd: if accepted { result as u64 } else { fd },
        result: kernel_unknown(if accepted { 0 } else { result as u64 }) as i32,
        address,
        address_bytes: bytes,
    };
    net::called(member, pid, tid, &call);
}

/// Name operations that succeeded; a refused one changed nothing.
#[inline(always)]
fn named(member: &Member, pid: u32, tid: u32, call: &Call, registers: *const Registers, result: i64) {
    if result < 0 {
        return;
    }
    let operation = u32::from(call.operation);
    if operation == name_op::RENAME {
        file::renamed();
    }
    if call.hook == 0 {
        return;
    }
    let flagged_operation = u32::from(call.flagged_operation);
    let mut change = MaybeUninit::<Change>::uninit();
    // SAFETY: as in `argument`. Every field is written; one after the other, since a copy would cost the stack.
    unsafe {
        let out = change.as_mut_ptr();
        let flags = Registers::argument(registers, call.flags);
        let flagged = flags >> (call.flag_bit & 63) & 1 == 1 && flagged_operation != 0;
        (*out).hook = u16::from(call.hook);
        (*out).operation = if flagged { flagged_operation } else { operation };
        (*out).two = kernel_unknown(u64::from(call.to_name != NONE)) as u32;
        at(&raw mut (*out).from, registers, call.from_directory, call.from_name);
        at(&raw mut (*out).to, registers, call.to_directory, call.to_name);
        name::changed(member, pid, tid, change.assume_init_ref());
    }
}

#[inline(always)]
unsafe fn at(out: *mut At, registers: *const Registers, directory: u8, name: u8) {
    // SAFETY: the caller's.
    unsafe {
        let given = Registers::argument(registers, directory);
        (*out).directory = kernel_unknown(if directory == NONE { name::AT_FDCWD as u64 } else { given }) as i32;
        (*out).by_descriptor = kernel_unknown(u64::from(name == NONE)) as u32;
        (*out).name = Registers::argument(registers, name);
    }
}
