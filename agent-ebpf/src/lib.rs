//! The ABI between the kernel programs and user space: integers and byte arrays only, sizes asserted, no padding.
//!
//! A record in the ring is a [`Header`], then the fixed part of its kind, then the tail: `tail_bytes` bytes of sections,
//! each `u16 length ++ bytes`. A path section holds the components from the leaf to the root of the mount namespace, each
//! `u8 length ++ bytes`; the kernel side never formats text.
#![no_std]
#![forbid(unsafe_code)]

/// Hooks have an account each; ids are never reused for another meaning.
pub mod hook {
    /// `sched_process_fork`.
    pub const FORK: u16 = 1;
    /// `sched_process_exec`.
    pub const EXEC: u16 = 2;
    /// `sched_process_exit`.
    pub const EXIT: u16 = 3;
    /// Opens, by whichever method the kernel grants.
    pub const OPEN: u16 = 4;
    /// Renames.
    pub const RENAME: u16 = 5;
    /// Hard links.
    pub const LINK: u16 = 6;
    /// Removals of names.
    pub const UNLINK: u16 = 7;
    /// Directories made and removed.
    pub const MKDIR: u16 = 8;
    /// Symbolic links made.
    pub const SYMLINK: u16 = 9;
    /// Truncations by path or descriptor.
    pub const TRUNCATE: u16 = 10;
    /// The end of `connect`, any family.
    pub const CONNECT: u16 = 11;
    /// cgroup `connect4`/`connect6`.
    pub const CONNECT_ATTEMPT: u16 = 12;
    /// cgroup `sendmsg4`/`sendmsg6`.
    pub const SEND: u16 = 13;
    /// cgroup `post_bind4`/`post_bind6`, or the end of `bind`.
    pub const BIND: u16 = 14;
    /// The end of `accept`.
    pub const ACCEPT: u16 = 15;
    /// `inet_sock_set_state`.
    pub const CLOSE: u16 = 16;
    /// `cgroup_attach_task`, `cgroup_mkdir`.
    pub const CGROUP: u16 = 17;
    /// Acts that limit what can be claimed.
    pub const ATTENTION: u16 = 18;
    /// A write from outside to a file of the session.
    pub const OUTSIDE: u16 = 19;
    /// One more than the last id; the number of rows an account table has.
    pub const COUNT: u16 = 24;
}

/// What follows a [`Header`].
pub mod kind {
    /// [`super::Fork`].
    pub const FORK: u16 = 1;
    /// [`super::Exec`]; sections: binary path, filename, interpreter, directory.
    pub const EXEC: u16 = 2;
    /// [`super::Args`]; one section of argv bytes.
    pub const ARGS: u16 = 3;
    /// [`super::Exit`].
    pub const EXIT: u16 = 4;
    /// [`super::Open`]; section: path.
    pub const OPEN: u16 = 5;
    /// [`super::OpenKnown`].
    pub const OPEN_KNOWN: u16 = 6;
    /// [`super::Name`]; sections: directory, name, target directory, target name.
    pub const NAME: u16 = 7;
    /// [`super::Net`]; section: `sun_path` for AF_UNIX, else empty.
    pub const NET: u16 = 8;
    /// [`super::Joined`].
    pub const JOINED: u16 = 9;
    /// [`super::Outside`].
    pub const OUTSIDE: u16 = 10;
    /// [`super::Attention`].
    pub const ATTENTION: u16 = 11;
    /// [`super::Provisional`]; section: the new cgroup's name.
    pub const PROVISIONAL: u16 = 12;
}

