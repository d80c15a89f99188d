//! What user space sets before the load, read-only afterwards (the verifier folds it to constants), and the maps.

use agent_ebpf::{
    Account, FoldKey, FoldValue, InodeKey, Measured, Member, Offsets, PLACE_FACTORS, PLACE_PARTS, Recent, Seat,
    Session, Watch, Windows,
};
use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, Queue, RingBuf},
};

/// Offsets in the running kernel's structures.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::UNKNOWN;
/// Where the parts of those structures begin that are read together.
#[unsafe(no_mangle)]
static WINDOWS: Windows = Windows { file: 0, inode: 0, dentry: 0, words: 0 };
/// Odd numbers that nobody else knows, for the place in a fold key.
#[unsafe(no_mangle)]
static PLACE_KEYS: [u64; PLACE_FACTORS] = [1; PLACE_FACTORS];
/// Possible CPUs: the accounts' and scratches' stride.
#[unsafe(no_mangle)]
static CPUS: u32 = 1;
/// Bytes waiting in the ring above which a record wakes user space at once.
#[unsafe(no_mangle)]
static RING_WAKE_BYTES: u64 = 1 << 20;

/// The offset of a field: `offset!(inode_ino)`.
macro_rules! offset {
    ($field:ident) => {
        $crate::globals::read_offset(core::mem::offset_of!(agent_ebpf::Offsets, $field))
    };
}
pub(crate) use offset;

#[inline(always)]
pub(crate) fn read_offset(field: usize) -> usize {
    // SAFETY: the field lies in OFFSETS. Volatile, because user space replaces the value before the load.
    unsafe { core::ptr::read_volatile((&raw const OFFSETS).byte_add(field).cast::<u32>()) as usize }
}

/// Where a window begins: `window!(inode)`.
macro_rules! window {
    ($field:ident) => {
        $crate::globals::read_window(core::mem::offset_of!(agent_ebpf::Windows, $field))
    };
}
pub(crate) use window;

#[inline(always)]
pub(crate) fn read_window(field: usize) -> usize {
    // SAFETY: as in `read_offset`, of WINDOWS.
    unsafe { core::ptr::read_volatile((&raw const WINDOWS).byte_add(field).cast::<u32>()) as usize }
}

/// The sum of a fold key's place.
#[inline(always)]
pub(crate) fn place(parts: [u64; PLACE_PARTS]) -> u64 {
    let mut sum = 0u64;
    let mut index = 0;
    while index < PLACE_PARTS {
        sum = sum.wrapping_add(parts[index].wrapping_mul(factor(index)));
        index += 1;
    }
    sum
}

/// What the start of a process adds to a place.
#[inline(always)]
pub(crate) fn whose(start: u32) -> u64 {
    u64::from(start).wrapping_mul(factor(PLACE_PARTS))
}

/// A sum over words, one word further. What two that differ in chosen bits come to cannot be told without the numbers.
#[inline(always)]
pub(crate) fn scrambled(sum: u64, word: u64) -> u64 {
    let mixed = (sum ^ word).wrapping_add(factor(1));
    // A product of its halves: by the odd number alone, what flips the highest bit would flip no other.
    let next = mixed.wrapping_mul(factor(0)) ^ (mixed & 0xffff_ffff).wrapping_mul(mixed >> 32);
    next ^ next >> 32
}

/// A chain, one link longer: see [`agent_ebpf::FoldValue`].
#[inline(always)]
pub(crate) fn linked(chain: u64, directory: u64, name: u64) -> u64 {
    (chain ^ directory).wrapping_mul(factor(0)).wrapping_add(name.wrapping_mul(factor(1)))
}

/// One of the loader's odd numbers.
#[inline(always)]
fn factor(index: usize) -> u64 {
    // SAFETY: as in `read_offset`, of PLACE_KEYS.
    unsafe { core::ptr::read_volatile((&raw const PLACE_KEYS).cast::<u64>().add(index)) }
}

#[inline(always)]
pub(crate) fn cpus() -> u32 {
    // SAFETY: as in `read_offset`.
    unsafe { core::ptr::read_volatile(&raw const CPUS) }
}

#[inline(always)]
pub(crate) fn ring_wake_bytes() -> u64 {
    // SAFETY: as in `read_offset`.
    unsafe { core::ptr::read_volatile(&raw const RING_WAKE_BYTES) }
}

/// What `sys_exit` does with a system call; 0 is nothing.
#[inline(always)]
pub(crate) fn call(number: u64) -> u64 {
    if number >= agent_ebpf::CALLS as u64 {
        return 0;
    }
    // SAFETY: a pointer into the map's value.
    CALLS.get_ptr(number as u32).map_or(0, |word| unsafe { *word })
}

