//! Names made, moved and removed, from the arguments of the system call: the directory is the kernel's own, the name is
//! read from the program's memory and marked so.

use agent_ebpf::{Member, Name, flag, kind, level};

use crate::{
    account::{self, Record},
    globals::offset,
    kernel::{current, file_of, read},
    path, process,
};

const AT_FDCWD: i32 = -100;

/// A name argument: a directory descriptor and the address of a string.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) directory: i32,
    pub(crate) name: u64,
}

impl At {
    /// Relative to the working directory.
    #[inline(always)]
    pub(crate) fn cwd(name: u64) -> Self {
        Self { directory: AT_FDCWD, name }
    }

    /// Relative to a descriptor, or to the working directory for `AT_FDCWD`.
    #[inline(always)]
    pub(crate) fn of(directory: u64, name: u64) -> Self {
        Self { directory: directory as i32, name }
    }
}

/// What a name operation did.
pub(crate) struct Change {
    pub(crate) hook: u16,
    pub(crate) operation: u32,
    pub(crate) result: i32,
    pub(crate) from: At,
    /// The new name; for a symlink the name comes in `from` and its text here.
    pub(crate) to: Option<At>,
}

/// Sends a name operation.
#[inline(never)]
pub(crate) fn changed(member: &Member, pid: u32, tid: u32, change: &Change) {
    let Some(ticket) = account::take(member, change.hook) else { return };
    let Some(mut record) = account::begin::<Name>(&ticket) else { return };
    let body = Name { operation: change.operation, level: level::USER_ARGUMENT, result: change.result, reserved: 0 };
    // SAFETY: the body lies in the scratch.
    unsafe { record.body::<Name>().write(body) };
    append(&mut record, change.from);
    if let Some(to) = change.to {
        append(&mut record, to);
    }
    record.finish(&ticket, kind::NAME, pid, tid);
}

/// Two sections: the directory that the name is relative to, and the name as given.
#[inline(never)]
fn append(record: &mut Record, at: At) {
    let fs: u64 = read(current(), offset!(task_fs));
    if at.name == 0 {
        descriptor(record, at.directory);
        return path::append_nothing(record);
    }
    // SAFETY: the helper checks the address.
    let first: u8 = unsafe { aya_ebpf::helpers::bpf_probe_read_user(at.name as *const u8) }.unwrap_or(0);
    if first == b'/' {
        path::append(record, read(fs, offset!(fs_root_mnt)), read(fs, offset!(fs_root_dentry)));
    } else if at.directory == AT_FDCWD {
        process::working_directory(record);
    } else {
        record.flags |= flag::RELATIVE;
        descriptor(record, at.directory);
    }
    path::append_user_str(record, at.name);
}

/// The path behind a descriptor.
#[inline(always)]
fn descriptor(record: &mut Record, fd: i32) {
    let file = file_of(u64::from(fd as u32));
    if file == 0 {
        record.flags |= flag::OBJECT_FAULT;
        return path::append_nothing(record);
    }
    path::append(record, read(file, offset!(file_mnt)), read(file, offset!(file_dentry)));
}
