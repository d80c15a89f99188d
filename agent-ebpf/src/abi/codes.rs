//! Numbers that stand for something: hooks, records, flags, accesses, operations, levels.

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
    /// Acts beyond files, names and peers: what sees or changes other processes, the kernel, or what paths mean.
    pub const ACT: u16 = 20;
    /// cgroup_skb: datagrams from and to port 53.
    pub const DNS: u16 = 21;
    /// Datagrams to a unix socket: by `unix_may_send`, or the ends of `sendto` and its kin that give a name.
    pub const UNIX_SEND: u16 = 22;
    /// Mappings to execute or to write for all, where they are told as the kernel asks about them; else they are acts.
    pub const MAPPING: u16 = 23;
    /// The number of rows an account table has: over the last id.
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
    /// [`super::Net`]; section: `sun_path` for AF_UNIX, the message for DNS, else empty.
    pub const NET: u16 = 8;
    /// [`super::Joined`].
    pub const JOINED: u16 = 9;
    /// [`super::Outside`].
    pub const OUTSIDE: u16 = 10;
    /// [`super::Attention`].
    pub const ATTENTION: u16 = 11;
    /// [`super::Provisional`]; section: the new cgroup's name.
    pub const PROVISIONAL: u16 = 12;
    /// [`super::Act`]; a section for each text.
    pub const ACT: u16 = 13;
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
    /// A datagram to an address, or to a unix socket.
    pub const SEND: u32 = 3;
    /// An address bound.
    pub const BIND: u32 = 4;
    /// A connection accepted.
    pub const ACCEPT: u32 = 5;
    /// A TCP connection closed.
    pub const CLOSE: u32 = 6;
    /// A datagram from or to port 53 went out.
    pub const DNS_SENT: u32 = 7;
    /// A datagram from or to port 53 came in.
    pub const DNS_RECEIVED: u32 = 8;
}

/// Values of [`Net::peer`].
pub mod peer {
    /// Nobody is known, or asked for.
    pub const NONE: u32 = 0;
    /// A process of the session.
    pub const MEMBER: u32 = 1;
    /// A process that is not known to be of the session.
    pub const OUTSIDE: u32 = 2;
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
    /// A task outside traced a member, wrote its memory or took its descriptors.
    pub const REACHED_FROM_OUTSIDE: u32 = 7;
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
