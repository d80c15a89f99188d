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
const O_TRUNC: u32 = 0o1000;
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

/// A member opened a file.
#[inline(never)]
pub(crate) fn opened(member: &Member, pid: u32, tid: u32, file: u64, fd: i32) {
    let Some(ticket) = account::take(member, hook::OPEN) else { return };
    let inode: u64 = read(file, offset!(file_inode));
    let dentry: u64 = read(file, offset!(file_dentry));
    let bits = access_bits(file);
    let writers: i32 = read(inode, offset!(inode_writers));
    let mut key = version_key(&ticket, inode, dentry);
    key.mount = read(file, offset!(file_mnt));
    key.access = if writers > 0 { BUSY } else { 0 };
    let known = key;
    key.access |= bits;
    key.pid = pid;
    // SAFETY: the entry is freed by RCU.
    if let Some(value) = FOLD.get_ptr_mut(&key) {
        // SAFETY: a field of a map value; 8-byte aligned.
        unsafe { atomic::fetch_add(&raw mut (*value).count, 1) };
        ticket.coalesced();
        return;
    }
    if bits & access::WRITE != 0 {
        watch(member, key.ino, key.dev);
    }
    if tell(&ticket, &known, pid, tid, inode, dentry, bits, writers, fd) {
        let value = stands(&ticket);
        // A full table only means that the next repeat is sent.
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

#[inline(always)]
fn version_key(ticket: &Ticket, inode: u64, dentry: u64) -> FoldKey {
    let sb: u64 = read(inode, offset!(inode_sb));
    FoldKey {
        dev: read(sb, offset!(sb_dev)),
        access: 0,
        pid: 0,
        ctime_nsec: read::<u32>(inode, offset!(inode_ctime_nsec)) & 0x7fff_ffff,
        ino: read(inode, offset!(inode_ino)),
        ctime_sec: read(inode, offset!(inode_ctime_sec)),
        size: read(inode, offset!(inode_size)),
        mount: 0,
        dentry,
        parent: read(dentry, offset!(dentry_parent)),
        name: read(dentry, offset!(dentry_name)),
        renames: renames(),
        session: ticket.serial | u64::from(ticket.epoch) << 48,
    }
}

/// Sends a small edge for a version already told in the session, the whole record for a new one.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "what the caller has read is not read again")]
fn tell(
    ticket: &Ticket,
    known: &FoldKey,
    pid: u32,
    tid: u32,
    inode: u64,
    dentry: u64,
    bits: u32,
    writers: i32,
    fd: i32,
) -> bool {
    // SAFETY: the entry is freed by RCU; its values are set once.
    if let Some(first) = unsafe { FILES.get(known) } {
        let edge = OpenKnown {
            number: first.number,
            cpu: first.cpu,
            hook: first.hook,
            access: bits,
            fd,
            writers,
            reserved: 0,
        };
        return account::send(ticket, kind::OPEN_KNOWN, pid, tid, edge);
    }
    let Some(mut record) = account::begin::<Open>(ticket) else { return false };
    let body = record.body::<Open>();
    // SAFETY: the body lies in the scratch.
    unsafe {
        version(&raw mut (*body).file, inode, known.mount);
        (*body).access = bits;
        (*body).fd = fd;
    }
    if unlinked(dentry) {
        record.flags |= flag::DELETED;
    }
    path::append(&mut record, known.mount, dentry);
    let sent = record.finish(ticket, kind::OPEN, pid, tid);
    if sent {
        let _ = FILES.insert(known, &stands(ticket), u64::from(BPF_NOEXIST));
    }
    sent
}

/// Whether the last name was removed from its directory.
#[inline(always)]
pub(crate) fn unlinked(dentry: u64) -> bool {
    let pprev: u64 = read(dentry, offset!(dentry_hash_pprev));
    let parent: u64 = read(dentry, offset!(dentry_parent));
    pprev == 0 && parent != dentry
}

/// Fills in a version. `mnt` is a `struct vfsmount`.
#[inline(never)]
pub(crate) fn version(out: *mut FileVersion, inode: u64, mnt: u64) {
    let sb: u64 = read(inode, offset!(inode_sb));
    let mount = mnt.wrapping_sub(offset!(mount_mnt) as u64);
    let namespace: u64 = read(mount, offset!(mount_ns));
    let filled = FileVersion {
        ino: read(inode, offset!(inode_ino)),
        dev: read(sb, offset!(sb_dev)),
        fs_magic: read::<u64>(sb, offset!(sb_magic)) as u32,
        size: read(inode, offset!(inode_size)),
        ctime_sec: read(inode, offset!(inode_ctime_sec)),
        ctime_nsec: read::<u32>(inode, offset!(inode_ctime_nsec)) & 0x7fff_ffff,
        mode: u32::from(read::<u16>(inode, offset!(inode_mode))),
        writers: read(inode, offset!(inode_writers)),
        nlink: read(inode, offset!(inode_nlink)),
        mnt_ns: u64::from(read::<u32>(namespace, offset!(mnt_ns_inum))),
        mount_id: read(mount, offset!(mount_id)),
        reserved: 0,
        version: 0,
    };
    // SAFETY: the caller's record.
    unsafe { out.write(filled) };
}

/// Remembers an inode that the session writes, so that a writer from outside is seen.
#[inline(always)]
fn watch(member: &Member, ino: u64, dev: u32) {
    let key = InodeKey { ino, dev, reserved: 0 };
    // SAFETY: the entry is freed by RCU.
    if let Some(owner) = unsafe { WATCH.get(&key) }.copied() {
        if owner.serial == member.serial {
            return;
        }
        outside(&owner, &key);
    }
    let value = Watch { serial: member.serial, slot: member.slot, reserved: 0 };
    if WATCH.insert(&key, &value, u64::from(BPF_ANY)).is_err() {
        account::attend(member, attention::WATCH_FULL, 0);
    }
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
        outside(&owner, &key);
    }
}

#[inline(always)]
fn outside(owner: &Watch, key: &InodeKey) {
    let member = Member { serial: owner.serial, start_ns: 0, slot: owner.slot, reserved: 0 };
    let Some(ticket) = account::take(&member, hook::OUTSIDE) else { return };
    let (pid, tid) = member::current_ids();
    account::send(&ticket, kind::OUTSIDE, pid, tid, Outside { ino: key.ino, dev: key.dev, reserved: 0 });
}
