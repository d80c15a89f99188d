//! Bytes from the ring to an [`Event`]: total, any bytes give a value or a typed error.
//!
//! The layouts are `agent_ebpf`'s. Nothing here trusts a length, a kind or a flag; nothing is cast.

pub mod dns;
mod reader;

use agent_ebpf::{hook, kind};
use reader::Reader;

/// Why bytes are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the layout has.
    #[error("a record of {bytes} bytes ends at byte {at} of its layout")]
    Short {
        /// Bytes there are.
        bytes: usize,
        /// Where the next field would begin.
        at: usize,
    },
    /// The header's length is not the record's.
    #[error("a record of {bytes} bytes says that it has {said}")]
    Length {
        /// Bytes there are.
        bytes: usize,
        /// Bytes that the header says.
        said: u32,
    },
    /// No such kind.
    #[error("a record has the unknown kind {0}")]
    Kind(u16),
    /// No such hook.
    #[error("a record has the unknown hook {0}")]
    Hook(u16),
    /// A section or component reaches beyond its bounds.
    #[error("a section reaches {0} bytes beyond the record")]
    Section(usize),
}

/// What every record begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// One of [`hook`].
    pub hook: u16,
    /// Slot of the session.
    pub slot: u32,
    /// Serial of the session.
    pub serial: u64,
    /// Epoch of the slot.
    pub epoch: u32,
    /// CPU that counted it.
    pub cpu: u32,
    /// Bits of [`agent_ebpf::flag`].
    pub flags: u32,
    /// Number in (slot, epoch, cpu, hook).
    pub number: u64,
    /// CLOCK_BOOTTIME in nanoseconds.
    pub boottime_ns: u64,
    /// Thread group.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// As in [`agent_ebpf::Header`].
    pub took: u32,
}

impl Head {
    /// When its file version was about to be read, CLOCK_BOOTTIME in nanoseconds; 0 where that is not known.
    pub fn began_ns(&self) -> u64 {
        if self.took == u32::MAX { 0 } else { self.boottime_ns.saturating_sub(u64::from(self.took) << 10) }
    }
}

/// An event as the kernel side saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who, when, which number.
    pub head: Head,
    /// What.
    pub body: Body,
}

/// A file version; fields as in [`agent_ebpf::FileVersion`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute from the root of the mount namespace, or a bare name for files that stand in no directory.
    pub path: Vec<u8>,
    /// The fixed part.
    pub version: agent_ebpf::FileVersion,
}

/// A name as given, and the directory it is relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Path of the directory (of the process's root for an absolute name).
    pub directory: Vec<u8>,
    /// What the program gave.
    pub name: Vec<u8>,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A child process.
    Fork(agent_ebpf::Fork),
    /// A program started.
    Exec {
        /// Credentials, namespaces, the binary's version.
        fixed: Box<agent_ebpf::Exec>,
        /// Path of the binary.
        path: Vec<u8>,
        /// What execve was given.
        filename: Vec<u8>,
        /// The interpreter, if it differs.
        interpreter: Vec<u8>,
        /// Working directory.
        directory: Vec<u8>,
    },
    /// A part of argv.
    Args {
        /// Its offset.
        offset: u32,
        /// NUL-separated bytes.
        data: Vec<u8>,
    },
    /// A process ended.
    Exit(agent_ebpf::Exit),
    /// First access of a version in the session.
    Open {
        /// The version.
        file: File,
        /// Bits of [`agent_ebpf::access`].
        access: u32,
        /// Descriptor.
        fd: i32,
    },
    /// First access by a process of a version already told.
    OpenKnown(agent_ebpf::OpenKnown),
    /// A name made, moved or removed.
    Name {
        /// Operation, level and result.
        fixed: agent_ebpf::Name,
        /// The name.
        from: Given,
        /// The new name, or a symlink's text.
        to: Option<Given>,
    },
    /// A socket's act.
    Net {
        /// Addresses and counts.
        fixed: Box<agent_ebpf::Net>,
        /// `sun_path`, the sockaddr of a call that failed, or a DNS message.
        address: Vec<u8>,
    },
    /// A system call beyond files, names and peers.
    Act {
        /// The call, its arguments and its result.
        fixed: Box<agent_ebpf::Act>,
        /// Strings that arguments point to.
        texts: Vec<Vec<u8>>,
    },
    /// A process entered the session.
    Joined(agent_ebpf::Joined),
    /// A writer from outside.
    Outside(agent_ebpf::Outside),
    /// An act that limits what can be claimed.
    Attention(agent_ebpf::Attention),
    /// A session opened by the kernel side.
    Provisional {
        /// The cgroup and its parent.
        fixed: agent_ebpf::Provisional,
        /// The cgroup's own name.
        name: Vec<u8>,
    },
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Event, Error> {
    let mut reader = Reader::new(bytes);
    let (head, kind, tail_bytes) = head(&mut reader)?;
    let body = body(&mut reader, kind)?;
    if reader.left() != 0 && tail_bytes != 0 {
        return Err(Error::Section(reader.left()));
    }
    Ok(Event { head, body })
}

