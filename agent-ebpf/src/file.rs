//! Opens: the version behind a descriptor, repeats folded, inodes of the session watched for writers from outside.

use agent_ebpf::{
    FileVersion, FoldKey, FoldValue, InodeKey, Member, Open, OpenKnown, Outside, Watch, access, attention, flag, hook,
    kind,
};
use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};

use crate::{
    account::{self, Ticket},
    atomic,
    globals::{COUNTERS, FILES, FOLD, RENAMES, WATCH, offset},
    kernel::read,
    member, path,
};

const FMODE_READ: u32 = 0x1;
const FMODE_WRITE: u32 = 0x2;
const FMODE_EXEC: u32 = 0x20;
const FMODE_PATH: u32 = 0x4000;
const FMODE_CREATED: u32 = 0x10_0000;
/// Truncate: of a file that is open it is forgotten, the call's own flags still have it.
pub(crate) const O_TRUNC: u32 = 0o1000;
/// Marks an access while the inode had a writer: such repeats are never folded with the quiet ones.
const BUSY: u32 = 1 << 31;

/// Renames this host has seen: a path that was told holds only while the number stands.
#[inline(always)]
pub(crate) fn renames() -> u64 {
    match COUNTERS.get_ptr(RENAMES) {
        // SAFETY: a pointer into the map's value.
        Some(count) => unsafe { core::ptr::read_volatile(count) },
        None => 0,
    }
}

/// A name moved: every path told before may be another one now.
#[inline(always)]
pub(crate) fn renamed() {
    if let Some(count) = COUNTERS.get_ptr_mut(RENAMES) {
        // SAFETY: a map value; 8-byte aligned.
        unsafe { atomic::fetch_add(count, 1) };
    }
}

#[inline(always)]
fn access_bits(file: u64) -> u32 {
    let flags: u32 = read(file, offset!(file_flags));
    // An open for exec has its mark in the flags, the same bit.
    let mode: u32 = read::<u32>(file, offset!(file_mode)) | flags & FMODE_EXEC;
    let mut bits = 0;
    if mode & FMODE_READ != 0 {
        bits |= access::READ;
    }
    if mode & FMODE_WRITE != 0 {
        bits |= access::WRITE;
    }
    if mode & FMODE_EXEC != 0 {
        bits |= access::EXEC;
    }
    if mode & FMODE_PATH != 0 {
        bits |= access::PATH_ONLY;
    }
    if mode & FMODE_CREATED != 0 {
        bits |= access::CREATED;
    }
    if flags & O_TRUNC != 0 {
        bits |= access::TRUNCATED;
    }
    bits
}

/// What is known of an access so far. The steps of [`opened`] run one after the other, not inside each other: the
/// kernel gives all frames of a chain of calls 512 bytes together.
#[derive(Clone, Copy, Default)]
struct Access {
    outcome: u32,
    bits: u32,
    writers: i32,
    fd: i32,
    /// Of a version told before, the event that told it.
    number: u64,
    cpu: u32,
    hook: u32,
    /// Of a version told just now, what was told.
    size: u64,
    ctime_sec: i64,
    ctime_nsec: u32,
    watch_full: u32,
}

mod outcome {
    /// A repeat: counted.
    pub(super) const REPEATED: u32 = 0;
    /// The version is known in the session, this process's access is not.
    pub(super) const KNOWN: u32 = 1;
    /// The version is new.
    pub(super) const NEW: u32 = 2;
}

/// A member opened a file; `flags` are those of the call, 0 where they are not in a register.
#[inline(always)]
pub(crate) fn opened(member: &Member, file: u64, fd: i32, flags: u32) {
    let Some(ticket) = account::take(member, hook::OPEN) else { return };
    let bits = if flags & O_TRUNC != 0 { access::TRUNCATED } else { 0 };
    let mut access = Access { fd, bits, ..Access::default() };
    look(&ticket, member, file, &mut access);
    let sent = match access.outcome {
        outcome::REPEATED => return,
        outcome::KNOWN => tell_again(&ticket, &access),
        _ => tell(&ticket, file, &mut access),
    };
    if sent {
        remember(&ticket, file, &access);
    }
    if access.watch_full != 0 {
        account::attend(member, attention::WATCH_FULL, 0);
    }
}

