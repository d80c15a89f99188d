//! Opens: the version behind a descriptor, repeats folded.

use core::mem::MaybeUninit;

use agent_ebpf::{
    CANARY, FileVersion, FoldKey, FoldValue, Member, Open, OpenKnown, Windows, access, attention, flag, hook, kind,
};
use aya_ebpf::bindings::BPF_NOEXIST;

use crate::{
    account::{self, Ticket},
    atomic,
    globals::{COUNTERS, FILES, FOLD, RENAMES, UNSEEN, offset, place, whose, window},
    kernel::{Window, read},
    member, path, recent,
    watch::{FMODE_WRITE, watch},
};

const FMODE_READ: u32 = 0x1;
const FMODE_EXEC: u32 = 0x20;
const FMODE_PATH: u32 = 0x4000;
const FMODE_CREATED: u32 = 0x10_0000;
/// Truncate: of a file that is open it is forgotten, the call's own flags still have it.
pub(crate) const O_TRUNC: u32 = 0o1000;
/// Of an inode: its content is held against a tree of hashes, for ever.
const S_VERITY: u32 = 1 << 16;
/// Marks an access while the inode had a writer: such repeats are never folded with the quiet ones.
const BUSY: u32 = 1 << 31;

/// Renames this host has seen: while the number stands, so do all paths that were told.
#[inline(always)]
pub(crate) fn renames() -> u64 {
    match COUNTERS.get_ptr(RENAMES) {
        // SAFETY: a pointer into the map's value.
        Some(count) => unsafe { core::ptr::read_volatile(count) },
        None => 0,
    }
}

/// A name moved: every path told before may be another one now, and is looked at again when it is next opened.
#[inline(always)]
pub(crate) fn renamed() {
    count(RENAMES);
}

/// A task of no session may have written a file, nobody can say which.
#[inline(always)]
pub(crate) fn unseen_outside() {
    count(UNSEEN);
}

#[inline(always)]
fn count(counter: u32) {
    if let Some(count) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: a map value; 8-byte aligned.
        unsafe { atomic::fetch_add(count, 1) };
    }
}

/// What a `struct file` says of an open.
#[derive(Clone, Copy)]
struct Opened {
    inode: u64,
    mnt: u64,
    dentry: u64,
    /// Bits of [`access`].
    bits: u32,
}

impl Opened {
    #[inline(always)]
    fn of(file: u64) -> Self {
        let mut words = MaybeUninit::<[u64; Windows::FILE_WORDS]>::uninit();
        let window = Window::of(file, window!(file), &mut words);
        Self {
            inode: window.get(offset!(file_inode)),
            mnt: window.get(offset!(file_mnt)),
            dentry: window.get(offset!(file_dentry)),
            bits: access_bits(window.get(offset!(file_mode)), window.get(offset!(file_flags))),
        }
    }
}

