//! Both sides against each other: acts by process, with multiplicity. What one side has alone is looked at again by
//! inode, then held against a closed list of exceptions.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use attestation::trace::Exec;
use proto::evidence::name_change::Operation;
use proto::evidence::network;
use tests::Record;

use super::strace::{Act, Seen, absolute};

/// One exception may be in so many of strace's records.
const RECORDS_PER_EXCEPTION: usize = 1000;
/// Lines of a disagreement that are shown.
const SHOWN_MAX: usize = 20;

const READ: u32 = 1;
const WRITE: u32 = 2;
const EXEC: u32 = 4;
const PATH_ONLY: u32 = 32;

/// Why a difference between the two is no fault of either; nothing else is excused.
type Exception = (&'static str, fn(&Act) -> bool);

/// None so far. An exception is never an exec, a connect, or a file below the work folder.
const EXCEPTIONS: &[Exception] = &[];

type Acts = BTreeMap<(u32, Act), u64>;

/// How the two compare.
pub(crate) struct Comparison {
    records: usize,
    kinds: [usize; 4],
    excused: usize,
    only_strace: Vec<String>,
    only_log: Vec<String>,
}

impl Comparison {
    pub(crate) fn of(seen: &Seen, record: &Record, folder: &Path) -> Self {
        let followed: HashSet<u32> = seen.pids.iter().copied().collect();
        must_be_of_strace(record, &followed);
        let mut strace = counted(&seen.acts);
        let (mut log, inodes) = acts_of(record, &followed);
        strace = strace
            .into_iter()
            .map(|((pid, act), count)| ((pid, without_script_s_own_name(act, record)), count))
            .collect();
        cancel(&mut strace, &mut log);
        cancel_by_inode(&mut strace, &mut log, &inodes);
        if record.sees_before("open") {
            // A hook before the act is also asked of what the kernel refuses afterwards. It is not asked of a descriptor
            // that only names a file: README.md says so.
            cancel(&mut counted(&seen.refused), &mut log);
            strace.retain(|(_, act), _| !matches!(act, Act::Open(_, 'p')));
        }
        let below = folder.as_os_str().as_bytes();
        let mut excused = 0;
        let mut left = |acts: &Acts| -> Vec<String> {
            let open = acts.iter().filter(|((_, act), count)| {
                let excuse = EXCEPTIONS.iter().any(|(_, holds)| excusable(act, below) && holds(act));
                excused += if excuse { usize::try_from(**count).unwrap_or(usize::MAX) } else { 0 };
                !excuse
            });
            open.map(|((pid, act), count)| format!("{count} x {pid} {}", shown(act))).collect()
        };
        let (only_strace, only_log) = (left(&strace), left(&log));
        Self { records: seen.acts.len(), kinds: kinds(seen), excused, only_strace, only_log }
    }

    pub(crate) fn must_agree(&self) {
        assert!(self.records > 0, "strace saw nothing");
        let some = |lines: &[String]| lines.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n  ");
        assert!(
            self.only_strace.is_empty() && self.only_log.is_empty(),
            "strace alone has {}:\n  {}\nthe log alone has {}:\n  {}",
            self.only_strace.len(),
            some(&self.only_strace),
            self.only_log.len(),
            some(&self.only_log)
        );
        assert!(self.excused * RECORDS_PER_EXCEPTION <= self.records, "{} exceptions", self.excused);
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [execs, opens, connects, names] = self.kinds;
        write!(f, "{} records ({execs} execs, {opens} opens, {connects} connects, {names} names), ", self.records)?;
        let differ = self.only_strace.len() + self.only_log.len();
        write!(f, "{} excused, {differ} differ", self.excused)
    }
}

fn counted(acts: &[(u32, Act)]) -> Acts {
    let mut counted = Acts::new();
    for (pid, act) in acts {
        *counted.entry((*pid, act.clone())).or_insert(0) += 1;
    }
    counted
}

fn kinds(seen: &Seen) -> [usize; 4] {
    let mut kinds = [0; 4];
    for (_, act) in &seen.acts {
        kinds[match act {
            Act::Exec(..) => 0,
            Act::Open(..) => 1,
            Act::Connect(..) => 2,
            Act::Rename(..) | Act::Unlink(_) | Act::Rmdir(_) => 3,
        }] += 1;
    }
    kinds
}

/// Processes in the log that strace did not follow are strace's own: it, and children by which it tries the kernel.
fn must_be_of_strace(record: &Record, followed: &HashSet<u32>) {
    let root = record.root().pid;
    assert!(!followed.contains(&root), "the root is strace");
    for process in record.trace.processes() {
        if process.pid == root || followed.contains(&process.pid) {
            continue;
        }
        let processes = record.trace.processes();
        let parent = process.parent.and_then(|index| processes.get(index as usize));
        let by_strace = parent.is_some_and(|parent| parent.pid == root);
        let programs = record.trace.execs(process).count();
        assert!(by_strace && programs == 0, "process {} is in the log only", process.pid);
    }
}

/// The acts in the log of the processes that strace followed, and the inode behind each path.
fn acts_of(record: &Record, followed: &HashSet<u32>) -> (Acts, BTreeMap<Vec<u8>, u64>) {
    let (mut acts, mut inodes) = (Acts::new(), BTreeMap::new());
    let mut add = |pid: u32, act: Act, count: u64| {
        if followed.contains(&pid) {
            *acts.entry((pid, act)).or_insert(0) += count;
        }
    };
    for (process, exec) in record.execs() {
        add(process.pid, Act::Exec(exec.filename.to_vec(), given(&exec)), 1);
    }
    for open in record.opens() {
        // What the kernel opens itself within execve is no call of the program's; the exec stands for it.
        if open.access & EXEC != 0 {
            continue;
        }
        let how = match open.access {
            access if access & PATH_ONLY != 0 => 'p',
            access if access & (READ | WRITE) == READ | WRITE => 'b',
            access if access & WRITE != 0 => 'w',
            _ => 'r',
        };
        inodes.insert(open.file.path.clone(), open.file.ino);
        add(open.pid, Act::Open(open.file.path, how), open.count);
    }
    for peer in record.peers() {
        if peer.act.operation() == network::Operation::Connect {
            add(peer.pid, Act::Connect(peer.act.family, peer.act.remote, peer.act.remote_port), peer.count);
        }
    }
    for name in record.names() {
        let act = match name.operation {
            Operation::Rename | Operation::Exchange => {
                Act::Rename(absolute(b"", &name.path), absolute(b"", &name.target))
            }
            Operation::Unlink => Act::Unlink(absolute(b"", &name.path)),
            Operation::Rmdir => Act::Rmdir(absolute(b"", &name.path)),
            _ => continue,
        };
        add(name.pid, act, 1);
    }
    (acts, inodes)
}

/// The arguments that execve was given: for a script the kernel puts the interpreter's in the place of the first.
fn given(exec: &Exec<'_>) -> Vec<Vec<u8>> {
    let words: Vec<Vec<u8>> = exec.argv().map(<[u8]>::to_vec).collect();
    if exec.interpreter.is_empty() {
        return words;
    }
    let script = words.iter().skip(1).position(|word| word == exec.filename);
    let script = script.unwrap_or_else(|| panic!("a script's name is not among its arguments")) + 1;
    let rest = words.into_iter().skip(script + 1);
    [Vec::new()].into_iter().chain(rest).collect()
}

/// What a script is called by its caller is nothing that the kernel keeps.
fn without_script_s_own_name(act: Act, record: &Record) -> Act {
    match act {
        Act::Exec(name, mut words) if is_script(record, &name) => {
            words[0].clear();
            Act::Exec(name, words)
        }
        act => act,
    }
}

fn is_script(record: &Record, name: &[u8]) -> bool {
    record.execs().any(|(_, exec)| exec.filename == name && !exec.interpreter.is_empty())
}

/// Takes away what both have.
fn cancel(strace: &mut Acts, log: &mut Acts) {
    for (act, count) in strace.iter_mut() {
        if let Some(other) = log.get_mut(act) {
            let both = (*count).min(*other);
            *count -= both;
            *other -= both;
        }
    }
    strace.retain(|_, count| *count > 0);
    log.retain(|_, count| *count > 0);
}

/// Opens of one inode by two paths: strace asks for the path a moment later, and a mount may have several.
fn cancel_by_inode(strace: &mut Acts, log: &mut Acts, inodes: &BTreeMap<Vec<u8>, u64>) {
    for ((pid, act), count) in strace.iter_mut() {
        let Act::Open(path, how) = act else { continue };
        let Ok(metadata) = std::fs::metadata(OsStr::from_bytes(path)) else { continue };
        let same = |((other, act), _): &(&(u32, Act), &mut u64)| {
            let same_file =
                matches!(act, Act::Open(path, mode) if mode == how && inodes.get(path) == Some(&metadata.ino()));
            other == pid && same_file
        };
        for (_, other) in log.iter_mut().filter(same) {
            let both = (*count).min(*other);
            *count -= both;
            *other -= both;
        }
    }
    strace.retain(|_, count| *count > 0);
    log.retain(|_, count| *count > 0);
}

/// Whether an act may be on the list of exceptions at all.
fn excusable(act: &Act, below: &[u8]) -> bool {
    match act {
        Act::Exec(..) | Act::Connect(..) => false,
        Act::Open(path, _) | Act::Unlink(path) | Act::Rmdir(path) => !path.starts_with(below),
        Act::Rename(from, to) => !from.starts_with(below) && !to.starts_with(below),
    }
}

fn shown(act: &Act) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    match act {
        Act::Exec(name, words) => format!("exec {} with {} words", text(name), words.len()),
        Act::Open(path, how) => format!("open {how} {}", text(path)),
        Act::Connect(family, address, port) => format!("connect {family} {} {port}", text(address)),
        Act::Rename(from, to) => format!("rename {} to {}", text(from), text(to)),
        Act::Unlink(path) => format!("unlink {}", text(path)),
        Act::Rmdir(path) => format!("rmdir {}", text(path)),
    }
}
