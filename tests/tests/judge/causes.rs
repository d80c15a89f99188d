//! The closed list of what may differ, each with the row of docs/threats.md that says so.

use std::collections::BTreeSet;

use proto::evidence::name_change::Operation as NameOperation;
use proto::evidence::network::Operation;
use tests::Record;

use super::acts::{Act, EXEC, PATH_ONLY, TRUNCATED, Times};

/// Which of the two has the act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The weak path missed it.
    Strong,
    /// The weak path has it beside.
    Weak,
}

/// What is known beside the act itself.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    /// When the session of the strongest hooks began.
    pub(crate) opened_ns: u64,
    /// Its first process.
    pub(crate) root: u32,
    /// By process, what the weak path says it ran.
    pub(crate) ran: BTreeSet<(u32, Vec<u8>)>,
    /// By process, the last component of scripts that the weak path says it ran.
    pub(crate) scripts: BTreeSet<(u32, Vec<u8>)>,
    /// By process, what the weak path says it emptied as it opened it.
    pub(crate) emptied: BTreeSet<(u32, Vec<u8>)>,
    /// By process, addresses and ports to which the weak path says that it did not come.
    pub(crate) unreached: BTreeSet<(u32, Vec<u8>, u32)>,
}

impl Scene {
    pub(crate) fn of(strong: &Record, weak: &Record) -> Self {
        let ran = weak.execs().map(|(process, exec)| (process.pid, exec.binary.to_vec()));
        let scripts = weak.execs().filter(|(_, exec)| !exec.interpreter.is_empty());
        let scripts = scripts.map(|(process, exec)| (process.pid, last_component(exec.filename).to_vec()));
        let emptied = weak.opens().into_iter().filter(|open| open.access & TRUNCATED != 0);
        let unreached = weak.peers().into_iter().filter(|peer| {
            peer.act.operation() == Operation::Connect && peer.act.result != 0 && peer.act.result != -EINPROGRESS
        });
        Self {
            opened_ns: strong.trace.opened().opened_boottime_ns,
            root: strong.root().pid,
            ran: ran.collect(),
            scripts: scripts.collect(),
            emptied: emptied.map(|open| (open.pid, open.file.path)).collect(),
            unreached: unreached.map(|peer| (peer.pid, peer.act.remote, peer.act.remote_port)).collect(),
        }
    }
}

fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

const EINPROGRESS: i32 = 115;

/// Why the paths differ in an act.
#[derive(Debug)]
pub(crate) struct Cause {
    /// Row of docs/threats.md; none where neither path lacks anything, which is for the weak side only.
    pub(crate) threat: Option<u8>,
    pub(crate) side: Side,
    pub(crate) says: &'static str,
    holds: fn(&Scene, u32, &Act, Times) -> bool,
}

pub(crate) const CAUSES: &[Cause] = &[
    Cause {
        threat: Some(36),
        side: Side::Strong,
        says: "the program's file, opened by the kernel within execve; the exec names it",
        holds: |scene, pid, act, _| match act {
            Act::Open { access, path, .. } => access & EXEC != 0 && scene.ran.contains(&(pid, path.clone())),
            _ => false,
        },
    },
    Cause {
        threat: Some(36),
        side: Side::Strong,
        says: "a script, opened by the kernel within execve; the exec names it",
        holds: |scene, pid, act, _| match act {
            Act::Open { access, path, .. } => {
                access & EXEC != 0 && scene.scripts.contains(&(pid, last_component(path).to_vec()))
            }
            _ => false,
        },
    },
    Cause {
        threat: Some(15),
        side: Side::Strong,
        says: "emptied as it was opened; the open says so",
        holds: |scene, pid, act, _| match act {
            Act::Name { operation: NameOperation::Truncate, path, .. } => scene.emptied.contains(&(pid, path.clone())),
            _ => false,
        },
    },
    Cause {
        threat: Some(37),
        side: Side::Strong,
        says: "the end of a connection that never stood; its connect says so",
        holds: |scene, pid, act, _| match act {
            Act::Network { operation: Operation::Close, address, port, .. } => {
                scene.unreached.contains(&(pid, address.clone(), *port))
            }
            _ => false,
        },
    },
    Cause {
        threat: Some(31),
        side: Side::Weak,
        says: "a descriptor that names a file and opens none",
        holds: |_, _, act, _| matches!(act, Act::Open { access, .. } if access & PATH_ONLY != 0),
    },
    Cause {
        threat: None,
        side: Side::Weak,
        says: "before the other session began",
        holds: |scene, pid, _, times| pid == scene.root && times.first_ns < scene.opened_ns,
    },
];

impl Cause {
    pub(crate) fn of(side: Side, scene: &Scene, pid: u32, act: &Act, times: Times) -> Option<&'static Self> {
        CAUSES.iter().find(|cause| cause.side == side && (cause.holds)(scene, pid, act, times))
    }
}
