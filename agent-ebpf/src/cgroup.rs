//! Membership by cgroup v2: tasks that enter a session's cgroup, and cgroups made below a watched prefix.

use agent_ebpf::{Joined, Member, Provisional, Session, attention, hook, kind, state};
use aya_ebpf::bindings::BPF_ANY;

use crate::{
    account, atomic,
    globals::{CGROUPS, COUNTERS, FREE_SLOTS, PREFIXES, SERIAL, SESSIONS, TASKS, offset},
    kernel::{process_start, read},
    member, path,
};

/// Levels of the hierarchy that are looked at; the deepest match is the innermost session.
const LEVELS_MAX: u32 = 32;

#[inline(always)]
fn id(cgroup: u64) -> u64 {
    read(read::<u64>(cgroup, offset!(cgroup_kn)), offset!(kernfs_id))
}

/// Whether a cgroup belongs to the v2 hierarchy; the v1 ones fire the same tracepoints.
#[inline(always)]
fn unified(cgroup: u64) -> bool {
    read::<i32>(read::<u64>(cgroup, offset!(cgroup_root)), offset!(cgroup_root_hierarchy)) == 0
}

/// The innermost session that a cgroup lies in, and the cgroup which opened it.
#[inline(never)]
fn session_of(cgroup: u64, out: &mut Member, matched: &mut u64) -> bool {
    let level: u32 = read(cgroup, offset!(cgroup_level));
    let mut below = 0;
    while below < LEVELS_MAX {
        if below > level {
            return false;
        }
        let ancestor: u64 = read(cgroup, offset!(cgroup_ancestors) + ((level - below) & 0xff) as usize * 8);
        let key = id(ancestor);
        // SAFETY: the entry is freed by RCU.
        if let Some(slot) = unsafe { CGROUPS.get(&key) }.copied() {
            if let Some(session) = SESSIONS.get_ptr(slot) {
                // SAFETY: a pointer into the map's value.
                out.serial = unsafe { (*session).serial };
                out.slot = slot;
                *matched = key;
                return true;
            }
        }
        below += 1;
    }
    false
}

#[inline(always)]
fn enter(cgroup: u64, pid: u32, tid: u32, start: u64) {
    let mut member = Member { start_ns: start, ..Member::default() };
    let mut cgroup_id = 0;
    if !session_of(cgroup, &mut member, &mut cgroup_id) {
        return;
    }
    if let Some(already) = member::of(pid) {
        if already.serial == member.serial {
            return;
        }
    }
    let Some(ticket) = account::take(&member, hook::CGROUP) else { return };
    if TASKS.insert(&pid, &member, u64::from(BPF_ANY)).is_err() {
        account::attend(&member, attention::MEMBERS_FULL, u64::from(pid));
    }
    account::send(&ticket, kind::JOINED, pid, tid, Joined { start_ns: start, cgroup_id });
}

/// `cgroup_attach_task`: a task was moved into a cgroup.
pub(crate) fn attach(cgroup: u64, task: u64) {
    if unified(cgroup) {
        enter(cgroup, read(task, offset!(task_tgid)), read(task, offset!(task_pid)), process_start(task));
    }
}

/// A child may be put into another cgroup as it is made (`CLONE_INTO_CGROUP`).
#[inline(never)]
pub(crate) fn forked_into(parent: u64, child: u64, child_pid: u32, start: u64) {
    let of = |task: u64| read::<u64>(read::<u64>(task, offset!(task_cgroups)), offset!(css_set_dfl));
    let cgroup = of(child);
    if cgroup != of(parent) {
        enter(cgroup, child_pid, child_pid, start);
    }
}

/// `cgroup_mkdir`: below a watched prefix a session opens here and now, before the first task is in.
pub(crate) fn mkdir(cgroup: u64) {
    let level: u32 = read(cgroup, offset!(cgroup_level));
    if level == 0 || !unified(cgroup) {
        return;
    }
    let above: u64 = read(cgroup, offset!(cgroup_ancestors) + ((level - 1) & 0xff) as usize * 8);
    let parent_id = id(above);
    // SAFETY: the entry is freed by RCU.
    let Some(parent_slot) = unsafe { PREFIXES.get(&parent_id) }.copied() else { return };
    let cgroup_id = id(cgroup);
    let Some(member) = provisional(cgroup_id, parent_slot) else {
        return no_slot(parent_slot, cgroup_id);
    };
    let Some(ticket) = account::take(&member, hook::CGROUP) else { return };
    let Some(mut record) = account::begin::<Provisional>(&ticket) else { return };
    // SAFETY: the body lies in the scratch.
    unsafe { record.body::<Provisional>().write(Provisional { cgroup_id, parent_id }) };
    let name: u64 = read(read::<u64>(cgroup, offset!(cgroup_kn)), offset!(kernfs_name));
    path::append_kernel_str(&mut record, name);
    let (pid, tid) = member::current_ids();
    record.finish(&ticket, kind::PROVISIONAL, pid, tid);
}

#[inline(always)]
fn provisional(cgroup_id: u64, parent: u32) -> Option<Member> {
    let slot = FREE_SLOTS.pop().ok()??;
    let session = SESSIONS.get_ptr_mut(slot)?;
    let last = COUNTERS.get_ptr_mut(SERIAL)?;
    // SAFETY: pointers into map values. The slot is this program's alone: the queue gave it to nobody else.
    let serial = unsafe {
        let serial = atomic::fetch_add(last, 1) + 1;
        session.write(Session { serial, epoch: 0, state: state::PROVISIONAL, parent, reported: 0, cgroup_id });
        serial
    };
    CGROUPS.insert(&cgroup_id, &slot, u64::from(BPF_ANY)).ok()?;
    Some(Member { serial, start_ns: 0, slot, reserved: 0 })
}

/// Every slot is taken: the session around says that one inside it could not be opened.
#[inline(always)]
fn no_slot(parent: u32, cgroup_id: u64) {
    if let Some(session) = SESSIONS.get_ptr(parent) {
        // SAFETY: a pointer into the map's value.
        let serial = unsafe { (*session).serial };
        account::attend(&Member { serial, start_ns: 0, slot: parent, reserved: 0 }, attention::NO_SLOT, cgroup_id);
    }
}