/// What `sys_exit` does with each system call, by number; filled when it is known which hooks the kernel grants.
#[map]
pub(crate) static CALLS: Array<u64> = Array::with_max_entries(agent_ebpf::CALLS as u32, 0);
/// Records on their way to user space.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(16 << 20, 0);
/// Session of each slot.
#[map]
pub(crate) static SESSIONS: Array<Session> = Array::with_max_entries(1, 0);
/// Thread group to session.
#[map]
pub(crate) static TASKS: HashMap<u32, Member> = HashMap::with_max_entries(65536, 1);
/// Members as they were looked up last, by [`Seat::place`]: near, where a hash of the number is not. User space has it mapped.
#[map]
pub(crate) static SEATS: Array<Seat> = Array::with_max_entries(Seat::COUNT, BPF_F_MMAPABLE);
/// Thread to thread group, of members; the first thread of each is left out, its number is the group's.
#[map]
pub(crate) static THREADS: HashMap<u32, u32> = HashMap::with_max_entries(65536, 1);
/// ((slot * 2 + epoch parity) * CPUs + CPU) * hooks + hook.
#[map]
pub(crate) static ACCOUNTS: Array<Account> = Array::with_max_entries(1, 0);
/// (process, file version, access) to the event that stands for it.
#[map]
pub(crate) static FOLD: HashMap<FoldKey, FoldValue> = HashMap::with_max_entries(262_144, 1);
/// What was repeated a moment ago, by [`Recent::place`]; user space has it mapped.
#[map]
pub(crate) static RECENT: Array<Recent> = Array::with_max_entries(1 << Recent::LINES_LOG2, BPF_F_MMAPABLE);
/// File version to the event that told it.
#[map]
pub(crate) static FILES: HashMap<FoldKey, FoldValue> = HashMap::with_max_entries(262_144, 1);
/// Inodes that sessions made or wrote.
#[map]
pub(crate) static WATCH: HashMap<InodeKey, Watch> = HashMap::with_max_entries(262_144, 1);
/// cgroup id to the slot whose members its tasks are; the serial is in SESSIONS.
#[map]
pub(crate) static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(8192, 1);
/// cgroup ids below which a new cgroup opens a provisional session.
#[map]
pub(crate) static PREFIXES: HashMap<u64, u32> = HashMap::with_max_entries(64, 1);
/// Slots that the kernel side may take for provisional sessions.
#[map]
pub(crate) static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(4096, 0);
/// Address of a TCP socket to the process that opened it.
#[map]
pub(crate) static SOCKETS: LruHashMap<u64, SocketOwner> = LruHashMap::with_max_entries(16384, 0);
/// Cookie of a socket that asks or answers on port 53 to the process that did it last.
#[map]
pub(crate) static DNS_SOCKETS: LruHashMap<u64, SocketOwner> = LruHashMap::with_max_entries(16384, 0);
/// Thread group to what IMA measured at its exec, until the exec is told.
#[map]
pub(crate) static IMA: LruHashMap<u32, Measured> = LruHashMap::with_max_entries(4096, 0);
/// 0: renames seen on this host; 1: the last serial given to a session; 2: calls by which a task in no session may
/// have written a file, nobody can say which.
#[map]
pub(crate) static COUNTERS: Array<u64> = Array::with_max_entries(4, 0);
/// Where records are put together: several a CPU, since a hook may interrupt another.
#[map]
pub(crate) static SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// Scratch buffers a CPU has.
pub(crate) const SCRATCH_PER_CPU: u32 = 3;
/// Bytes that a cursor may address; a power of two, so that the verifier sees the bound.
pub(crate) const CURSOR_MASK: u32 = 0x7fff;
/// Index in COUNTERS.
pub(crate) const RENAMES: u32 = 0;
/// Index in COUNTERS.
pub(crate) const SERIAL: u32 = 1;
/// Index in COUNTERS.
pub(crate) const UNSEEN: u32 = 2;
/// Index in COUNTERS.
pub(crate) const UNOPENED: u32 = 3;

/// A record under construction.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) busy: u64,
    /// State of a walk. Not on the stack: what the verifier reads back from a map it takes as unknown, so a walk of any
    /// length is one state to it, where values on the stack would be followed one by one.
    pub(crate) walk: crate::path::Walk,
    /// One string or part of argv beyond the last cursor.
    pub(crate) bytes: [u8; CURSOR_MASK as usize + 1 + agent_ebpf::ARGS_PART_BYTES],
}

/// Who a socket belongs to.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SocketOwner {
    pub(crate) member: Member,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
}