/// Bits of [`Header::flags`]: what could not be taken whole. Any of them counts as a truncation in the hook's account.
pub mod flag {
    /// A path has more components or bytes than the scratch holds.
    pub const PATH_CUT: u32 = 1;
    /// A walk raced with a rename: the components may never have stood together.
    pub const PATH_TORN: u32 = 2;
    /// User memory could not be read.
    pub const USER_FAULT: u32 = 4;
    /// A string was longer than what was taken.
    pub const STRING_CUT: u32 = 8;
    /// The kernel object itself could not be read.
    pub const OBJECT_FAULT: u32 = 16;
    /// The path's last name is no longer in its directory. Not a truncation.
    pub const DELETED: u32 = 1 << 16;
    /// The path does not end at the root of a mount namespace. Not a truncation.
    pub const DETACHED: u32 = 1 << 17;
    /// The directory of a name is relative to a descriptor and was resolved from it. Not a truncation.
    pub const RELATIVE: u32 = 1 << 18;
    /// The section of a [`super::Net`] is a whole sockaddr, not a name. Not a truncation.
    pub const SOCKADDR: u32 = 1 << 19;
    /// The bits that are truncations.
    pub const TRUNCATIONS: u32 = 0xffff;
}

/// Bits of [`Open::access`].
pub mod access {
    /// Opened for reading.
    pub const READ: u32 = 1;
    /// Opened for writing.
    pub const WRITE: u32 = 2;
    /// Opened for execution.
    pub const EXEC: u32 = 4;
    /// This open made the file.
    pub const CREATED: u32 = 8;
    /// This open truncated the file.
    pub const TRUNCATED: u32 = 16;
    /// The descriptor only names the file (`O_PATH`).
    pub const PATH_ONLY: u32 = 32;
}

/// Values of [`Name::operation`].
pub mod name_op {
    /// `rename` and its kin.
    pub const RENAME: u32 = 1;
    /// `link` and `linkat`.
    pub const LINK: u32 = 2;
    /// `unlink` and `unlinkat`.
    pub const UNLINK: u32 = 3;
    /// `mkdir` and `mkdirat`.
    pub const MKDIR: u32 = 4;
    /// `rmdir` and `unlinkat` with `AT_REMOVEDIR`.
    pub const RMDIR: u32 = 5;
    /// `symlink` and `symlinkat`; the target is the link's text.
    pub const SYMLINK: u32 = 6;
    /// `truncate` and `ftruncate`.
    pub const TRUNCATE: u32 = 7;
    /// `renameat2` with `RENAME_EXCHANGE`.
    pub const EXCHANGE: u32 = 8;
}

/// Values of [`Net::operation`].
pub mod net_op {
    /// Before the act, by the cgroup hook.
    pub const CONNECT_ATTEMPT: u32 = 1;
    /// The end of the system call.
    pub const CONNECT: u32 = 2;
    /// A datagram to an address.
    pub const SEND: u32 = 3;
    /// An address bound.
    pub const BIND: u32 = 4;
    /// A connection accepted.
    pub const ACCEPT: u32 = 5;
    /// A TCP connection closed.
    pub const CLOSE: u32 = 6;
}

/// How an observation was made, the strength of its evidence; the same numbers as the log's `Level`.
pub mod level {
    /// An argument in memory that the program can change.
    pub const USER_ARGUMENT: u32 = 1;
    /// The kernel's own object, taken after the act.
    pub const RETURNED_OBJECT: u32 = 2;
    /// The kernel's own object, before or at the act.
    pub const OBJECT: u32 = 3;
}

/// Values of [`Attention::code`].
pub mod attention {
    /// `io_uring_setup` succeeded.
    pub const IO_URING: u32 = 1;
    /// A system call by the 32-bit entry.
    pub const COMPAT_SYSCALL: u32 = 2;
    /// The membership table is full: a child could not be followed.
    pub const MEMBERS_FULL: u32 = 3;
    /// The table of the session's own inodes is full: writers from outside could not be watched for.
    pub const WATCH_FULL: u32 = 4;
    /// No free slot for a cgroup made below a watched prefix.
    pub const NO_SLOT: u32 = 5;
    /// Every scratch buffer of a CPU was busy; the event is counted as lost.
    pub const NO_SCRATCH: u32 = 6;
}

