//! Names made, moved and removed, from the arguments of the system call: the directory is the kernel's own, the name is
//! read from the program's memory and marked so.

use agent_ebpf::{Member, Name, flag, kind, level};

use crate::{
    account::{self, Record},
    globals::offset,
    kernel::{current, kernel_file_of, read},
    path,
};

pub(crate) const AT_FDCWD: i32 = -100;

/// A name argument: a directory descriptor and the address of a string.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) directory: i32,
    pub(crate) name: u64,
    /// Not 0: there is no name, the descriptor is the file itself.
    pub(crate) by_descriptor: u32,
}

/// What a name operation did. The verifier knows none of the numbers that are decided by: see [`kernel_unknown`].
///
/// [`kernel_unknown`]: crate::kernel::kernel_unknown
pub(crate) struct Change {
    pub(crate) hook: u16,
    pub(crate) operation: u32,
    pub(crate) from: At,
    /// The new name; for a symlink the name comes in `from` and its text here.
    pub(crate) to: At,
    /// Not 0: both count.
    pub(crate) two: u32,
}

/// Sends a name operation that succeeded.
#[inline(never)]
pub(crate) fn changed(member: &Member, pid: u32, tid: u32, change: &Change) {
    let Some(ticket) = account::take(member, change.hook) else { return };
    let Some(mut record) = account::begin::<Name>(&ticket) else { return };
    let level = if change.from.by_descriptor != 0 { level::RETURNED_OBJECT } else { level::USER_ARGUMENT };
    let body = Name { operation: change.operation, level, result: 0, reserved: 0 };
    // SAFETY: the body lies in the scratch.
    unsafe { record.body::<Name>().write(body) };
    append(&mut record, &change.from);
    if change.two != 0 {
        append(&mut record, &change.to);
    }
    record.finish(&ticket, kind::NAME, pid, tid);
}

/// Two sections: the directory that the name is relative to, and the name as given.
#[inline(never)]
fn append(record: &mut Record, at: &At) {
    let fs: u64 = read(current(), offset!(task_fs));
    // SAFETY: the helper checks the address.
    let first: u8 = unsafe { aya_ebpf::helpers::bpf_probe_read_user(at.name as *const u8) }.unwrap_or(0);
    let (mnt, dentry) = if first == b'/' {
        (read(fs, offset!(fs_root_mnt)), read(fs, offset!(fs_root_dentry)))
    } else if at.directory == AT_FDCWD {
        (read(fs, offset!(fs_pwd_mnt)), read(fs, offset!(fs_pwd_dentry)))
    } else {
        let file = kernel_file_of(u64::from(at.directory as u32));
        (read(file, offset!(file_mnt)), read::<u64>(file, offset!(file_dentry)))
    };
    if dentry == 0 {
        record.flags |= flag::OBJECT_FAULT;
    }
    path::append(record, mnt, dentry);
    if at.by_descriptor != 0 {
        path::append_nothing(record);
    } else {
        path::append_user_str(record, at.name);
    }
}