#[inline(always)]
fn access_bits(mode: u32, flags: u32) -> u32 {
    // An open for exec has its mark in the flags, the same bit.
    let mode = mode | flags & FMODE_EXEC;
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
///
/// What a step decides by is handed to it by value. Read through a pointer to the caller's frame, a number that the
/// verifier knows there would do for others too: Linux 6.1 then takes the branch for dead and drops it.
#[derive(Clone, Copy)]
struct Access {
    bits: u32,
    writers: i32,
    fd: i32,
    /// Lower half of the process's start: its id alone may be another's later.
    start: u32,
    /// Added to the place of the key, since a directory above was renamed; else 0.
    moved: u64,
    /// Of a version told before, the event that told it.
    told: u64,
    /// Renames seen before the path was.
    renames: u64,
    /// Of the path that was told.
    chain: u64,
    /// Of the version that was looked for; of one told just now, what was told.
    size: u64,
    ctime_ns: u64,
}

impl Access {
    /// Nothing is known but the call's own. Field by field, volatile: the compiler would make a loop over bytes of it.
    #[inline(always)]
    fn begin(access: &mut MaybeUninit<Self>, fd: i32, bits: u32, start: u32) -> &mut Self {
        let words: *mut u64 = access.as_mut_ptr().cast();
        // SAFETY: the words of the structure, all of them; zeros are a value of it.
        unsafe {
            let mut word = 0;
            while word < size_of::<Self>() / 8 {
                words.add(word).write_volatile(0);
                word += 1;
            }
            let access = access.assume_init_mut();
            access.fd = fd;
            access.bits = bits;
            access.start = start;
            access
        }
    }
}

const _: () = assert!(size_of::<Access>() % 8 == 0);

mod outcome {
    /// A repeat: counted.
    pub(super) const REPEATED: u64 = 0;
    /// The version is known in the session, this process's access is not.
    pub(super) const KNOWN: u64 = 1;
    /// The version is new.
    pub(super) const NEW: u64 = 2;
}

/// A member opened a file; `flags` are those of the call, 0 where they are not in a register.
#[inline(always)]
pub(crate) fn opened(member: &Member, file: u64, fd: i32, flags: u32) {
    let Some(mut ticket) = account::take(member, hook::OPEN) else { return };
    let bits = if flags & O_TRUNC != 0 { access::TRUNCATED } else { 0 };
    let mut access = MaybeUninit::uninit();
    let access = Access::begin(&mut access, fd, bits, member.start_ns as u32);
    let outcome = look(&ticket, file, access);
    if outcome == outcome::REPEATED {
        return;
    }
    // Known acts are each told: they must not fill the tables of the session.
    let known_act = ticket.serial & CANARY != 0;
    if access.bits & access::WRITE != 0 && !known_act {
        let member = Member::of(ticket.serial, ticket.slot);
        if !watch(&member, read(file, offset!(file_inode))) {
            account::attend(&member, attention::WATCH_FULL, 0);
        }
    }
    ticket.begin();
    let sent = match outcome {
        outcome::KNOWN => tell_again(&ticket, file, access),
        _ => tell(&ticket, file, access),
    };
    if sent && !known_act {
        remember(&ticket, file, access, outcome, access.moved);
    }
}

/// Whether the access repeats one, and whether its version was told: an [`outcome`].
#[inline(never)]
fn look(ticket: &Ticket, file: u64, access: &mut Access) -> u64 {
    let (pid, _) = member::current_ids();
    let opened = Opened::of(file);
    let bits = access.bits | opened.bits;
    access.bits = bits;
    access.writers = Window::one(opened.inode, offset!(inode_writers));
    let mut key = MaybeUninit::uninit();
    let key = version_key(&mut key, ticket, &opened);
    (access.size, access.ctime_ns) = (key.size, key.ctime_ns);
    key.access = busy(access.writers) | bits;
    let start = access.start;
    by(key, pid, start);
    access.renames = renames();
    if recent::repeated(key, access.renames) {
        ticket.coalesced();
        return outcome::REPEATED;
    }
    let mut moved = match repeated(ticket, key, &opened, access.renames) {
        Told::Same => {
            recent::keep(key, access.renames);
            return outcome::REPEATED;
        }
        Told::Elsewhere(chain) => chain,
        Told::Never => 0,
    };
    if moved == 0 {
        key.access = busy(access.writers);
        by_anybody(key, start);
        match known(key, &opened, access) {
            Told::Same => return outcome::KNOWN,
            Told::Elsewhere(chain) => moved = chain,
            Told::Never => return outcome::NEW,
        }
        by(key, pid, start);
    }
    // A directory above was renamed since: the same file, by another path.
    access.moved = moved;
    key.place = key.place.wrapping_add(moved);
    key.access = busy(access.writers) | bits;
    if let Told::Same = repeated(ticket, key, &opened, access.renames) {
        return outcome::REPEATED;
    }
    key.access = busy(access.writers);
    by_anybody(key, start);
    match known(key, &opened, access) {
        Told::Same => outcome::KNOWN,
        _ => outcome::NEW,
    }
}

/// Makes an access of a process of the key of a version.
#[inline(always)]
fn by(key: &mut FoldKey, pid: u32, start: u32) {
    key.pid = pid;
    key.place = key.place.wrapping_add(whose(start));
}

/// Takes that back.
#[inline(always)]
fn by_anybody(key: &mut FoldKey, start: u32) {
    key.pid = 0;
    key.place = key.place.wrapping_sub(whose(start));
}

/// What the tables say of a key.
enum Told {
    /// Told, by the path it has now.
    Same,
    /// Told, by another path; with the chain of this one.
    Elsewhere(u64),
    Never,
}

/// Counts the access if it was told.
#[inline(always)]
fn repeated(ticket: &Ticket, key: &FoldKey, opened: &Opened, renames: u64) -> Told {
    let Some(value) = FOLD.get_ptr_mut(key) else { return Told::Never };
    if let Some(chain) = stands(value, opened, renames) {
        return Told::Elsewhere(chain);
    }
    // SAFETY: a field of a map value; 8-byte aligned.
    unsafe { atomic::fetch_add(&raw mut (*value).count, 1) };
    ticket.coalesced();
    Told::Same
}

/// Finds the event that told the version.
#[inline(always)]
fn known(key: &FoldKey, opened: &Opened, access: &mut Access) -> Told {
    let Some(value) = FILES.get_ptr_mut(key) else { return Told::Never };
    if let Some(chain) = stands(value, opened, access.renames) {
        return Told::Elsewhere(chain);
    }
    // SAFETY: a pointer into the map's value; what is read here is set once.
    (access.told, access.chain) = unsafe { ((*value).event, (*value).chain) };
    Told::Same
}

/// None if the path that was told is the file's path still; else the chain of the path it has.
#[inline(always)]
fn stands(value: *mut FoldValue, opened: &Opened, renames: u64) -> Option<u64> {
    // SAFETY: a pointer into the map's value.
    unsafe {
        if core::ptr::read_volatile(&raw const (*value).renames) == renames {
            return None;
        }
        let chain = path::path_chain(opened.mnt, opened.dentry);
        // A path too long to be told whole is never known to be the same.
        if chain == 0 || (*value).chain != chain {
            return Some(chain | 1);
        }
        core::ptr::write_volatile(&raw mut (*value).renames, renames);
        None
    }
}

#[inline(always)]
fn busy(writers: i32) -> u32 {
    if writers > 0 { BUSY } else { 0 }
}

/// Remembers that this event stands for the repeats of the access, and told the version if it was new. A full table only
/// means that the next repeat is sent.
#[inline(never)]
fn remember(ticket: &Ticket, file: u64, access: &Access, outcome: u64, moved: u64) {
    let (pid, _) = member::current_ids();
    let mut key = MaybeUninit::uninit();
    let key = version_key(&mut key, ticket, &Opened::of(file));
    key.place = key.place.wrapping_add(moved);
    key.access = busy(access.writers);
    let mut value = FoldValue::of(ticket.number, ticket.cpu(), ticket.hook());
    value.renames = access.renames;
    value.chain = access.chain;
    if outcome == outcome::NEW {
        // Another version or path than the one that was told a moment ago must not pass for it.
        let elsewhere = moved != 0 && moved != access.chain | 1;
        if key.size != access.size || key.ctime_ns != access.ctime_ns || elsewhere {
            return;
        }
        let _ = FILES.insert(&*key, &value, u64::from(BPF_NOEXIST));
    }
    // SAFETY: the entry is freed by RCU; its event is set once.
    let told = unsafe { FILES.get(&*key) }.is_some_and(|first| outcome == outcome::NEW || first.event == access.told);
    if told {
        key.access |= access.bits;
        by(key, pid, access.start);
        let _ = FOLD.insert(&*key, &value, u64::from(BPF_NOEXIST));
    }
}

/// A version's key, whoever accesses it: built in place, field by field, since a copy or zeros would cost as much again.
#[inline(always)]
fn version_key<'a>(key: &'a mut MaybeUninit<FoldKey>, ticket: &Ticket, opened: &Opened) -> &'a mut FoldKey {
    let out = key.as_mut_ptr();
    // SAFETY: every field is written, and there is no padding.
    unsafe {
        let (sb, ino): (u64, u64);
        {
            let mut words = MaybeUninit::<[u64; Windows::INODE_WORDS]>::uninit();
            let inode = Window::of(opened.inode, window!(inode), &mut words);
            sb = inode.get(offset!(inode_sb));
            ino = inode.get(offset!(inode_ino));
            let seconds: i64 = inode.get(offset!(inode_ctime_sec));
            (*out).ctime_ns = nanoseconds(seconds, inode.get::<u32>(offset!(inode_ctime_nsec)) & 0x7fff_ffff);
            (*out).size = inode.get(offset!(inode_size));
        }
        // A removed file's number, name and time within one tick may all be those of the next one.
        let generation: u32 = Window::one(opened.inode, offset!(inode_generation));
        let mut words = MaybeUninit::<[u64; Windows::DENTRY_WORDS]>::uninit();
        let dentry = Window::of(opened.dentry, window!(dentry), &mut words);
        let parent: u64 = dentry.get(offset!(dentry_parent));
        let pprev: u64 = dentry.get(offset!(dentry_hash_pprev));
        // Once the name was removed, the path told before says nothing of an access.
        let parent = if is_unlinked(opened.dentry, parent, pprev) { 0 } else { parent };
        let name: u64 = dentry.get(offset!(dentry_name));
        (*out).place = place([sb, ino, opened.mnt, parent, name, u64::from(generation)]);
        (*out).dentry = opened.dentry;
        (*out).session = ticket.serial | u64::from(ticket.epoch) << 48;
        (*out).access = 0;
        (*out).pid = 0;
        key.assume_init_mut()
    }
}