/// Values of [`Session::state`].
pub mod state {
    /// The slot has no session: nothing is reported.
    pub const FREE: u32 = 0;
    /// Opened by user space.
    pub const OPEN: u32 = 1;
    /// Opened by the kernel side at `cgroup_mkdir`; user space has not named it yet.
    pub const PROVISIONAL: u32 = 2;
    /// Closed: the accounts may be read once the grace period has passed.
    pub const CLOSED: u32 = 3;
}

/// What `sys_exit` does with a system call, packed into a word of the table CALLS; 0 is not looked at.
///
/// A table instead of code: the numbers are user space's business (they differ by machine), and the verifier walks the
/// handlers once, not once a number.
pub mod call {
    /// No such argument: the working directory, or no second name.
    pub const NONE: u8 = 0xf;
    /// [`Call::operation`] of an open that always truncates, though it has no flags.
    pub const TRUNCATES: u8 = 1;

    /// Values of [`Call::class`].
    pub mod class {
        /// Returns a descriptor of an opened file.
        pub const OPEN: u8 = 1;
        /// Makes, moves or removes names.
        pub const NAME: u8 = 2;
        /// `connect` or `bind`: the descriptor is argument 0.
        pub const SOCKET: u8 = 3;
        /// Returns a descriptor of an accepted connection.
        pub const ACCEPT: u8 = 4;
        /// `io_uring_setup`.
        pub const IO_URING: u8 = 5;
        /// Of interest by the 32-bit entry only, where the number means another call.
        pub const COMPAT: u8 = 6;
        /// Puts another program in place, for which the kernel opened a dynamic loader.
        pub const EXEC: u8 = 7;
    }

    /// One system call. Arguments are numbered from 0.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Call {
        /// One of [`class`].
        pub class: u8,
        /// One of [`super::hook`].
        pub hook: u8,
        /// One of [`super::name_op`] or [`super::net_op`]; of an open, 0 or [`TRUNCATES`].
        pub operation: u8,
        /// Descriptor of the directory of the first name; for a call by descriptor alone, of the file.
        pub from_directory: u8,
        /// The first name.
        pub from_name: u8,
        /// Descriptor of the directory of the second name.
        pub to_directory: u8,
        /// The second name.
        pub to_name: u8,
        /// Flags: of an open, or those that choose `flagged_operation`.
        pub flags: u8,
        /// Number of the bit in the flags that chooses `flagged_operation`.
        pub flag_bit: u8,
        /// The operation if that bit is set; 0 if no bit matters.
        pub flagged_operation: u8,
    }

    impl Call {
        /// Packs it into a word.
        #[must_use]
        pub const fn pack(self) -> u64 {
            (self.class as u64)
                | (self.hook as u64) << 8
                | (self.operation as u64) << 16
                | (self.flagged_operation as u64) << 24
                | ((self.from_directory & 0xf) as u64) << 32
                | ((self.from_name & 0xf) as u64) << 36
                | ((self.to_directory & 0xf) as u64) << 40
                | ((self.to_name & 0xf) as u64) << 44
                | ((self.flags & 0xf) as u64) << 48
                | ((self.flag_bit & 0x3f) as u64) << 56
        }

        /// Unpacks a word.
        #[must_use]
        #[inline(always)]
        pub const fn unpack(word: u64) -> Self {
            Self {
                class: word as u8,
                hook: (word >> 8) as u8,
                operation: (word >> 16) as u8,
                flagged_operation: (word >> 24) as u8,
                from_directory: (word >> 32) as u8 & 0xf,
                from_name: (word >> 36) as u8 & 0xf,
                to_directory: (word >> 40) as u8 & 0xf,
                to_name: (word >> 44) as u8 & 0xf,
                flags: (word >> 48) as u8 & 0xf,
                flag_bit: (word >> 56) as u8 & 0x3f,
            }
        }
    }
}

