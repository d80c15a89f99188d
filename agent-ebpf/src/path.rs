//! Paths from the kernel's own dentries and mounts, leaf to root, as components; strings from kernel and user memory.

use agent_ebpf::{PATH_COMPONENTS_MAX, TAIL_BYTES_MAX, flag};
use aya_ebpf::{
    cty::c_void,
    helpers::{bpf_loop, bpf_probe_read_kernel_buf, bpf_probe_read_kernel_str_bytes, bpf_probe_read_user_str_bytes},
};

use crate::{
    account::Record,
    globals::{CURSOR_MASK, SCRATCH, Scratch, linked, offset},
    kernel::read,
};

/// State of a walk towards the root.
#[repr(C)]
pub(crate) struct Walk {
    dentry: u64,
    mount: u64,
    /// Where it began.
    leaf: u64,
    /// Where it began.
    leaf_mount: u64,
    /// Over the parents and names passed, to see a rename meanwhile.
    seen: u64,
    /// What the first phase saw.
    before: u64,
    at: u32,
    flags: u32,
    /// 0: components are copied; 1: the chain is only looked at again; 2: done.
    phase: u32,
    reserved: u32,
}

impl Walk {
    /// At the root: the second phase begins at the leaf again, and must see the same.
    #[inline(always)]
    fn arrived(&mut self) -> i64 {
        if self.phase == 0 {
            self.phase = 1;
            self.before = self.seen;
            self.seen = 0;
            self.dentry = self.leaf;
            self.mount = self.leaf_mount;
            return 0;
        }
        if self.seen != self.before {
            self.flags |= flag::PATH_TORN;
        }
        self.phase = 2;
        1
    }
}

/// What a step is handed: bpf_loop takes a pointer to the stack only.
#[repr(C)]
struct Climb {
    scratch: *mut Scratch,
}

/// One step up: a component, or through a mount point.
#[inline(never)]
extern "C" fn step(_index: u32, climb: *mut Climb) -> i64 {
    // SAFETY: `climb` is the caller's, as bpf_loop hands it over; the scratch is this program's alone.
    let scratch = unsafe { &mut *(*climb).scratch };
    let walk = &mut scratch.walk;
    let (mount, dentry) = (walk.mount, walk.dentry);
    let root: u64 = read(mount, offset!(mount_mnt) + offset!(vfsmount_root));
    if dentry == root {
        let parent: u64 = read(mount, offset!(mount_parent));
        if parent == mount || parent == 0 {
            return walk.arrived();
        }
        walk.dentry = read(mount, offset!(mount_mountpoint));
        walk.mount = parent;
        walk.seen = linked(walk.seen, parent, 0);
        return 0;
    }
    let parent: u64 = read(dentry, offset!(dentry_parent));
    let hash_len: u64 = read(dentry, offset!(dentry_name));
    walk.seen = linked(walk.seen, parent, hash_len);
    if walk.phase == 0 {
        let at = walk.at;
        if at as usize + 256 > TAIL_BYTES_MAX {
            return 1;
        }
        let bytes = component(scratch, dentry, at, (hash_len >> 32) as u32);
        scratch.walk.at = at + 1 + bytes;
    }
    let walk = &mut scratch.walk;
    if parent == dentry || parent == 0 {
        walk.flags |= flag::DETACHED;
        return walk.arrived();
    }
    walk.dentry = parent;
    0
}

/// Copies a component; its bytes.
#[inline(always)]
fn component(scratch: &mut Scratch, dentry: u64, at: u32, bytes: u32) -> u32 {
    let name: u64 = read(dentry, offset!(dentry_name) + 8);
    let bytes = bytes & 0xff;
    // SAFETY: the mask keeps the cursor within the buffer, a component is below 256 bytes.
    unsafe {
        let cursor = (&raw mut scratch.bytes).cast::<u8>().add((at & CURSOR_MASK) as usize);
        cursor.write(bytes as u8);
        let buffer = core::slice::from_raw_parts_mut(cursor.add(1), bytes as usize);
        // A name that cannot be read reads as zeros, which no component has: the log shows it.
        let _ = bpf_probe_read_kernel_buf(name as *const u8, buffer);
    }
    bytes
}

/// A walk that only looks.
#[repr(C)]
struct Look {
    dentry: u64,
    mount: u64,
    seen: u64,
    arrived: u64,
}