/// Whether the access repeats one, and whether its version was told.
#[inline(never)]
fn look(ticket: &Ticket, member: &Member, file: u64, access: &mut Access) {
    let (pid, _) = member::current_ids();
    let inode: u64 = read(file, offset!(file_inode));
    let bits = access.bits | access_bits(file);
    access.bits = bits;
    access.writers = read(inode, offset!(inode_writers));
    let mut key = FoldKey::default();
    fill(&mut key, ticket, inode, file);
    key.access = busy(access.writers) | bits;
    key.pid = pid;
    if let Some(value) = FOLD.get_ptr_mut(&key) {
        // SAFETY: a field of a map value; 8-byte aligned.
        unsafe { atomic::fetch_add(&raw mut (*value).count, 1) };
        ticket.coalesced();
        access.outcome = outcome::REPEATED;
        return;
    }
    // The key of the version itself, whoever accesses it.
    key.access = busy(access.writers);
    key.pid = 0;
    access.outcome = outcome::NEW;
    // SAFETY: the entry is freed by RCU; its values are set once.
    if let Some(first) = unsafe { FILES.get(&key) } {
        access.outcome = outcome::KNOWN;
        access.number = first.number;
        access.cpu = first.cpu;
        access.hook = first.hook;
    }
    if bits & access::WRITE != 0 && !watch(member, inode, key.ino, key.dev) {
        access.watch_full = 1;
    }
}

#[inline(always)]
fn busy(writers: i32) -> u32 {
    if writers > 0 { BUSY } else { 0 }
}

/// Remembers that this event stands for the repeats of the access, and told the version if it was new. A full table only
/// means that the next repeat is sent.
#[inline(never)]
fn remember(ticket: &Ticket, file: u64, access: &Access) {
    let (pid, _) = member::current_ids();
    let inode: u64 = read(file, offset!(file_inode));
    let mut key = FoldKey::default();
    fill(&mut key, ticket, inode, file);
    let value = stands(ticket);
    key.access = busy(access.writers);
    if access.outcome == outcome::NEW {
        // Another version than the one that was told a moment ago must not pass for it.
        if key.size != access.size || key.ctime_sec != access.ctime_sec || key.ctime_nsec != access.ctime_nsec {
            return;
        }
        let _ = FILES.insert(&key, &value, u64::from(BPF_NOEXIST));
    }
    // SAFETY: the entry is freed by RCU; its values are set once.
    let told = unsafe { FILES.get(&key) }.is_some_and(|first| {
        access.outcome == outcome::NEW || (first.number == access.number && first.cpu == access.cpu)
    });
    if told {
        key.access |= access.bits;
        key.pid = pid;
        let _ = FOLD.insert(&key, &value, u64::from(BPF_NOEXIST));
    }
}

#[inline(always)]
fn stands(ticket: &Ticket) -> FoldValue {
    FoldValue {
        count: 0,
        number: ticket.number,
        cpu: ticket.cpu,
        hook: ticket.hook,
        slot: ticket.slot,
        epoch: ticket.epoch,
    }
}

/// Fills in a version's key, in place: a copy would cost the stack twice.
#[inline(always)]
fn fill(key: &mut FoldKey, ticket: &Ticket, inode: u64, file: u64) {
    let sb: u64 = read(inode, offset!(inode_sb));
    let dentry: u64 = read(file, offset!(file_dentry));
    key.dev = read(sb, offset!(sb_dev));
    key.ctime_nsec = read::<u32>(inode, offset!(inode_ctime_nsec)) & 0x7fff_ffff;
    key.ino = read(inode, offset!(inode_ino));
    key.ctime_sec = read(inode, offset!(inode_ctime_sec));
    key.size = read(inode, offset!(inode_size));
    key.mount = read(file, offset!(file_mnt));
    key.dentry = dentry;
    // Once the name was removed, the path told before says nothing of an access.
    key.parent = if unlinked(dentry) { 0 } else { read(dentry, offset!(dentry_parent)) };
    key.name = read(dentry, offset!(dentry_name));
    key.renames = renames();
    key.session = ticket.serial | u64::from(ticket.epoch) << 48;
}

/// Sends a small edge: the version was told in this session.
#[inline(never)]
fn tell_again(ticket: &Ticket, access: &Access) -> bool {
    let (pid, tid) = member::current_ids();
    let edge = OpenKnown {
        number: access.number,
        cpu: access.cpu,
        hook: access.hook,
        access: access.bits,
        fd: access.fd,
        writers: access.writers,
        reserved: 0,
    };
    account::send(ticket, kind::OPEN_KNOWN, pid, tid, edge)
}