/// Words in the table CALLS.
pub const CALLS: usize = 512;
/// Bytes a record's tail may have: sections are cut at this limit, and the cut is counted.
pub const TAIL_BYTES_MAX: usize = 28 * 1024;
/// Bytes of argv in one [`Args`] record.
pub const ARGS_PART_BYTES: usize = 4096;
/// Parts of argv: the kernel's own limit is 2 MiB with the environment.
pub const ARGS_PARTS_MAX: u32 = 512;
/// Components a path may have.
pub const PATH_COMPONENTS_MAX: u32 = 4096;
/// Slots for concurrent sessions under one loader.
pub const SLOTS_MAX: u32 = 4096;

macro_rules! abi {
    ($($(#[$doc:meta])* $name:ident = $size:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }
        const _: () = assert!(size_of::<$name>() == $size && $size % 8 == 0);
        const _: () = assert!(0 $(+ size_of::<$ty>())* == $size, "padding");
    )*};
}

abi! {
    /// First part of every record in the ring.
    Header = 64 {
        /// Bytes of the whole record.
        bytes: u32,
        /// One of [`kind`].
        kind: u16,
        /// One of [`hook`].
        hook: u16,
        /// Slot of the session.
        slot: u32,
        /// Epoch of the slot.
        epoch: u32,
        /// CPU that counted the event.
        cpu: u32,
        /// Bits of [`flag`].
        flags: u32,
        /// Number in (slot, epoch, cpu, hook), from 0.
        number: u64,
        /// CLOCK_BOOTTIME.
        boottime_ns: u64,
        /// Thread group.
        pid: u32,
        /// Thread.
        tid: u32,
        /// Serial of the session in this slot: tells a reused slot from its predecessor.
        serial: u64,
        /// Bytes after the fixed part.
        tail_bytes: u32,
        /// Zero.
        reserved: u32,
    }

    /// A child process.
    Fork = 16 {
        /// Thread group of the child.
        child_pid: u32,
        /// Zero.
        reserved: u32,
        /// Its start, CLOCK_BOOTTIME.
        child_start_ns: u64,
    }

    /// A file version, as the kernel holds it at an access.
    FileVersion = 72 {
        /// Inode number.
        ino: u64,
        /// `s_dev`: major << 20 | minor.
        dev: u32,
        /// Magic of the file system.
        fs_magic: u32,
        /// Bytes.
        size: u64,
        /// Seconds of ctime.
        ctime_sec: i64,
        /// Nanoseconds of ctime, the flag in bit 31 masked.
        ctime_nsec: u32,
        /// Type and permissions.
        mode: u32,
        /// `i_writecount`.
        writers: i32,
        /// Links.
        nlink: u32,
        /// Mount namespace of the mount, 0 if it is in none.
        mnt_ns: u64,
        /// Id of the mount.
        mount_id: u32,
        /// Zero.
        reserved: u32,
        /// Reserved for a file system's own version.
        version: u64,
    }

    /// A program started.
    Exec = 136 {
        /// The binary that the kernel runs.
        binary: FileVersion,
        /// Effective capabilities.
        cap_effective: u64,
        /// Inode number of the namespace.
        pid_ns: u64,
        /// Inode number of the namespace.
        mnt_ns: u64,
        /// Inode number of the namespace.
        net_ns: u64,
        /// Inode number of the namespace.
        user_ns: u64,
        /// Real user.
        uid: u32,
        /// Real group.
        gid: u32,
        /// Effective user.
        euid: u32,
        /// Effective group.
        egid: u32,
        /// Bytes of argv that follow in [`Args`] records.
        args_bytes: u32,
        /// Zero.
        reserved: u32,
    }

    /// A part of argv.
    Args = 8 {
        /// Offset of the part.
        offset: u32,
        /// Zero.
        reserved: u32,
    }

    /// The last thread of a process ended.
    Exit = 40 {
        /// As wait(2).
        status: u32,
        /// Zero.
        reserved: u32,
        /// CPU time in user space.
        utime_ns: u64,
        /// CPU time in the kernel.
        stime_ns: u64,
        /// Peak resident set.
        max_rss_bytes: u64,
        /// Start of the process, CLOCK_BOOTTIME.
        start_ns: u64,
    }

    /// First access of a file version in the session.
    Open = 80 {
        /// The version.
        file: FileVersion,
        /// Bits of [`access`].
        access: u32,
        /// Descriptor, -1 if not known.
        fd: i32,
    }

    /// First access by a process of a file version that the session has already been told.
    OpenKnown = 32 {
        /// Number of the event that told it.
        number: u64,
        /// CPU of that event.
        cpu: u32,
        /// Hook of that event.
        hook: u32,
        /// Bits of [`access`].
        access: u32,
        /// Descriptor, -1 if not known.
        fd: i32,
        /// `i_writecount`.
        writers: i32,
        /// Zero.
        reserved: u32,
    }

    /// A name made, moved or removed.
    Name = 16 {
        /// One of [`name_op`].
        operation: u32,
        /// One of [`level`].
        level: u32,
        /// 0 or -errno.
        result: i32,
        /// Zero.
        reserved: u32,
    }

    /// A socket's act.
    Net = 96 {
        /// Bytes sent, at the close of a TCP connection.
        sent_bytes: u64,
        /// Bytes received, at the close of a TCP connection.
        received_bytes: u64,
        /// The kernel's socket cookie, 0 if it has none yet.
        cookie: u64,
        /// One of [`net_op`].
        operation: u32,
        /// One of [`level`], of the address.
        level: u32,
        /// 0 or -errno.
        result: i32,
        /// `AF_*`.
        family: u32,
        /// `SOCK_*`.
        socket_type: u32,
        /// `IPPROTO_*`.
        protocol: u32,
        /// Host order.
        local_port: u32,
        /// Host order.
        remote_port: u32,
        /// The first 4 bytes, or 16.
        local: [u8; 16],
        /// The first 4 bytes, or 16.
        remote: [u8; 16],
        /// Zero.
        reserved: u64,
    }

    /// A process that was there before entered the session.
    Joined = 16 {
        /// Its start, CLOCK_BOOTTIME.
        start_ns: u64,
        /// Id of the cgroup that it entered.
        cgroup_id: u64,
    }

    /// A task outside opened a file of the session for writing.
    Outside = 16 {
        /// Inode number.
        ino: u64,
        /// `s_dev`.
        dev: u32,
        /// 1: the session's file is gone, and its number was given to another.
        reused: u32,
    }

    /// An act that ends or limits what can be claimed.
    Attention = 16 {
        /// One of [`attention`].
        code: u32,
        /// Zero.
        reserved: u32,
        /// What the code says.
        detail: u64,
    }

    /// A session opened by the kernel side.
    Provisional = 16 {
        /// Id of the new cgroup.
        cgroup_id: u64,
        /// Id of the watched cgroup above it.
        parent_id: u64,
    }

    /// A slot's session, the value of the map SESSIONS.
    Session = 32 {
        /// Serial of the session, never reused while the loader lives; 0 is none.
        serial: u64,
        /// Epoch that new events are counted in.
        epoch: u32,
        /// One of [`state`].
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
        /// Repeats counted in the fold table.
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
        /// Thread group; 0 in the map FILES.
        pid: u32,
        /// Access bits and whether a writer was open; of datagrams [`FOLD_DATAGRAM`], hook and address family.
        access: u32,
        /// Address of the dentry; of datagrams the first half of the peer's address.
        dentry: u64,
        /// Nanoseconds of ctime; of datagrams the peer's port.
        ctime_ns: u64,
        /// Bytes; of datagrams the socket's cookie.
        size: u64,
        /// Filesystem, inode, mount, parent dentry, hash and length of the name: their sum, each multiplied by a secret odd
        /// number of the loader. Two places have the same sum by chance only (for addresses, which are multiples of 8, once
        /// in 2^61), and nobody who does not know the numbers can make two that have. Where a directory above was renamed
        /// since the key was taken, the chain of the new path is added. Of datagrams the second half of the peer's address.
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

/// Offsets of kernel structures in bytes, from the running kernel's BTF; `u32::MAX` where the kernel has no such field.
macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $path:literal),* $(,)?) => {
        /// Offsets of kernel structures in bytes, from the running kernel's BTF.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets { $($(#[$doc])* pub $field: u32),* }

        impl Offsets {
            /// Every field unknown.
            pub const UNKNOWN: Self = Self { $($field: u32::MAX),* };
            /// For each field the structure and member it is the offset of; alternatives for older kernels after `|`.
            pub const PATHS: &'static [&'static str] = &[$($path),*];

            /// From offsets in the order of [`Self::PATHS`].
            #[must_use]
            pub fn from_slice(values: &[u32]) -> Option<Self> {
                let mut values = values.iter().copied();
                let offsets = Self { $($field: values.next()?),* };
                values.next().is_none().then_some(offsets)
            }
        }
    };
}