fn head(reader: &mut Reader<'_>) -> Result<(Head, u16, u32), Error> {
    let said = reader.u32()?;
    if said as usize != reader.whole() {
        return Err(Error::Length { bytes: reader.whole(), said });
    }
    let (kind, hook) = (reader.u16()?, reader.u16()?);
    if hook == 0 || hook >= hook::COUNT {
        return Err(Error::Hook(hook));
    }
    let (slot, epoch, cpu, flags) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
    let (number, boottime_ns) = (reader.u64()?, reader.u64()?);
    let (pid, tid, serial) = (reader.u32()?, reader.u32()?, reader.u64()?);
    let (tail_bytes, took) = (reader.u32()?, reader.u32()?);
    Ok((Head { hook, slot, serial, epoch, cpu, flags, number, boottime_ns, pid, tid, took }, kind, tail_bytes))
}

fn body(reader: &mut Reader<'_>, kind: u16) -> Result<Body, Error> {
    Ok(match kind {
        kind::FORK => Body::Fork(reader.fork()?),
        kind::EXEC => Body::Exec {
            fixed: Box::new(reader.exec()?),
            path: reader.path()?,
            filename: reader.section()?.to_vec(),
            interpreter: reader.section()?.to_vec(),
            directory: reader.path()?,
        },
        kind::ARGS => {
            let offset = reader.u32()?;
            reader.u32()?;
            Body::Args { offset, data: reader.section()?.to_vec() }
        }
        kind::EXIT => Body::Exit(reader.exit()?),
        kind::OPEN => {
            let version = reader.file_version()?;
            let (access, fd) = (reader.u32()?, reader.i32()?);
            Body::Open { file: File { path: reader.path()?, version }, access, fd }
        }
        kind::OPEN_KNOWN => Body::OpenKnown(reader.open_known()?),
        kind::NAME => Body::Name {
            fixed: reader.name()?,
            from: reader.given()?,
            to: if reader.left() == 0 { None } else { Some(reader.given()?) },
        },
        kind::NET => {
            let fixed = Box::new(reader.net()?);
            let address = if reader.left() == 0 { Vec::new() } else { reader.section()?.to_vec() };
            Body::Net { fixed, address }
        }
        kind::ACT => {
            let fixed = Box::new(reader.act()?);
            let mut texts = Vec::new();
            while reader.left() > 0 {
                texts.push(reader.section()?.to_vec());
            }
            Body::Act { fixed, texts }
        }
        kind::JOINED => Body::Joined(agent_ebpf::Joined { start_ns: reader.u64()?, cgroup_id: reader.u64()? }),
        kind::OUTSIDE => {
            let (ino, dev, reused) = (reader.u64()?, reader.u32()?, reader.u32()?);
            Body::Outside(agent_ebpf::Outside { ino, dev, reused })
        }
        kind::ATTENTION => {
            let (code, reserved, detail) = (reader.u32()?, reader.u32()?, reader.u64()?);
            Body::Attention(agent_ebpf::Attention { code, reserved, detail })
        }
        kind::PROVISIONAL => {
            let fixed = agent_ebpf::Provisional { cgroup_id: reader.u64()?, parent_id: reader.u64()? };
            Body::Provisional { fixed, name: reader.section()?.to_vec() }
        }
        other => return Err(Error::Kind(other)),
    })
}

#[cfg(test)]
mod seeds;
#[cfg(test)]
mod tests;