/// A ctime as one number.
#[inline(always)]
fn nanoseconds(seconds: i64, nanoseconds: u32) -> u64 {
    (seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(u64::from(nanoseconds))
}

/// Sends a small edge: the version was told in this session. It was read before the ticket began; where it moved since, or
/// a writer came, a writer is told.
#[inline(never)]
fn tell_again(ticket: &Ticket, file: u64, access: &Access) -> bool {
    let (pid, tid) = member::current_ids();
    let inode: u64 = read(file, offset!(file_inode));
    let seconds: i64 = read(inode, offset!(inode_ctime_sec));
    let ctime_ns = nanoseconds(seconds, read::<u32>(inode, offset!(inode_ctime_nsec)) & 0x7fff_ffff);
    let moved = ctime_ns != access.ctime_ns || read::<u64>(inode, offset!(inode_size)) != access.size;
    let writers: i32 = read(inode, offset!(inode_writers));
    let writers = if moved { i32::MAX } else { writers };
    let told = FoldValue { event: access.told, ..FoldValue::default() };
    let edge = OpenKnown {
        number: told.number(),
        cpu: told.cpu(),
        hook: told.hook(),
        access: access.bits,
        fd: access.fd,
        writers,
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
        access.ctime_ns = nanoseconds((*body).file.ctime_sec, (*body).file.ctime_nsec);
    }
    if unlinked(dentry) {
        record.flags |= flag::DELETED;
    }
    path::append(&mut record, mnt, dentry);
    access.chain = record.chain();
    record.finish(ticket, kind::OPEN, pid, tid)
}

/// Whether the last name was removed from its directory.
#[inline(always)]
pub(crate) fn unlinked(dentry: u64) -> bool {
    is_unlinked(dentry, read(dentry, offset!(dentry_parent)), read(dentry, offset!(dentry_hash_pprev)))
}

/// A dentry that is hashed nowhere has no name any more, unless it is a root.
#[inline(always)]
fn is_unlinked(dentry: u64, parent: u64, pprev: u64) -> bool {
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
        (*out).rdev = read(inode, offset!(inode_rdev));
        (*out).generation = read(inode, offset!(inode_generation));
        (*out).verity = u32::from(read::<u32>(inode, offset!(inode_flags)) & S_VERITY != 0);
    }
}