offsets! {
    /// struct file.
    file_inode = "file.f_inode",
    /// struct file.
    file_mnt = "file.f_path.mnt",
    /// struct file.
    file_dentry = "file.f_path.dentry",
    /// struct file.
    file_mode = "file.f_mode",
    /// struct file.
    file_flags = "file.f_flags",
    /// struct file.
    file_private = "file.private_data",
    /// struct inode.
    inode_mode = "inode.i_mode",
    /// struct inode.
    inode_sb = "inode.i_sb",
    /// struct inode.
    inode_ino = "inode.i_ino",
    /// struct inode.
    inode_size = "inode.i_size",
    /// struct inode.
    inode_nlink = "inode.i_nlink",
    /// struct inode.
    inode_generation = "inode.i_generation",
    /// struct inode.
    inode_writers = "inode.i_writecount.counter",
    /// struct inode.
    inode_ctime_sec = "inode.i_ctime_sec|inode.__i_ctime.tv_sec|inode.i_ctime.tv_sec",
    /// struct inode.
    inode_ctime_nsec = "inode.i_ctime_nsec|inode.__i_ctime.tv_nsec|inode.i_ctime.tv_nsec",
    /// struct super_block.
    sb_dev = "super_block.s_dev",
    /// struct super_block.
    sb_magic = "super_block.s_magic",
    /// struct dentry.
    dentry_parent = "dentry.d_parent",
    /// struct dentry: hash and length, then the pointer.
    dentry_name = "dentry.d_name|dentry.__d_name",
    /// struct dentry.
    dentry_inode = "dentry.d_inode",
    /// struct dentry.
    dentry_hash_pprev = "dentry.d_hash.pprev",
    /// struct vfsmount.
    vfsmount_root = "vfsmount.mnt_root",
    /// struct mount.
    mount_mnt = "mount.mnt",
    /// struct mount.
    mount_parent = "mount.mnt_parent",
    /// struct mount.
    mount_mountpoint = "mount.mnt_mountpoint",
    /// struct mount.
    mount_ns = "mount.mnt_ns",
    /// struct mount.
    mount_id = "mount.mnt_id",
    /// struct mnt_namespace.
    mnt_ns_inum = "mnt_namespace.ns.inum",
    /// struct net.
    net_inum = "net.ns.inum",
    /// struct pid_namespace.
    pid_ns_inum = "pid_namespace.ns.inum",
    /// struct user_namespace.
    user_ns_inum = "user_namespace.ns.inum",
    /// struct task_struct.
    task_pid = "task_struct.pid",
    /// struct task_struct.
    task_tgid = "task_struct.tgid",
    /// struct task_struct.
    task_leader = "task_struct.group_leader",
    /// struct task_struct.
    task_start = "task_struct.start_boottime",
    /// struct task_struct.
    task_exec_id = "task_struct.self_exec_id",
    /// struct task_struct.
    task_files = "task_struct.files",
    /// struct task_struct.
    task_fs = "task_struct.fs",
    /// struct task_struct.
    task_nsproxy = "task_struct.nsproxy",
    /// struct task_struct.
    task_cred = "task_struct.cred",
    /// struct task_struct.
    task_signal = "task_struct.signal",
    /// struct task_struct.
    task_exit_code = "task_struct.exit_code",
    /// struct task_struct.
    task_utime = "task_struct.utime",
    /// struct task_struct.
    task_stime = "task_struct.stime",
    /// struct task_struct.
    task_mm = "task_struct.mm",
    /// struct task_struct.
    task_cgroups = "task_struct.cgroups",
    /// struct task_struct, x86.
    task_status = "task_struct.thread_info.status",
    /// struct files_struct.
    files_fdt = "files_struct.fdt",
    /// struct fdtable.
    fdtable_fd = "fdtable.fd",
    /// struct fdtable.
    fdtable_max = "fdtable.max_fds",
    /// struct fs_struct.
    fs_pwd_mnt = "fs_struct.pwd.mnt",
    /// struct fs_struct.
    fs_pwd_dentry = "fs_struct.pwd.dentry",
    /// struct fs_struct.
    fs_root_mnt = "fs_struct.root.mnt",
    /// struct fs_struct.
    fs_root_dentry = "fs_struct.root.dentry",
    /// struct nsproxy.
    nsproxy_mnt = "nsproxy.mnt_ns",
    /// struct nsproxy.
    nsproxy_net = "nsproxy.net_ns",
    /// struct nsproxy.
    nsproxy_pid = "nsproxy.pid_ns_for_children",
    /// struct cred.
    cred_uid = "cred.uid",
    /// struct cred.
    cred_gid = "cred.gid",
    /// struct cred.
    cred_euid = "cred.euid",
    /// struct cred.
    cred_egid = "cred.egid",
    /// struct cred.
    cred_cap_effective = "cred.cap_effective",
    /// struct cred.
    cred_user_ns = "cred.user_ns",
    /// struct signal_struct.
    signal_live = "signal_struct.live.counter",
    /// struct signal_struct.
    signal_flags = "signal_struct.flags",
    /// struct signal_struct.
    signal_exit_code = "signal_struct.group_exit_code",
    /// struct signal_struct.
    signal_utime = "signal_struct.utime",
    /// struct signal_struct.
    signal_stime = "signal_struct.stime",
    /// struct signal_struct: pages.
    signal_maxrss = "signal_struct.maxrss",
    /// struct mm_struct.
    mm_arg_start = "mm_struct.arg_start",
    /// struct mm_struct.
    mm_arg_end = "mm_struct.arg_end",
    /// struct mm_struct: pairs of a key and a value.
    mm_saved_auxv = "mm_struct.saved_auxv",
    /// struct mm_struct: pages.
    mm_hiwater_rss = "mm_struct.hiwater_rss",
    /// struct vm_area_struct.
    vma_file = "vm_area_struct.vm_file",
    /// struct linux_binprm.
    bprm_file = "linux_binprm.file",
    /// struct linux_binprm.
    bprm_filename = "linux_binprm.filename",
    /// struct linux_binprm.
    bprm_interp = "linux_binprm.interp",
    /// struct css_set.
    css_set_dfl = "css_set.dfl_cgrp",
    /// struct cgroup.
    cgroup_kn = "cgroup.kn",
    /// struct cgroup.
    cgroup_level = "cgroup.level",
    /// struct cgroup: array of pointers.
    cgroup_ancestors = "cgroup.ancestors",
    /// struct cgroup.
    cgroup_root = "cgroup.root",
    /// struct cgroup_root.
    cgroup_root_hierarchy = "cgroup_root.hierarchy_id",
    /// struct kernfs_node.
    kernfs_id = "kernfs_node.id",
    /// struct kernfs_node.
    kernfs_name = "kernfs_node.name",
    /// struct socket.
    socket_sk = "socket.sk",
    /// struct socket.
    socket_type = "socket.type",
    /// struct sock_common.
    sock_family = "sock_common.skc_family",
    /// struct sock_common.
    sock_daddr = "sock_common.skc_daddr",
    /// struct sock_common.
    sock_rcv_saddr = "sock_common.skc_rcv_saddr",
    /// struct sock_common: network order.
    sock_dport = "sock_common.skc_dport",
    /// struct sock_common: host order.
    sock_num = "sock_common.skc_num",
    /// struct sock_common.
    sock_v6_daddr = "sock_common.skc_v6_daddr",
    /// struct sock_common.
    sock_v6_rcv_saddr = "sock_common.skc_v6_rcv_saddr",
    /// struct sock_common.
    sock_cookie = "sock_common.skc_cookie.counter",
    /// struct sock.
    sock_protocol = "sock.sk_protocol",
    /// struct sock.
    sock_type = "sock.sk_type",
    /// struct sock_common.
    sock_flags = "sock_common.skc_flags",
    /// struct unix_sock.
    unix_peer = "unix_sock.peer",
    /// struct unix_sock.
    unix_addr = "unix_sock.addr",
    /// struct unix_address.
    unix_address_len = "unix_address.len",
    /// struct unix_address.
    unix_address_name = "unix_address.name",
    /// struct tcp_sock.
    tcp_sent = "tcp_sock.bytes_sent",
    /// struct tcp_sock.
    tcp_received = "tcp_sock.bytes_received",
}

