//! Membership by cgroup v2: tasks that enter a session's cgroup, and cgroups made below a watched prefix.

use agent_ebpf::{CANARY, Joined, Member, Provisional, Session, attention, hook, kind, state};
use aya_ebpf::{bindings::BPF_ANY, cty::c_void, helpers::bpf_loop};

use crate::{
    account, atomic,
    globals::{CGROUPS, COUNTERS, FREE_SLOTS, PREFIXES, SERIAL, SESSIONS, UNOPENED, offset},
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

/// A search for the innermost session that a cgroup lies in.
#[repr(C)]
struct Search {
    cgroup: u64,
    level: u32,
    slot: u32,
    serial: u64,
    /// The cgroup that opened it; 0 as long as none is found.
    cgroup_id: u64,
}

/// Looks at one level; ends the search with 1. A callback, since the verifier would follow a loop round by round.
#[inline(never)]
extern "C" fn level(below: u32, search: *mut Search) -> i64 {
    // SAFETY: the caller's, as bpf_loop hands it over.
    let search = unsafe { &mut *search };
    if below > search.level {
        return 1;
    }
    let above = ((search.level - below) & 0xff) as usize;
    let ancestor: u64 = read(search.cgroup, offset!(cgroup_ancestors) + above * 8);
    let key = id(ancestor);
    // SAFETY: the entry is freed by RCU.
    let Some(slot) = unsafe { CGROUPS.get(&key) }.copied() else { return 0 };
    let Some(session) = SESSIONS.get_ptr(slot) else { return 0 };
    // SAFETY: a pointer into the map's value.
    search.serial = unsafe { (*session).serial };
    search.slot = slot;
    search.cgroup_id = key;
    1
}

#[inline(always)]
fn enter(cgroup: u64, pid: u32, tid: u32, start: u64) {
    let mut search = Search { cgroup, level: read(cgroup, offset!(cgroup_level)), slot: 0, serial: 0, cgroup_id: 0 };
    // SAFETY: the callback takes the context it is given.
    unsafe { bpf_loop(LEVELS_MAX, level as *const () as *mut c_void, (&raw mut search).cast(), 0) };
    let cgroup_id = search.cgroup_id;
    if cgroup_id == 0 {
        return;
    }
    let member = Member { start_ns: start, ..Member::of(search.serial, search.slot) };
    if let Some(already) = member::of(pid) {
        if already.serial == member.serial {
            return;
        }
        if already.serial == member.serial | CANARY {
            // It is here to be seen, and stays what it is.
            let Some(ticket) = account::take(&already, hook::CGROUP) else { return };
            account::send(&ticket, kind::JOINED, pid, tid, Joined { start_ns: start, cgroup_id });
            return;
        }
    }
    let Some(ticket) = account::take(&member, hook::CGROUP) else { return };
    if !member::join(pid, &member) {
        account::attend(&member, attention::MEMBERS_FULL, u64::from(pid));
    }
    account::send(&ticket, kind::JOINED, pid, tid, Joined { start_ns: start, cgroup_id });
}

/// `cgroup_attach_task`: a task was moved into a cgroup.
#[inline(always)]
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
#[inline(always)]
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
    if told(cgroup_id) {
        return;
    }
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

/// Whether a session was opened for this cgroup already.
#[inline(always)]
fn told(cgroup_id: u64) -> bool {
    // SAFETY: the entry is freed by RCU.
    let slot = unsafe { CGROUPS.get(&cgroup_id) }.copied();
    let session = slot.and_then(|slot| SESSIONS.get_ptr(slot));
    // SAFETY: a pointer into the map's value.
    session.is_some_and(|session| unsafe { (*session).cgroup_id } == cgroup_id)
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
    Some(Member::of(serial, slot))
}

/// Every slot is taken: the session around says that one inside it could not be opened; where there is none, it is counted.
#[inline(always)]
fn no_slot(parent: u32, cgroup_id: u64) {
    if let Some(session) = SESSIONS.get_ptr(parent) {
        // SAFETY: a pointer into the map's value.
        let serial = unsafe { (*session).serial };
        account::attend(&Member::of(serial, parent), attention::NO_SLOT, cgroup_id);
    } else if let Some(count) = COUNTERS.get_ptr_mut(UNOPENED) {
        // SAFETY: a pointer into the map's value.
        unsafe { atomic::fetch_add(count, 1) };
    }
}
