//! What a log says of each process, in a form that both paths must agree on: acts with multiplicity.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proto::evidence::name_change::Operation;
use proto::evidence::network;
use tests::{Opened, Record};

pub(crate) const READ: u32 = 1;
pub(crate) const EXEC: u32 = 4;
pub(crate) const TRUNCATED: u32 = 16;
pub(crate) const PATH_ONLY: u32 = 32;

/// Size and time of the last change.
type Stamp = (u64, i64, u32);

/// An act of a process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// A child.
    Fork(u32),
    /// A status, as of wait(2).
    Exit(u32),
    Exec {
        filename: Vec<u8>,
        binary: Vec<u8>,
        args: Vec<u8>,
    },
    Open {
        path: Vec<u8>,
        inode: (u32, u64),
        mode: u32,
        access: u32,
        /// Of what is only read: who writes is told a version that the one path takes before and the other after.
        version: Option<Stamp>,
    },
    Network {
        operation: network::Operation,
        family: u32,
        address: Vec<u8>,
        port: u32,
    },
    Name {
        operation: Operation,
        path: Vec<u8>,
        target: Vec<u8>,
    },
}

impl Act {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Fork(_) => "fork",
            Self::Exit(_) => "exit",
            Self::Exec { .. } => "exec",
            Self::Open { .. } => "open",
            Self::Network { .. } => "network",
            Self::Name { .. } => "name",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fork(child) => write!(f, "fork of {child}"),
            Self::Exit(status) => write!(f, "exit {status}"),
            Self::Exec { filename, .. } => write!(f, "exec {}", filename.escape_ascii()),
            Self::Open { path, access, version, .. } => {
                write!(f, "open {access} {} {version:?}", path.escape_ascii())
            }
            Self::Network { operation, family, address, port } => {
                write!(f, "{} {family} {} {port}", operation.as_str_name(), address.escape_ascii())
            }
            Self::Name { operation, path, target } => {
                write!(f, "{} {} {}", operation.as_str_name(), path.escape_ascii(), target.escape_ascii())
            }
        }
    }
}

/// How often, and when first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) first_ns: u64,
}

/// Acts by process.
#[derive(Debug, Default)]
pub(crate) struct Acts(pub(crate) BTreeMap<(u32, Act), Times>);

impl Acts {
    /// Those of some processes.
    pub(crate) fn of(record: &Record, pids: &BTreeSet<u32>) -> Self {
        let mut acts = Self::default();
        let processes = record.trace.processes();
        for process in processes.iter().filter(|process| pids.contains(&process.pid)) {
            let parent = process.parent.and_then(|index| processes.get(index as usize));
            if let Some(parent) = parent.filter(|parent| pids.contains(&parent.pid)) {
                acts.add(parent.pid, Act::Fork(process.pid), 1, process.start_ns);
            }
            if let Some(end) = process.end {
                acts.add(process.pid, Act::Exit(end.status), 1, end.boottime_ns);
            }
        }
        for (process, exec) in record.execs().filter(|(process, _)| pids.contains(&process.pid)) {
            let (filename, binary, args) = (exec.filename.to_vec(), exec.binary.to_vec(), exec.args.to_vec());
            acts.add(process.pid, Act::Exec { filename, binary, args }, 1, exec.boottime_ns);
        }
        for opened in record.opens().into_iter().filter(|opened| pids.contains(&opened.pid)) {
            acts.add(opened.pid, open(&opened), opened.count, opened.boottime_ns);
        }
        for peer in record.peers().into_iter().filter(|peer| pids.contains(&peer.pid)) {
            let (operation, family) = (peer.act.operation(), peer.act.family);
            let binds = operation == network::Operation::Bind;
            let (address, port) =
                if binds { (peer.act.local, peer.act.local_port) } else { (peer.act.remote, peer.act.remote_port) };
            acts.add(peer.pid, Act::Network { operation, family, address, port }, peer.count, peer.boottime_ns);
        }
        for name in record.names().into_iter().filter(|name| pids.contains(&name.pid)) {
            let (path, target) = (plain(name.path), plain(name.target));
            acts.add(name.pid, Act::Name { operation: name.operation, path, target }, 1, name.boottime_ns);
        }
        acts
    }

    pub(crate) fn add(&mut self, pid: u32, act: Act, count: u64, first_ns: u64) {
        let times = self.0.entry((pid, act)).or_insert(Times { count: 0, first_ns });
        times.count += count;
        times.first_ns = times.first_ns.min(first_ns);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.values().map(|times| times.count).sum()
    }
}

fn open(opened: &Opened) -> Act {
    let file = &opened.file;
    let stamp = (file.size, file.ctime_sec, file.ctime_nsec);
    Act::Open {
        path: file.path.clone(),
        inode: (file.dev, file.ino),
        mode: file.mode,
        access: opened.access,
        version: (opened.access == READ).then_some(stamp),
    }
}

/// A name without `.`, `..` and doubled slashes: one path has the kernel's walk, the other what the program gave.
fn plain(path: Vec<u8>) -> Vec<u8> {
    if !path.starts_with(b"/") {
        return path;
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    [b"/".as_slice(), &parts.join(&b'/')].concat()
}
