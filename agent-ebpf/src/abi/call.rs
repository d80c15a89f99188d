//! What `sys_exit`, or where the kernel asks about it, does with a system call, packed into a word of the table CALLS; 0 is not looked at.
//!
//! A table instead of code: the numbers are user space's business (they differ by machine), and the verifier walks the
//! handlers once, not once a number.

/// No such argument: the working directory, or no second name.
pub const NONE: u8 = 0xf;
/// [`Call::operation`] of an open that always truncates, though it has no flags.
pub const TRUNCATES: u8 = 1;

/// In a word: by the 32-bit entry, too, this number is a call that is observed, though another one.
pub const BY_COMPAT: u64 = 1 << 63;

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
    /// Told as the call it is; [`super::Call::operation`] is one of [`super::act`].
    pub const ACT: u8 = 8;
    /// Sends; [`super::Call::operation`] is one of [`super::send`].
    pub const SEND: u8 = 9;
}

/// Where a call that sends has the name of who is to get it.
pub mod send {
    /// `sendto`: in arguments 4 and 5.
    pub const TO: u8 = 0;
    /// `sendmsg`: in the message that argument 1 points to.
    pub const MESSAGE: u8 = 1;
    /// `sendmmsg`: in each of several.
    pub const MESSAGES: u8 = 2;
}

/// Which of the calls of class ACT are told, and what they are about.
pub mod act {
    /// All of them.
    pub const ALL: u8 = 0;
    /// `ptrace`, where it makes one process the tracer of another.
    pub const TRACE: u8 = 1;
    /// Argument 0 is the process whose memory is read or, with [`super::Call::flag_bit`] 1, written.
    pub const MEMORY: u8 = 2;
    /// Argument 0 is a pidfd of the process whose descriptor is taken.
    pub const DESCRIPTOR: u8 = 3;
    /// `clone` with flags for new namespaces in argument 0.
    pub const CLONE: u8 = 4;
    /// `clone3`, whose flags are in the memory that argument 0 points to.
    pub const CLONE3: u8 = 5;
    /// `mmap` of a file, to execute it or to write it for all.
    pub const MAP: u8 = 6;
    /// `mprotect` and its kin, to make memory executable.
    pub const PROTECT: u8 = 7;
    /// `recvmsg` that received descriptors; with [`super::Call::flag_bit`] 1, `recvmmsg` that may have.
    pub const RECEIVE: u8 = 8;
    /// `ioctl` that puts a descriptor into another process, or a file under a device.
    pub const CONTROL: u8 = 9;
}

/// Where the kernel asks its security modules about a call of class ACT: [`Call::flagged_operation`]. 0: nowhere that is watched.
pub mod asked {
    /// For a privilege.
    pub const PRIVILEGE: u8 = 1;
    /// For access to another task.
    pub const ACCESS: u8 = 2;
    /// As a descriptor is received.
    pub const DESCRIPTOR: u8 = 3;
    /// As `bpf` is called.
    pub const BPF: u8 = 4;
    /// For a mapping.
    pub const MAP: u8 = 5;
    /// For the protection of memory.
    pub const PROTECT: u8 = 6;
    /// For a socket.
    pub const SOCKET: u8 = 7;
    /// For other credentials.
    pub const CREDENTIALS: u8 = 8;
    /// For a System V object, as it is made or used.
    pub const IPC: u8 = 9;
    /// For what a key permits.
    pub const KEY: u8 = 10;
    /// As a file is made that has no name.
    pub const ANONYMOUS: u8 = 11;
    /// For a performance event.
    pub const PERFORMANCE: u8 = 12;
    /// As an `ioctl` is made.
    pub const CONTROL: u8 = 13;
}

/// One system call. Arguments are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// One of [`class`].
    pub class: u8,
    /// One of [`crate::hook`].
    pub hook: u8,
    /// One of [`crate::name_op`], [`crate::net_op`], [`send`] or [`act`]; of an open, 0 or [`TRUNCATES`].
    pub operation: u8,
    /// Descriptor of the directory of the first name; for a call by descriptor alone, of the file.
    pub from_directory: u8,
    /// The first name, or text.
    pub from_name: u8,
    /// Descriptor of the directory of the second name.
    pub to_directory: u8,
    /// The second name, or text.
    pub to_name: u8,
    /// Flags: of an open, or those that choose `flagged_operation`.
    pub flags: u8,
    /// Number of the bit in the flags that chooses `flagged_operation`.
    pub flag_bit: u8,
    /// The operation if that bit is set; 0 if no bit matters. Of class ACT one of [`asked`].
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
