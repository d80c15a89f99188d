//! Whose event it is: a task belongs to the session of its thread group, or to none.

use core::mem::MaybeUninit;

use agent_ebpf::{CANARY, Member, Session, state};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::{
    globals::{SESSIONS, TASKS, THREADS},
    seat,
};

/// Thread group and thread of the running task.
#[inline(always)]
pub(crate) fn current_ids() -> (u32, u32) {
    let ids = bpf_get_current_pid_tgid();
    ((ids >> 32) as u32, ids as u32)
}

/// The session of a thread group. Whether the slot still holds that session is seen when a number is taken.
#[inline(always)]
pub(crate) fn of(pid: u32) -> Option<Member> {
    // SAFETY: the entry is freed by RCU; its values are only ever set as a whole.
    unsafe { TASKS.get(&pid) }.copied()
}

/// The same at hooks that every task of the host comes by, most of them of no session, and a member again and again: quick
/// for those. What it gives knows of no exec.
#[inline(always)]
pub(crate) fn of_any(pid: u32) -> Option<Member> {
    let mut member = MaybeUninit::uninit();
    // SAFETY: written where it says so.
    find(pid, &mut member).then(|| unsafe { member.assume_init() })
}

/// Into the caller's memory, since two ways to come by it would have two places on the stack.
#[inline(always)]
pub(crate) fn find(pid: u32, member: &mut MaybeUninit<Member>) -> bool {
    // A call costs a return, which is dear on many processors: none for tasks of no session.
    !seat::never(pid) && seated(pid, member)
}

/// Not part of its callers: the stack of a chain of calls has 512 bytes.
#[inline(never)]
fn seated(pid: u32, member: &mut MaybeUninit<Member>) -> bool {
    if seat::look(pid, member) {
        return true;
    }
    seat::seat_fill(pid);
    let Some(found) = of(pid) else { return false };
    member.write(found);
    true
}

/// The member that a thread belongs to; 0 if it belongs to none. Global, as [`account::attend`] is.
///
/// [`account::attend`]: crate::account::attend
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn member_of_thread(tid: u32) -> u32 {
    if TASKS.get_ptr(&tid).is_some() {
        return tid;
    }
    // SAFETY: as in `of`.
    unsafe { THREADS.get(&tid) }.copied().unwrap_or(0)
}

/// A member has another thread. False where the table is full.
#[inline(always)]
pub(crate) fn has_thread(pid: u32, tid: u32) -> bool {
    THREADS.insert(&tid, &pid, 0).is_ok()
}

/// A thread ended, or has the group's number now.
#[inline(always)]
pub(crate) fn lost_thread(tid: u32) {
    let _ = THREADS.remove(&tid);
}

/// Whether the slot still holds this member's session, and it takes events.
#[inline(always)]
pub(crate) fn session(member: &Member) -> Option<*mut Session> {
    let session = SESSIONS.get_ptr_mut(member.slot)?;
    // SAFETY: a pointer into the map's value.
    let (serial, open) = unsafe { ((*session).serial, (*session).state) };
    (serial == member.serial & !CANARY && (open == state::OPEN || open == state::PROVISIONAL)).then_some(session)
}

/// Notes an exec by its number in the task; false if it was told.
#[inline(always)]
pub(crate) fn executes(pid: u32, exec_id: u32) -> bool {
    let Some(member) = TASKS.get_ptr_mut(&pid) else { return true };
    // SAFETY: a field of a map value, which only the thread that executes changes.
    unsafe {
        let told = core::ptr::read_volatile(&raw const (*member).exec_id);
        core::ptr::write_volatile(&raw mut (*member).exec_id, exec_id);
        told != exec_id
    }
}

/// Makes a thread group a member. False where the table is full.
#[inline(always)]
pub(crate) fn join(pid: u32, member: &Member) -> bool {
    // Before: nobody looks for a member where there never was a turn.
    seat::seat_turn(pid);
    let joined = TASKS.insert(&pid, member, 0).is_ok();
    seat::seat_turn(pid);
    joined
}

/// A thread group is no member any more. False where it was none: of two that say so, one is told the truth.
#[inline(always)]
pub(crate) fn leave(pid: u32) -> bool {
    let left = TASKS.remove(&pid).is_ok();
    seat::seat_turn(pid);
    left
}
