//! What an act or an opening says of the whole session: that something may be missing, or that paths changed their meaning.

use std::collections::HashMap;

use agent_ebpf::{FileVersion, access};
use attestation::codes;
use proto::evidence as log;

use super::frames::Spot;

/// The last name of the paths where the settings of helpers stand that the kernel starts.
const HELPER_SETTINGS: [&[u8]; 7] =
    [b"core_pattern", b"modprobe", b"hotplug", b"poweroff_cmd", b"uevent_helper", b"release_agent", b"register"];
/// Magic of procfs.
const PROC: u32 = 0x9fa0;
/// Magics of the file systems where those settings are: procfs, sysfs, cgroup, binfmt_misc.
const SETTINGS: [u32; 4] = [PROC, 0x6265_6572, 0x0027_e0eb, 0x4249_4e4d];
/// `mem`, `kmem` and `port`, the machine's own memory and ports, and the device mapper's control.
const MEMORY_DEVICES: [u32; 4] = [1 << 20 | 1, 1 << 20 | 2, 1 << 20 | 4, 10 << 20 | 236];
/// Character devices below which file systems lie: SCSI generic, flash memory.
const RAW_MAJORS: [u32; 2] = [21, 90];

/// Requests of loop devices, by their upper byte.
const LOOP: u64 = 0x4c00;

/// Of a system call: one that failed has none.
pub(super) fn of_act(act: &log::Act) -> Spot {
    let code = match act.call.as_str() {
        // It may fail after descriptors came.
        "recvmsg" | "recvmmsg" if act.outside => codes::DESCRIPTOR_RECEIVED,
        _ if act.result < 0 => return None,
        "bpf" => codes::BPF_USED,
        "init_module" | "finit_module" | "delete_module" | "kexec_load" | "kexec_file_load" => codes::MODULE_LOADED,
        "iopl" | "ioperm" => codes::RAW_DEVICE,
        "ioctl" if act.arguments.get(1).is_some_and(|request| request & 0xff00 == LOOP) => codes::RAW_DEVICE,
        "clock_settime" | "settimeofday" => codes::CLOCK_STEPPED,
        "ptrace" | "process_vm_readv" | "process_vm_writev" if act.outside => codes::FOREIGN_MEMORY,
        "pidfd_getfd" if act.outside => codes::DESCRIPTOR_RECEIVED,
        // Its events carry descriptors of files that others open.
        "fanotify_init" => codes::DESCRIPTOR_RECEIVED,
        "setns" | "unshare" | "clone" | "clone3" => codes::NAMESPACE_CHANGED,
        _ => return None,
    };
    Some((code, act.call.clone()))
}

const IPPROTO_UDP: u32 = 17;
const DNS: u32 = 53;
const DNS_OVER_TLS: u32 = 853;

/// Of a connection or datagram by which names may be asked for that are not read.
pub(super) fn of_contact(act: &log::Network) -> Spot {
    use log::network::Operation;
    let asks = matches!(act.operation(), Operation::ConnectAttempt | Operation::Connect | Operation::Send);
    let transport = if act.protocol == IPPROTO_UDP { "udp" } else { "tcp" };
    match act.remote_port {
        DNS if asks && transport == "udp" => None,
        port @ (DNS | DNS_OVER_TLS) if asks => Some((codes::DNS_NOT_READ, format!("{transport}/{port}"))),
        _ => None,
    }
}

/// A file whose opening says something of the session.
pub(super) enum Sensitive {
    /// A block device or the machine's memory, by its number.
    Device(String),
    /// The setting of a helper, by its name.
    Setting(String),
    /// The memory of the process with this id.
    Memory(Vec<u8>),
}

impl Sensitive {
    /// What a file is; most are nothing.
    pub(super) fn of(file: &FileVersion, path: &[u8]) -> Option<Self> {
        const S_IFMT: u32 = 0o170_000;
        const S_IFBLK: u32 = 0o060_000;
        const S_IFCHR: u32 = 0o020_000;
        let kind = file.mode & S_IFMT;
        let raw = MEMORY_DEVICES.contains(&file.rdev) || RAW_MAJORS.contains(&(file.rdev >> 20));
        if kind == S_IFBLK || (kind == S_IFCHR && raw) {
            return Some(Self::Device(format!("{}:{}", file.rdev >> 20, file.rdev & 0xf_ffff)));
        }
        if !SETTINGS.contains(&file.fs_magic) {
            return None;
        }
        let mut names = path.rsplit(|byte| *byte == b'/');
        let (last, above) = (names.next()?, names.next()?);
        if HELPER_SETTINGS.contains(&last) {
            return Some(Self::Setting(String::from_utf8_lossy(last).into_owned()));
        }
        // /proc/PID/mem, or /proc/PID/task/TID/mem.
        let of = if names.next() == Some(b"task") { names.next()? } else { above };
        (file.fs_magic == PROC && last == b"mem").then(|| Self::Memory(of.to_vec()))
    }

    /// Of its opening with these bits of [`access`], by a session of these processes.
    pub(super) fn opened(&self, bits: u32, live: &HashMap<u32, u64>) -> Spot {
        let writes = bits & access::WRITE != 0;
        match self {
            // Opened neither to read nor to write, a device still takes commands.
            Self::Device(number) if bits & access::PATH_ONLY == 0 => Some((codes::RAW_DEVICE, number.clone())),
            Self::Setting(name) if writes => Some((codes::HELPER_CHANGED, name.clone())),
            Self::Memory(of) if writes || bits & access::READ != 0 => {
                let pid = str::from_utf8(of).ok().and_then(|of| of.parse().ok());
                let foreign = pid.is_none_or(|pid: u32| !live.contains_key(&pid));
                foreign.then(|| (codes::FOREIGN_MEMORY, "/proc".to_owned()))
            }
            _ => None,
        }
    }
}
