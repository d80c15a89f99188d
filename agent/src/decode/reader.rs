//! Bounded reads over one record: integers in the kernel's byte order, sections, paths.

use super::{Error, Given};

/// A cursor over a record.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! integer {
    ($name:ident, $ty:ty) => {
        pub(super) fn $name(&mut self) -> Result<$ty, Error> {
            const BYTES: usize = size_of::<$ty>();
            let mut value = [0; BYTES];
            value.copy_from_slice(self.take(BYTES)?);
            Ok(<$ty>::from_ne_bytes(value))
        }
    };
}

/// Reads a structure of the ABI field by field, in the order of the layout.
macro_rules! structure {
    ($name:ident, $ty:ident { $($field:ident: $read:ident),* $(,)? }) => {
        pub(super) fn $name(&mut self) -> Result<agent_ebpf::$ty, Error> {
            Ok(agent_ebpf::$ty { $($field: self.$read()?),* })
        }
    };
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes of the record.
    pub(super) fn whole(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes not yet read.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        let short = Error::Short { bytes: self.bytes.len(), at: self.at };
        let end = self.at.checked_add(bytes).ok_or_else(|| short.clone())?;
        let taken = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(taken)
    }

    integer!(u16, u16);
    integer!(u32, u32);
    integer!(i32, i32);
    integer!(u64, u64);
    integer!(i64, i64);

    fn sha256(&mut self) -> Result<[u8; 32], Error> {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.take(32)?);
        Ok(sha256)
    }

    fn address(&mut self) -> Result<[u8; 16], Error> {
        let mut address = [0; 16];
        address.copy_from_slice(self.take(16)?);
        Ok(address)
    }

    structure!(fork, Fork { child_pid: u32, reserved: u32, child_start_ns: u64 });
    structure!(
        exit,
        Exit { status: u32, reserved: u32, utime_ns: u64, stime_ns: u64, max_rss_bytes: u64, start_ns: u64 }
    );
    structure!(
        file_version,
        FileVersion {
            ino: u64,
            dev: u32,
            fs_magic: u32,
            size: u64,
            ctime_sec: i64,
            ctime_nsec: u32,
            mode: u32,
            writers: i32,
            nlink: u32,
            mnt_ns: u64,
            mount_id: u32,
            rdev: u32,
            generation: u32,
            verity: u32,
        }
    );
    structure!(
        exec,
        Exec {
            binary: file_version,
            cap_effective: u64,
            pid_ns: u64,
            mnt_ns: u64,
            net_ns: u64,
            user_ns: u64,
            uid: u32,
            gid: u32,
            euid: u32,
            egid: u32,
            args_bytes: u32,
            measured: u32,
            ima_sha256: sha256,
        }
    );
    structure!(
        open_known,
        OpenKnown { number: u64, cpu: u32, hook: u32, access: u32, fd: i32, writers: i32, reserved: u32 }
    );
    structure!(name, Name { operation: u32, level: u32, result: i32, reserved: u32 });
    structure!(
        net,
        Net {
            sent_bytes: u64,
            received_bytes: u64,
            cookie: u64,
            operation: u32,
            level: u32,
            result: i32,
            family: u32,
            socket_type: u32,
            protocol: u32,
            local_port: u32,
            remote_port: u32,
            local: address,
            remote: address,
            segment_bytes: u64,
            peer: u32,
            peer_pid: u32,
            peer_uid: u32,
            reserved: u32,
        }
    );

    pub(super) fn act(&mut self) -> Result<agent_ebpf::Act, Error> {
        let result = self.i64()?;
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = self.u64()?;
        }
        let (ino, dev, call) = (self.u64()?, self.u32()?, self.u32()?);
        Ok(agent_ebpf::Act { result, arguments, ino, dev, call, outside: self.u32()?, reserved: self.u32()? })
    }

    /// A section: its length, then its bytes.
    pub(super) fn section(&mut self) -> Result<&'a [u8], Error> {
        let bytes = usize::from(self.u16()?);
        self.take(bytes).map_err(|_| Error::Section(bytes - self.left()))
    }

    /// A path section: components from the leaf to the root, joined to an absolute path. A component that begins with a
    /// slash is a root of its own (the kernel names a disconnected dentry `/`).
    pub(super) fn path(&mut self) -> Result<Vec<u8>, Error> {
        let mut components = Reader::new(self.section()?);
        let mut parts = Vec::new();
        while components.left() > 0 {
            let bytes = usize::from(components.take(1)?[0]);
            parts.push(components.take(bytes).map_err(|_| Error::Section(bytes - components.left()))?);
        }
        let mut path = Vec::with_capacity(self.bytes.len());
        for part in parts.iter().rev().filter(|part| **part != b"/") {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path.shrink_to_fit();
        Ok(path)
    }

    /// A name and its directory.
    pub(super) fn given(&mut self) -> Result<Given, Error> {
        Ok(Given { directory: self.path()?, name: self.section()?.to_vec() })
    }
}
