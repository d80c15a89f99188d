//! What the command starts with: the descriptors that whoever started the agent left open.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::ffi::OsStringExt as _,
    path::Path,
};

use proto::evidence::Inherited;
use rustix::fs::{FileType, Stat, stat};

/// Bytes of /proc/PID/fdinfo/N that are read: the flags stand in its second line.
const FDINFO_BYTES_MAX: u64 = 256;
const ACCESS_MODE: u32 = 0o3;
const CLOSED_AT_EXEC: u32 = 0o2_000_000;
const PATH_ONLY: u32 = 0o10_000_000;

/// The open descriptors of a process that has stopped before it becomes the command, by number, but for those that its exec closes.
pub(super) fn inherited(pid: u32) -> io::Result<Vec<Inherited>> {
    let process = Path::new("/proc").join(pid.to_string());
    let mut all = Vec::new();
    for entry in fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        let name = entry.file_name();
        let descriptor = name.to_str().and_then(|name| name.parse().ok());
        let descriptor: u32 = descriptor.ok_or_else(|| io::Error::other("/proc/PID/fd has a name that is no number"))?;
        let flags = flags(&process.join("fdinfo").join(&name))?;
        if flags & CLOSED_AT_EXEC != 0 {
            continue;
        }
        let facts = stat(entry.path())?;
        all.push(Inherited {
            descriptor,
            r#type: file_type(&facts).to_owned(),
            access: access(flags).to_owned(),
            dev: kernel_device(facts.st_dev),
            ino: facts.st_ino,
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

/// As events write a device: the kernel's own form, with 20 bits for the minor number.
fn kernel_device(dev: u64) -> u32 {
    rustix::fs::major(dev) << 20 | rustix::fs::minor(dev)
}

fn access(flags: u32) -> &'static str {
    match flags & ACCESS_MODE {
        _ if flags & PATH_ONLY != 0 => "path",
        0 => "read",
        1 => "write",
        _ => "read+write",
    }
}

fn file_type(facts: &Stat) -> &'static str {
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => "regular",
        FileType::Directory => "directory",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        _ => "other",
    }
}
