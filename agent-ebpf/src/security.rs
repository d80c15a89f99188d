//! The security hooks: the kernel's own objects, before the act. An act may still fail afterwards.

use agent_ebpf::{Member, Name, hook, kind, level, name_op};

use crate::{account, file, globals::offset, kernel::read, member, net, path, watch};

const RENAME_EXCHANGE: u32 = 2;

/// `file_open`: of a task in no session only writers matter.
#[inline(always)]
pub(crate) fn file_open(opened: u64) {
    let (pid, _) = member::current_ids();
    match member::of_any(pid) {
        Some(member) => file::opened(&member, opened, -1, 0),
        None => watch::opened_outside(opened),
    }
}

/// A `struct path` and the entry below it that the act is about.
#[derive(Clone, Copy)]
struct Entry {
    mnt: u64,
    dentry: u64,
}

impl Entry {
    /// `directory` is the `struct path` of the directory: its mount is its first member.
    #[inline(always)]
    fn below(directory: u64, dentry: u64) -> Self {
        Self { mnt: read(directory, 0), dentry }
    }
}

/// `path_rename`.
#[inline(always)]
pub(crate) fn renamed(old_directory: u64, old: u64, new_directory: u64, new: u64, flags: u32) {
    let operation = if flags & RENAME_EXCHANGE != 0 { name_op::EXCHANGE } else { name_op::RENAME };
    two(hook::RENAME, operation, &Entry::below(old_directory, old), &Entry::below(new_directory, new));
}

/// `path_link`: both names are on one mount.
#[inline(always)]
pub(crate) fn linked(old: u64, directory: u64, new: u64) {
    two(hook::LINK, name_op::LINK, &Entry::below(directory, old), &Entry::below(directory, new));
}

/// `path_unlink`, `path_rmdir`, `path_mkdir`.
#[inline(always)]
pub(crate) fn one(hook: u16, operation: u32, directory: u64, dentry: u64) {
    changed(hook, operation, &Entry::below(directory, dentry), None, 0);
}

/// `path_symlink`.
#[inline(always)]
pub(crate) fn symlinked(directory: u64, dentry: u64, text: u64) {
    changed(hook::SYMLINK, name_op::SYMLINK, &Entry::below(directory, dentry), None, text);
}

/// `path_truncate`: a `struct path`.
#[inline(always)]
pub(crate) fn truncated(path: u64) {
    let (pid, _) = member::current_ids();
    let dentry: u64 = read(path, 8);
    if member::of(pid).is_none() {
        return watch::truncated_outside(dentry);
    }
    changed(hook::TRUNCATE, name_op::TRUNCATE, &Entry { mnt: read(path, 0), dentry }, None, 0);
}

/// `file_truncate`.
#[inline(always)]
pub(crate) fn file_truncated(file: u64) {
    let entry = Entry { mnt: read(file, offset!(file_mnt)), dentry: read(file, offset!(file_dentry)) };
    changed(hook::TRUNCATE, name_op::TRUNCATE, &entry, None, 0);
}

#[inline(always)]
fn two(hook: u16, operation: u32, from: &Entry, to: &Entry) {
    changed(hook, operation, from, Some(to), 0);
}

/// Sends the change; `text` is a symlink's, in kernel memory.
#[inline(always)]
fn changed(hook: u16, operation: u32, from: &Entry, to: Option<&Entry>, text: u64) {
    let (pid, tid) = member::current_ids();
    let Some(member) = member::of(pid) else { return };
    send(&member, pid, tid, hook, operation, from, to, text);
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one call of each kind")]
fn send(member: &Member, pid: u32, tid: u32, hook: u16, operation: u32, from: &Entry, to: Option<&Entry>, text: u64) {
    let Some(ticket) = account::take(member, hook) else { return };
    let Some(mut record) = account::begin::<Name>(&ticket) else { return };
    // SAFETY: the body lies in the scratch.
    unsafe { record.body::<Name>().write(Name { operation, level: level::OBJECT, result: 0, reserved: 0 }) };
    path::append_entry(&mut record, from.mnt, from.dentry);
    path::append_nothing(&mut record);
    if let Some(to) = to {
        path::append_entry(&mut record, to.mnt, to.dentry);
        path::append_nothing(&mut record);
    }
    if text != 0 {
        path::append_nothing(&mut record);
        path::append_kernel_str(&mut record, text);
    }
    record.finish(&ticket, kind::NAME, pid, tid);
}

/// `socket_connect`, `socket_bind`.
#[inline(always)]
pub(crate) fn socket(hook: u16, operation: u32, socket: u64, address: u64, bytes: i32) {
    net::addressed(hook, operation, socket, address, bytes as u32);
}
