//! Keys and values of the maps.

use super::abi;

/// Set in a fold key's access bits for datagrams.
pub const FOLD_DATAGRAM: u32 = 1 << 30;
/// Set in a member's serial: a process of the agent's own that performs known acts in the session. Its events are numbered with
/// all others, and none is folded: they enter no table of files or repeats. Below the epoch in [`FoldKey::session`].
pub const CANARY: u64 = 1 << 47;
/// What a fold key's place is the sum of, whoever opens.
pub const PLACE_PARTS: usize = 6;
/// Secret factors: one for each of those parts, and one for who opens.
pub const PLACE_FACTORS: usize = PLACE_PARTS + 1;

abi! {
    /// A slot's session, the value of the map SESSIONS.
    Session = 32 {
        /// Serial of the session, never reused while the loader lives; 0 is none.
        serial: u64,
        /// Epoch that new events are counted in.
        epoch: u32,
        /// One of [`crate::state`].
        state: u32,
        /// Slot of the session around it, `u32::MAX` if none.
        parent: u32,
        /// Bits that were reported once: 1 << attention code.
        reported: u32,
        /// The cgroup whose tasks are its members, 0 if none.
        cgroup_id: u64,
    }

    /// A task's session, the value of the map TASKS.
    Member = 24 {
        /// Serial of the session.
        serial: u64,
        /// Start of the process, CLOCK_BOOTTIME.
        start_ns: u64,
        /// Slot of the session.
        slot: u32,
        /// Low half of the process's `self_exec_id` at the exec that was told last, 0 before.
        exec_id: u32,
    }

    /// One row of the accounts: (slot, epoch parity, CPU, hook).
    Account = 64 {
        /// Numbers taken.
        attempted: u64,
        /// Repeats counted in the maps FOLD and RECENT.
        coalesced: u64,
        /// Events that found no room.
        lost: u64,
        /// Events with a truncation flag.
        truncated: u64,
        /// Zero; a cache line an account.
        reserved: [u64; 4],
    }

    /// What makes two events of a process repeats of each other. Small, since every open looks one up.
    FoldKey = 48 {
        /// Serial of the session, its epoch in the upper 16 bits.
        session: u64,
        /// Thread group; 0 in the map FILES. Another process may be given its id: see `place`.
        pid: u32,
        /// Access bits and whether a writer was open; of datagrams [`FOLD_DATAGRAM`], hook and address family.
        access: u32,
        /// Address of the dentry; of datagrams the first half of the peer's address.
        dentry: u64,
        /// Nanoseconds of ctime; of datagrams the peer's port.
        ctime_ns: u64,
        /// Bytes; of datagrams the socket's cookie.
        size: u64,
        /// Filesystem, inode and its generation, mount, parent dentry, hash and length of the name: their sum, each multiplied by a secret odd
        /// number of the loader. Two places have the same sum by chance only (for addresses, which are multiples of 8, once
        /// in 2^61), and nobody who does not know the numbers can make two that have. Where a directory above was renamed
        /// since the key was taken, the chain of the new path is added; with a thread group, the lower half of its start. Of
        /// datagrams the second half of the peer's address, and that start.
        place: u64,
    }

    /// The event that stands for its repeats.
    FoldValue = 32 {
        /// Repeats.
        count: u64,
        /// Which it is: see [`FoldValue::of`].
        event: u64,
        /// Renames that the host had seen when the chain was last seen to stand.
        renames: u64,
        /// A hash over all names and directories of the path that the event told; 0 where it was not told whole.
        chain: u64,
    }

    /// Repeats of an access that was made a moment ago, a cache line of the map RECENT. A key has one place there, see
    /// [`Recent::place`], and a line belongs to whoever changed `busy` from 0 to 1; what it holds is added to the entry of its
    /// key in the map FOLD before another key takes the line.
    Recent = 64 {
        /// Of the access; `session` is 0 in a line that holds none.
        key: FoldKey,
        /// Renames that the host had seen when the access was last seen to stand.
        renames: u64,
        /// 1 while somebody looks at the line.
        busy: u32,
        /// Repeats that FOLD does not have yet, and [`Recent::USED`].
        count: u32,
    }

    /// The member of a thread group as it was looked up last, an entry of the map SEATS, which has one for each lower half of
    /// a number. It holds while `turn` stands.
    Seat = 32 {
        /// Counts every change of the map TASKS for such a number, after it; 0 where there was none, so no member ever.
        turn: u32,
        /// The turn that the rest was looked up in, once a turn; [`Seat::BUSY`] while somebody writes it.
        filled: u32,
        /// Thread group.
        pid: u32,
        /// Of the member.
        slot: u32,
        /// Of the member.
        serial: u64,
        /// Of the member.
        start_ns: u64,
    }

    /// An inode that a session made or wrote, the key of the map WATCH.
    InodeKey = 16 {
        /// Inode number.
        ino: u64,
        /// `s_dev`.
        dev: u32,
        /// Zero.
        reserved: u32,
    }

    /// The session that a watched inode belongs to.
    Watch = 16 {
        /// Serial of the session.
        serial: u64,
        /// Its slot.
        slot: u32,
        /// The inode's generation: its number may be given to another file.
        generation: u32,
    }
}

