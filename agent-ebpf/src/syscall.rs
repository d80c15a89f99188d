//! `sys_exit`: the weakest method of every observation, and the only one that some kernels grant. Everything that the
//! system call did is over; the objects are the kernel's, read after the act.

use agent_ebpf::{Member, hook, name_op, net_op};

use crate::{
    account, file,
    globals::{offset, watched},
    kernel::{current, file_of, read},
    member,
    name::{self, At, Change},
    net::{self, Call},
};

/// Numbers of the x86-64 table.
mod number {
    pub(super) const OPEN: u64 = 2;
    pub(super) const CONNECT: u64 = 42;
    pub(super) const ACCEPT: u64 = 43;
    pub(super) const BIND: u64 = 49;
    pub(super) const TRUNCATE: u64 = 76;
    pub(super) const FTRUNCATE: u64 = 77;
    pub(super) const RENAME: u64 = 82;
    pub(super) const MKDIR: u64 = 83;
    pub(super) const RMDIR: u64 = 84;
    pub(super) const CREAT: u64 = 85;
    pub(super) const LINK: u64 = 86;
    pub(super) const UNLINK: u64 = 87;
    pub(super) const SYMLINK: u64 = 88;
    pub(super) const OPENAT: u64 = 257;
    pub(super) const MKDIRAT: u64 = 258;
    pub(super) const UNLINKAT: u64 = 263;
    pub(super) const RENAMEAT: u64 = 264;
    pub(super) const LINKAT: u64 = 265;
    pub(super) const SYMLINKAT: u64 = 266;
    pub(super) const ACCEPT4: u64 = 288;
    pub(super) const OPEN_BY_HANDLE_AT: u64 = 304;
    pub(super) const RENAMEAT2: u64 = 316;
    pub(super) const IO_URING_SETUP: u64 = 425;
    pub(super) const OPENAT2: u64 = 437;
}

const O_ACCMODE: u64 = 3;
const AT_REMOVEDIR: u64 = 0x200;
const RENAME_EXCHANGE: u64 = 2;
/// thread_info.status: the system call came by the 32-bit entry.
const TS_COMPAT: u32 = 2;

/// x86-64 `struct pt_regs`, part of the kernel's ABI.
#[repr(C)]
pub(crate) struct Registers {
    _callee: [u64; 6],
    _r11: u64,
    r10: u64,
    _r9: u64,
    r8: u64,
    _ax: u64,
    _cx: u64,
    dx: u64,
    si: u64,
    di: u64,
    orig_ax: u64,
}

/// A system call of any task ended.
#[inline(always)]
pub(crate) fn exit(registers: *const Registers, result: i64) {
    // SAFETY: a tracepoint's argument, trusted by the verifier.
    let number = unsafe { (*registers).orig_ax };
    if !watched(number) {
        return;
    }
    let (pid, tid) = member::current_ids();
    match member::of(pid) {
        Some(member) => inside(&member, pid, tid, number, registers, result),
        None => outside(number, registers, result),
    }
}

#[inline(always)]
fn opens(number: u64) -> bool {
    matches!(
        number,
        number::OPENAT | number::OPEN | number::CREAT | number::OPENAT2 | number::OPEN_BY_HANDLE_AT
    )
}

/// Of a task in no session only writers and renames matter: one may spoil a digest, the other moves paths.
#[inline(always)]
fn outside(number: u64, registers: *const Registers, result: i64) {
    if result < 0 {
        return;
    }
    // SAFETY: as in `exit`.
    let flags = unsafe {
        match number {
            number::OPENAT => (*registers).dx,
            number::OPEN => (*registers).si,
            number::CREAT | number::OPENAT2 | number::OPEN_BY_HANDLE_AT => O_ACCMODE,
            number::RENAME | number::RENAMEAT | number::RENAMEAT2 => return file::renamed(),
            _ => return,
        }
    };
    if flags & O_ACCMODE != 0 {
        file::opened_outside(file_of(result as u64));
    }
}

