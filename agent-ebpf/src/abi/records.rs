//! What the ring carries: a header, and the fixed part of each kind of record.

use super::abi;

abi! {
    /// First part of every record in the ring.
    Header = 64 {
        /// Bytes of the whole record.
        bytes: u32,
        /// One of [`crate::kind`].
        kind: u16,
        /// One of [`crate::hook`].
        hook: u16,
        /// Slot of the session.
        slot: u32,
        /// Epoch of the slot.
        epoch: u32,
        /// CPU that counted the event.
        cpu: u32,
        /// Bits of [`crate::flag`].
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
        /// Of an event with a file version: how long before `boottime_ns` it was about to be read, in units of 1024 ns and
        /// rounded up; `u32::MAX` where nobody asked.
        took: u32,
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
        /// Of a device, its number: major << 20 | minor.
        rdev: u32,
        /// Tells the inode from another that has or had its number.
        generation: u32,
        /// 1: under fs-verity, so that its content can never change.
        verity: u32,
    }

    /// A program started.
    Exec = 168 {
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
        /// 1: IMA measured the binary at this exec, by SHA-256 and while nobody had it open for writing.
        measured: u32,
        /// What it measured then, else zeros.
        ima_sha256: [u8; 32],
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
        /// Bits of [`crate::access`].
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
        /// Bits of [`crate::access`].
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
        /// One of [`crate::name_op`].
        operation: u32,
        /// One of [`crate::level`].
        level: u32,
        /// 0 or -errno.
        result: i32,
        /// Zero.
        reserved: u32,
    }

    /// A socket's act.
    Net = 112 {
        /// Bytes sent, at the close of a TCP connection; of a DNS message.
        sent_bytes: u64,
        /// Bytes received, at the close of a TCP connection; of a DNS message.
        received_bytes: u64,
        /// The kernel's socket cookie, 0 if it has none yet.
        cookie: u64,
        /// One of [`crate::net_op`].
        operation: u32,
        /// One of [`crate::level`], of the address.
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
        /// Of DNS, not 0 where several datagrams left as one: bytes of each. Else zero.
        segment_bytes: u64,
        /// One of [`crate::peer`]: of a unix socket, who is at the other end.
        peer: u32,
        /// Process that listened there or connected from there, in the first namespace's numbers; 0 where the kernel
        /// remembers none.
        peer_pid: u32,
        /// Its effective user then; of datagrams the user whose the socket is.
        peer_uid: u32,
        /// Zero.
        reserved: u32,
    }

    /// A system call that does something beyond files, names and peers.
    Act = 80 {
        /// What it returned; 0 where it is told before it is over.
        result: i64,
        /// Its arguments, as the registers had them.
        arguments: [u64; 6],
        /// Inode number of the file that it is about, 0 if it is about none.
        ino: u64,
        /// `s_dev` of that file.
        dev: u32,
        /// Number of the call in the x86-64 table.
        call: u32,
        /// Not 0: it reaches into a process that is not known to be of the session.
        outside: u32,
        /// Zero.
        reserved: u32,
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
        /// One of [`crate::attention`].
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
}