abi! {
    /// What IMA measured of the program that a process is about to run, the value of the map IMA by thread group.
    Measured = 48 {
        /// Address of the binary's inode.
        inode: u64,
        /// Low half of the process's `self_exec_id` at that exec.
        exec_id: u32,
        /// Zero.
        reserved: u32,
        /// By SHA-256.
        sha256: [u8; 32],
    }
}

impl Member {
    /// A member of a session, of which nothing else is known.
    #[must_use]
    #[inline(always)]
    pub fn of(serial: u64, slot: u32) -> Self {
        Self { serial, start_ns: 0, slot, exec_id: 0 }
    }
}

impl FoldValue {
    /// No repeat yet of an event, of which the number's lower 40 bits are kept.
    #[must_use]
    #[inline(always)]
    pub fn of(number: u64, cpu: u32, hook: u32) -> Self {
        let event = number & 0xff_ffff_ffff | u64::from(cpu & 0xffff) << 40 | u64::from(hook & 0xff) << 56;
        Self { count: 0, event, renames: 0, chain: 0 }
    }

    /// Number of the event.
    #[must_use]
    #[inline(always)]
    pub fn number(&self) -> u64 {
        self.event & 0xff_ffff_ffff
    }

    /// CPU of the event.
    #[must_use]
    #[inline(always)]
    pub fn cpu(&self) -> u32 {
        (self.event >> 40) as u32 & 0xffff
    }

    /// Hook of the event.
    #[must_use]
    #[inline(always)]
    pub fn hook(&self) -> u32 {
        (self.event >> 56) as u32
    }
}

impl Recent {
    /// Lines of the map, as a power of two.
    pub const LINES_LOG2: u32 = 13;
    /// In `count`: the line was of use since another key last wanted it.
    pub const USED: u32 = 1 << 31;

    /// The line of a key.
    #[must_use]
    #[inline(always)]
    pub fn place(key: &FoldKey) -> u32 {
        /// The golden ratio's fraction: spreads what differs in any bit over the upper ones.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = key.place ^ u64::from(key.pid) << 32 ^ u64::from(key.access);
        (mixed.wrapping_mul(SPREAD) >> (64 - Self::LINES_LOG2)) as u32
    }
}

impl Seat {
    /// Entries of the map SEATS.
    pub const COUNT: u32 = 1 << 16;
    /// In `filled`.
    pub const BUSY: u32 = u32::MAX;

    /// The entry of a thread group.
    #[must_use]
    #[inline(always)]
    pub const fn place(pid: u32) -> u32 {
        pid & (Self::COUNT - 1)
    }
}