/// Set in a fold key's access bits for datagrams.
pub const FOLD_DATAGRAM: u32 = 1 << 30;
/// Factors that a fold key's place has.
pub const PLACE_FACTORS: usize = 5;

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

/// The call of a kernel function, `bpf_rdonly_cast`, as the object file has it: as that of a helper of this number, which
/// no kernel has. The loader puts the running kernel's own number there, or takes the call out.
pub const CAST_CALL: u32 = 0x7e57_0001;
/// The kernel function.
pub const CAST_FUNCTION: &str = "bpf_rdonly_cast";
/// A structure of the kernel that begins with [`CAST_WORDS`] words which are no pointers: memory that is looked at as one may
/// be read word by word, and what is read may be counted with. x86-64.
pub const CAST_STRUCT: &str = "pt_regs";
/// See [`CAST_STRUCT`].
pub const CAST_WORDS: usize = 16;

/// Where the parts of kernel structures begin that are read together, in bytes, multiples of 8.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// struct file.
    pub file: u32,
    /// struct inode.
    pub inode: u32,
    /// struct dentry.
    pub dentry: u32,
    /// Number of [`CAST_STRUCT`] among the kernel's types; 0 where windows are copied, since the kernel has no
    /// [`CAST_FUNCTION`].
    pub words: u32,
}

