//! What the command starts with: the descriptors that whoever started the agent left open.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::ffi::OsStringExt as _,
    path::Path,
};

use proto::evidence::Inherited;
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};

/// Bytes of /proc/PID/fdinfo/N that are read: the flags stand in its second line.
const FDINFO_BYTES_MAX: u64 = 256;
const ACCESS_MODE: u32 = 0o3;
const CLOSED_AT_EXEC: u32 = 0o2_000_000;
const PATH_ONLY: u32 = 0o10_000_000;

/// The open descriptors of a process that has stopped before it becomes the command, by number, but for those that its exec closes.
pub(crate) fn inherited(pid: u32) -> io::Result<Vec<Inherited>> {
    let process = Path::new("/proc").join(pid.to_string());
    let mut all = Vec::new();
    for entry in fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        let name = entry.file_name();
        let descriptor = name.to_str().and_then(|name| name.parse().ok());
        let descriptor: u32 =
            descriptor.ok_or_else(|| io::Error::other("/proc/PID/fd has a name that is no number"))?;
        let flags = flags(&process.join("fdinfo").join(&name))?;
        if flags & CLOSED_AT_EXEC != 0 {
            continue;
        }
        // A file system in user space may refuse, and one on another host is not asked: the name is told all the same.
        let facts = statx(CWD, entry.path(), AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE | StatxFlags::INO).ok();
        let facts = facts.as_ref();
        all.push(Inherited {
            descriptor,
            r#type: facts.map_or("other", |facts| file_type(facts.stx_mode)).to_owned(),
            access: access(flags).to_owned(),
            dev: facts.map_or(0, |facts| facts.stx_dev_major << 20 | facts.stx_dev_minor),
            ino: facts.map_or(0, |facts| facts.stx_ino),
            path: fs::read_link(entry.path())?.into_os_string().into_vec(),
        });
    }
    all.sort_unstable_by_key(|one| one.descriptor);
    Ok(all)
}

fn flags(fdinfo: &Path) -> io::Result<u32> {
    let mut text = String::new();
    File::open(fdinfo)?.take(FDINFO_BYTES_MAX).read_to_string(&mut text)?;
    let octal = text.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
    octal
        .and_then(|octal| u32::from_str_radix(octal, 8).ok())
        .ok_or_else(|| io::Error::other(format!("{} has no flags", fdinfo.display())))
}

fn access(flags: u32) -> &'static str {
    match flags & ACCESS_MODE {
        _ if flags & PATH_ONLY != 0 => "path",
        0 => "read",
        1 => "write",
        _ => "read+write",
    }
}

fn file_type(mode: u16) -> &'static str {
    match FileType::from_raw_mode(mode.into()) {
        FileType::RegularFile => "regular",
        FileType::Directory => "directory",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        _ => "other",
    }
}
