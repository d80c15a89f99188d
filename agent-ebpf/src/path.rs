//! Paths from the kernel's own dentries and mounts, leaf to root, as components; strings from kernel and user memory.

use agent_ebpf::{PATH_COMPONENTS_MAX, TAIL_BYTES_MAX, flag};
use aya_ebpf::{
    cty::c_void,
    helpers::{
        bpf_loop, bpf_probe_read_kernel_buf, bpf_probe_read_kernel_str_bytes, bpf_probe_read_user_str_bytes,
    },
};

use crate::{
    account::Record,
    globals::{CURSOR_MASK, Scratch, offset},
    kernel::read,
};

/// State of a walk towards the root, on the stack of the program that runs it.
#[repr(C)]
struct Walk {
    scratch: *mut Scratch,
    dentry: u64,
    mount: u64,
    /// Over the parents and names passed, to see a rename meanwhile.
    seen: u64,
    at: u32,
    flags: u32,
    /// 0: components are copied; 1: the chain is only looked at again.
    again: u32,
    ended: u32,
}

/// One step up: a component, or through a mount point.
#[inline(never)]
extern "C" fn step(_index: u32, walk: *mut Walk) -> i64 {
    // SAFETY: `walk` is the caller's, as bpf_loop hands it over.
    let walk = unsafe { &mut *walk };
    let root: u64 = read(walk.mount, offset!(mount_mnt) + offset!(vfsmount_root));
    if walk.dentry == root {
        let parent: u64 = read(walk.mount, offset!(mount_parent));
        if parent == walk.mount || parent == 0 {
            walk.ended = 1;
            return 1;
        }
        walk.dentry = read(walk.mount, offset!(mount_mountpoint));
        walk.mount = parent;
        return 0;
    }
    let parent: u64 = read(walk.dentry, offset!(dentry_parent));
    let hash_len: u64 = read(walk.dentry, offset!(dentry_name));
    walk.seen = walk.seen.rotate_left(5) ^ parent ^ hash_len.rotate_left(32);
    if walk.again == 0 {
        component(walk, (hash_len >> 32) as u32);
        if walk.flags & flag::PATH_CUT != 0 {
            return 1;
        }
    }
    if parent == walk.dentry || parent == 0 {
        walk.flags |= flag::DETACHED;
        walk.ended = 1;
        return 1;
    }
    walk.dentry = parent;
    0
}

#[inline(always)]
fn component(walk: &mut Walk, bytes: u32) {
    if walk.at as usize + 256 > TAIL_BYTES_MAX {
        walk.flags |= flag::PATH_CUT;
        return;
    }
    let name: u64 = read(walk.dentry, offset!(dentry_name) + 8);
    let bytes = (bytes & 0xff) as usize;
    // SAFETY: the mask keeps the cursor within the buffer, a component is below 256 bytes.
    let copied = unsafe {
        let cursor = (&raw mut (*walk.scratch).bytes).cast::<u8>().add((walk.at & CURSOR_MASK) as usize);
        cursor.write(bytes as u8);
        bpf_probe_read_kernel_buf(name as *const u8, core::slice::from_raw_parts_mut(cursor.add(1), bytes))
    };
    if copied.is_err() {
        walk.flags |= flag::OBJECT_FAULT;
    }
    walk.at += 1 + bytes as u32;
}

/// Appends the path of (mount, dentry) as a section. `mnt` is a `struct vfsmount`.
#[inline(never)]
pub(crate) fn append(record: &mut Record, mnt: u64, dentry: u64) {
    let start = record.at;
    let mount = mnt.wrapping_sub(offset!(mount_mnt) as u64);
    let mut walk = Walk {
        scratch: record.scratch,
        dentry,
        mount,
        seen: 0,
        at: start + 2,
        flags: 0,
        again: 0,
        ended: 0,
    };
    climb(&mut walk);
    if walk.ended == 0 {
        walk.flags |= flag::PATH_CUT;
    }
    let (end, seen) = (walk.at, walk.seen);
    walk.again = 1;
    (walk.dentry, walk.mount, walk.seen) = (dentry, mount, 0);
    climb(&mut walk);
    if walk.seen != seen && walk.flags & flag::PATH_CUT == 0 {
        walk.flags |= flag::PATH_TORN;
    }
    record.flags |= walk.flags;
    record.at = end & CURSOR_MASK;
    section(record, start, end);
}

#[inline(always)]
fn climb(walk: &mut Walk) {
    // SAFETY: the callback takes the context it is given.
    unsafe { bpf_loop(PATH_COMPONENTS_MAX, step as *const () as *mut c_void, (&raw mut *walk).cast(), 0) };
}

/// Writes a section's length where it begins.
#[inline(always)]
fn section(record: &mut Record, start: u32, end: u32) {
    // SAFETY: the mask keeps the cursor within the buffer.
    unsafe {
        let cursor = (&raw mut (*record.scratch).bytes).cast::<u8>().add((start & CURSOR_MASK) as usize);
        cursor.cast::<u16>().write_unaligned((end.wrapping_sub(start + 2)) as u16);
    }
}

/// Bytes that one string may have; the kernel's own limit for a path argument, its NUL included.
const STRING_BYTES: usize = 4096;

/// Appends a NUL-terminated string of kernel memory as a section.
#[inline(never)]
pub(crate) fn append_kernel_str(record: &mut Record, source: u64) {
    append_str(record, |buffer| {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel_str_bytes(source as *const u8, buffer) }.map(<[u8]>::len)
    });
}

/// Appends a NUL-terminated string of user memory as a section.
#[inline(never)]
pub(crate) fn append_user_str(record: &mut Record, source: u64) {
    append_str(record, |buffer| {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user_str_bytes(source as *const u8, buffer) }.map(<[u8]>::len)
    });
}

#[inline(always)]
fn append_str(record: &mut Record, copy: impl FnOnce(&mut [u8]) -> Result<usize, i32>) {
    let start = record.at;
    if start as usize + 2 + STRING_BYTES > CURSOR_MASK as usize {
        record.flags |= flag::STRING_CUT;
        return;
    }
    record.at = start + 2;
    // SAFETY: a cursor is at least one string below the buffer's end.
    let buffer = unsafe { core::slice::from_raw_parts_mut(record.cursor(), STRING_BYTES) };
    match copy(buffer) {
        Ok(bytes) => {
            record.at += (bytes as u32) & 0xfff;
        }
        Err(_) => record.flags |= flag::USER_FAULT,
    }
    let end = record.at;
    section(record, start, end);
}

/// Appends an empty section.
#[inline(always)]
pub(crate) fn append_nothing(record: &mut Record) {
    let start = record.at;
    record.at = start + 2;
    section(record, start, start + 2);
}