impl Windows {
    /// Words read of a struct file.
    pub const FILE_WORDS: usize = 11;
    /// Words read of a struct inode.
    pub const INODE_WORDS: usize = 16;
    /// Words read of a struct dentry.
    pub const DENTRY_WORDS: usize = 4;

    /// Windows that begin at the first field of interest. A field beyond the end of one is read by itself.
    #[must_use]
    pub fn of(at: &Offsets) -> Self {
        let first = |fields: &[u32]| fields.iter().fold(u32::MAX, |first, at| first.min(*at)) & !7;
        Self {
            file: first(&[at.file_inode, at.file_mnt, at.file_dentry, at.file_mode, at.file_flags]),
            inode: first(&[at.inode_sb, at.inode_ino, at.inode_size, at.inode_ctime_sec, at.inode_ctime_nsec]),
            dentry: first(&[at.dentry_hash_pprev, at.dentry_parent, at.dentry_name]),
            words: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_survives_its_packing() {
        let call = call::Call {
            class: 2,
            hook: 23,
            operation: 8,
            from_directory: 0,
            from_name: 1,
            to_directory: 2,
            to_name: 3,
            flags: 4,
            flag_bit: 9,
            flagged_operation: 5,
        };
        assert_eq!(call::Call::unpack(call.pack()), call);
    }

    #[test]
    fn offsets_and_their_paths_are_one_list() {
        assert_eq!(Offsets::PATHS.len() * 4, size_of::<Offsets>());
        let values = [7; Offsets::PATHS.len()];
        assert!(Offsets::from_slice(&values).is_some());
        assert!(Offsets::from_slice(&values[1..]).is_none());
    }
}