#[inline(always)]
fn inside(member: &Member, pid: u32, tid: u32, number: u64, registers: *const Registers, result: i64) {
    if read::<u32>(current(), offset!(task_status)) & TS_COMPAT != 0 {
        return account::attend(member, agent_ebpf::attention::COMPAT_SYSCALL, number);
    }
    if opens(number) {
        if result >= 0 {
            let file = file_of(result as u64);
            if file != 0 {
                file::opened(member, pid, tid, file, result as i32);
            }
        }
        return;
    }
    if number == number::IO_URING_SETUP {
        if result >= 0 {
            account::attend_io_uring(member);
        }
        return;
    }
    if !socket_call(member, pid, tid, number, registers, result) {
        name_call(member, pid, tid, number, registers, result);
    }
}

#[inline(always)]
fn socket_call(member: &Member, pid: u32, tid: u32, number: u64, registers: *const Registers, result: i64) -> bool {
    // SAFETY: as in `exit`.
    let (fd, address, bytes) = unsafe { ((*registers).di, (*registers).si, (*registers).dx as u32) };
    let (hook, operation, fd) = match number {
        number::CONNECT => (hook::CONNECT, net_op::CONNECT, fd),
        number::BIND => (hook::BIND, net_op::BIND, fd),
        number::ACCEPT | number::ACCEPT4 => {
            if result < 0 {
                return true;
            }
            (hook::ACCEPT, net_op::ACCEPT, result as u64)
        }
        _ => return false,
    };
    let result = if operation == net_op::ACCEPT { 0 } else { result as i32 };
    net::called(member, pid, tid, &Call { hook, operation, fd, result, address, address_bytes: bytes });
    true
}

/// Name operations that succeeded; a refused one changed nothing.
#[inline(always)]
fn name_call(member: &Member, pid: u32, tid: u32, number: u64, registers: *const Registers, result: i64) {
    if result < 0 {
        return;
    }
    // SAFETY: as in `exit`.
    let (a, b, c, d, e) =
        unsafe { ((*registers).di, (*registers).si, (*registers).dx, (*registers).r10, (*registers).r8) };
    let (hook, operation, from, to) = match number {
        number::RENAME => (hook::RENAME, name_op::RENAME, At::cwd(a), Some(At::cwd(b))),
        number::RENAMEAT => (hook::RENAME, name_op::RENAME, At::of(a, b), Some(At::of(c, d))),
        number::RENAMEAT2 => {
            let operation = if e & RENAME_EXCHANGE != 0 { name_op::EXCHANGE } else { name_op::RENAME };
            (hook::RENAME, operation, At::of(a, b), Some(At::of(c, d)))
        }
        number::LINK => (hook::LINK, name_op::LINK, At::cwd(a), Some(At::cwd(b))),
        number::LINKAT => (hook::LINK, name_op::LINK, At::of(a, b), Some(At::of(c, d))),
        number::UNLINK => (hook::UNLINK, name_op::UNLINK, At::cwd(a), None),
        number::UNLINKAT => {
            let operation = if c & AT_REMOVEDIR != 0 { name_op::RMDIR } else { name_op::UNLINK };
            (hook::UNLINK, operation, At::of(a, b), None)
        }
        number::RMDIR => (hook::UNLINK, name_op::RMDIR, At::cwd(a), None),
        number::MKDIR => (hook::MKDIR, name_op::MKDIR, At::cwd(a), None),
        number::MKDIRAT => (hook::MKDIR, name_op::MKDIR, At::of(a, b), None),
        number::SYMLINK => (hook::SYMLINK, name_op::SYMLINK, At::cwd(b), Some(At::cwd(a))),
        number::SYMLINKAT => (hook::SYMLINK, name_op::SYMLINK, At::of(b, c), Some(At::cwd(a))),
        number::TRUNCATE => (hook::TRUNCATE, name_op::TRUNCATE, At::cwd(a), None),
        number::FTRUNCATE => (hook::TRUNCATE, name_op::TRUNCATE, At::of(a, 0), None),
        _ => return,
    };
    if operation == name_op::RENAME || operation == name_op::EXCHANGE {
        file::renamed();
    }
    name::changed(member, pid, tid, &Change { hook, operation, result: 0, from, to });
}