/// Sends the whole record of a version that the session has not been told.
#[inline(never)]
fn tell(ticket: &Ticket, file: u64, access: &mut Access) -> bool {
    let Some(mut record) = account::begin::<Open>(ticket) else { return false };
    let (pid, tid) = member::current_ids();
    let mnt: u64 = read(file, offset!(file_mnt));
    let dentry: u64 = read(file, offset!(file_dentry));
    let body = record.body::<Open>();
    // SAFETY: the body lies in the scratch.
    unsafe {
        version(&raw mut (*body).file, read(file, offset!(file_inode)), mnt);
        (*body).access = access.bits;
        (*body).fd = access.fd;
        access.size = (*body).file.size;
        access.ctime_sec = (*body).file.ctime_sec;
        access.ctime_nsec = (*body).file.ctime_nsec;
    }
    if unlinked(dentry) {
        record.flags |= flag::DELETED;
    }
    path::append(&mut record, mnt, dentry);
    record.finish(ticket, kind::OPEN, pid, tid)
}

/// Whether the last name was removed from its directory.
#[inline(always)]
pub(crate) fn unlinked(dentry: u64) -> bool {
    let pprev: u64 = read(dentry, offset!(dentry_hash_pprev));
    let parent: u64 = read(dentry, offset!(dentry_parent));
    pprev == 0 && parent != dentry
}

/// Fills in a version, field by field: a copy would cost the stack. `mnt` is a `struct vfsmount`.
#[inline(never)]
pub(crate) fn version(out: *mut FileVersion, inode: u64, mnt: u64) {
    let sb: u64 = read(inode, offset!(inode_sb));
    let mount = mnt.wrapping_sub(offset!(mount_mnt) as u64);
    let namespace: u64 = read(mount, offset!(mount_ns));
    // SAFETY: the caller's record.
    unsafe {
        (*out).ino = read(inode, offset!(inode_ino));
        (*out).dev = read(sb, offset!(sb_dev));
        (*out).fs_magic = read::<u64>(sb, offset!(sb_magic)) as u32;
        (*out).size = read(inode, offset!(inode_size));
        (*out).ctime_sec = read(inode, offset!(inode_ctime_sec));
        (*out).ctime_nsec = read::<u32>(inode, offset!(inode_ctime_nsec)) & 0x7fff_ffff;
        (*out).mode = u32::from(read::<u16>(inode, offset!(inode_mode)));
        (*out).writers = read(inode, offset!(inode_writers));
        (*out).nlink = read(inode, offset!(inode_nlink));
        (*out).mnt_ns = u64::from(read::<u32>(namespace, offset!(mnt_ns_inum)));
        (*out).mount_id = read(mount, offset!(mount_id));
        (*out).reserved = 0;
        (*out).version = 0;
    }
}

/// Remembers an inode that the session writes, so that a writer from outside is seen. False where the table is full.
#[inline(always)]
fn watch(member: &Member, inode: u64, ino: u64, dev: u32) -> bool {
    // A number that a removed file had may be given to another: the generation tells them apart.
    let generation: u32 = read(inode, offset!(inode_generation));
    let key = InodeKey { ino, dev, reserved: 0 };
    // SAFETY: the entry is freed by RCU.
    if let Some(owner) = unsafe { WATCH.get(&key) }.copied() {
        if owner.generation == generation {
            if owner.serial == member.serial {
                return true;
            }
            outside(&owner, &key, 0);
        }
    }
    let value = Watch { serial: member.serial, slot: member.slot, generation };
    WATCH.insert(&key, &value, u64::from(BPF_ANY)).is_ok()
}

/// A task of no session opened a file for writing.
#[inline(never)]
pub(crate) fn opened_outside(file: u64) {
    let mode: u32 = read(file, offset!(file_mode));
    if mode & FMODE_WRITE == 0 {
        return;
    }
    let inode: u64 = read(file, offset!(file_inode));
    let sb: u64 = read(inode, offset!(inode_sb));
    let key = InodeKey { ino: read(inode, offset!(inode_ino)), dev: read(sb, offset!(sb_dev)), reserved: 0 };
    // SAFETY: the entry is freed by RCU.
    if let Some(owner) = unsafe { WATCH.get(&key) }.copied() {
        if owner.generation == read::<u32>(inode, offset!(inode_generation)) {
            outside(&owner, &key, 0);
        } else {
            let _ = WATCH.remove(&key);
            outside(&owner, &key, 1);
        }
    }
}

#[inline(never)]
fn outside(owner: &Watch, key: &InodeKey, reused: u32) {
    let member = Member { serial: owner.serial, start_ns: 0, slot: owner.slot, reserved: 0 };
    let Some(ticket) = account::take(&member, hook::OUTSIDE) else { return };
    let (pid, tid) = member::current_ids();
    account::send(&ticket, kind::OUTSIDE, pid, tid, Outside { ino: key.ino, dev: key.dev, reused });
}