/// One step up, as [`step`] does it.
#[inline(never)]
extern "C" fn look(_index: u32, at: *mut Look) -> i64 {
    // SAFETY: `at` is the caller's, as bpf_loop hands it over.
    let at = unsafe { &mut *at };
    let root: u64 = read(at.mount, offset!(mount_mnt) + offset!(vfsmount_root));
    if at.dentry == root {
        let parent: u64 = read(at.mount, offset!(mount_parent));
        if parent == at.mount || parent == 0 {
            at.arrived = 1;
            return 1;
        }
        at.dentry = read(at.mount, offset!(mount_mountpoint));
        at.mount = parent;
        at.seen = linked(at.seen, parent, 0);
        return 0;
    }
    let parent: u64 = read(at.dentry, offset!(dentry_parent));
    at.seen = linked(at.seen, parent, read(at.dentry, offset!(dentry_name)));
    if parent == at.dentry || parent == 0 {
        at.arrived = 1;
        return 1;
    }
    at.dentry = parent;
    0
}

/// The chain of (mount, dentry) as [`append`] would tell it now; 0 where the path is too long. `mnt` is a `struct vfsmount`.
///
/// Global, as [`account::attend`] is.
///
/// [`account::attend`]: crate::account::attend
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn path_chain(mnt: u64, dentry: u64) -> u64 {
    let mut at = Look { dentry, mount: mnt.wrapping_sub(offset!(mount_mnt) as u64), seen: 0, arrived: 0 };
    // SAFETY: the callback takes the context it is given.
    unsafe { bpf_loop(PATH_COMPONENTS_MAX * 2, look as *const () as *mut c_void, (&raw mut at).cast(), 0) };
    if at.arrived == 1 { at.seen } else { 0 }
}

/// Appends the path of (mount, dentry) as a section. `mnt` is a `struct vfsmount`.
#[inline(always)]
pub(crate) fn append(record: &mut Record, mnt: u64, dentry: u64) {
    let start = record.at;
    let walked = path_walk(record.index, start + 2, mnt, dentry);
    let (at, flags) = (walked as u32, (walked >> 32) as u32);
    record.flags |= flags;
    record.at = at & CURSOR_MASK;
    section(record, start, at);
}

/// Appends as [`append`] does, of a dentry that the kernel handed over: the verifier knows its type, and what a global
/// function takes is a number. Read back from a map, a pointer is one.
#[inline(always)]
pub(crate) fn append_entry(record: &mut Record, mnt: u64, dentry: u64) {
    // SAFETY: the scratch is this program's alone. Volatile, or the compiler would keep what it wrote.
    let dentry = unsafe {
        let leaf = &raw mut (*record.scratch).walk.leaf;
        leaf.write_volatile(dentry);
        leaf.read_volatile()
    };
    append(record, mnt, dentry);
}

/// Copies the components of (mount, dentry) into a scratch buffer, from `start` on: where they end, and above that in the
/// upper half the flags. The chain of a whole path stands in the buffer. Global, as [`account::attend`] is.
///
/// [`account::attend`]: crate::account::attend
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn path_walk(scratch: u32, start: u32, mnt: u64, dentry: u64) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(scratch) else { return u64::from(start) };
    let mount = mnt.wrapping_sub(offset!(mount_mnt) as u64);
    let fresh = Walk {
        dentry,
        mount,
        leaf: dentry,
        leaf_mount: mount,
        seen: 0,
        before: 0,
        at: start,
        flags: 0,
        phase: 0,
        reserved: 0,
    };
    let mut climb = Climb { scratch };
    // SAFETY: the scratch is this program's alone; the callback takes the context it is given.
    unsafe {
        let walk = &raw mut (*scratch).walk;
        walk.write(fresh);
        bpf_loop(PATH_COMPONENTS_MAX * 2, step as *const () as *mut c_void, (&raw mut climb).cast(), 0);
        let cut = if (*walk).phase == 2 { 0 } else { flag::PATH_CUT };
        if cut | (*walk).flags & flag::PATH_TORN != 0 {
            (*walk).before = 0;
        }
        u64::from((*walk).at) | u64::from((*walk).flags | cut) << 32
    }
}

impl Record {
    /// Of the path appended last, its chain; 0 where it is not whole.
    #[inline(always)]
    pub(crate) fn chain(&self) -> u64 {
        // SAFETY: the scratch is this program's alone.
        unsafe { (*self.scratch).walk.before }
    }
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
