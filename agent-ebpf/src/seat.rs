//! Members as they were looked up last: near, where a hash of a number and a walk to its entry are not.

use core::mem::MaybeUninit;

use agent_ebpf::{Member, Seat};

use crate::{atomic, globals::SEATS, member};

/// Whether no thread group of such a number was ever a member.
#[inline(always)]
pub(crate) fn never(pid: u32) -> bool {
    // SAFETY: a field of a map value; volatile, since others write it meanwhile.
    SEATS.get_ptr(Seat::place(pid)).is_some_and(|seat| unsafe { (&raw const (*seat).turn).read_volatile() } == 0)
}

/// Who sits there, if it is known. What is read between two looks at `filled` that are the same belongs together, since a
/// seat is filled once a turn.
#[inline(always)]
pub(crate) fn look(pid: u32, out: &mut MaybeUninit<Member>) -> bool {
    let Some(seat) = SEATS.get_ptr(Seat::place(pid)) else { return false };
    // SAFETY: fields of a map value; volatile, since others write them meanwhile. Their order stands: the compiler keeps it,
    // and this processor shows stores, and does loads, in it.
    unsafe {
        let turn = (&raw const (*seat).turn).read_volatile();
        if (&raw const (*seat).filled).read_volatile() != turn || (&raw const (*seat).pid).read_volatile() != pid {
            return false;
        }
        let out = out.as_mut_ptr();
        (*out).serial = (&raw const (*seat).serial).read_volatile();
        (*out).start_ns = (&raw const (*seat).start_ns).read_volatile();
        (*out).slot = (&raw const (*seat).slot).read_volatile();
        (*out).exec_id = 0;
        (&raw const (*seat).filled).read_volatile() == turn
    }
}

/// Looks a member up for its seat, if nobody is at it. Global, as [`account::attend`] is.
///
/// [`account::attend`]: crate::account::attend
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn seat_fill(pid: u32) -> u32 {
    let Some(seat) = SEATS.get_ptr_mut(Seat::place(pid)) else { return 0 };
    // SAFETY: as in `look`. The seat is this program's from the exchange on.
    unsafe {
        // Before the look into the table: what changes there after it is another turn.
        let turn = (&raw const (*seat).turn).read_volatile();
        let Some(member) = member::of(pid) else { return 0 };
        let filled = atomic::swap_half(&raw mut (*seat).filled, Seat::BUSY);
        if filled == Seat::BUSY {
            return 0;
        }
        if filled == turn || (&raw const (*seat).turn).read_volatile() != turn {
            (&raw mut (*seat).filled).write_volatile(filled);
            return 0;
        }
        (&raw mut (*seat).pid).write_volatile(pid);
        (&raw mut (*seat).slot).write_volatile(member.slot);
        (&raw mut (*seat).serial).write_volatile(member.serial);
        (&raw mut (*seat).start_ns).write_volatile(member.start_ns);
        (&raw mut (*seat).filled).write_volatile(turn);
    }
    1
}

/// What was looked up holds no longer: to be called after the table has changed, and before a first member is in it. A seat
/// would have to change 2^32 times to be taken for one that never did, which is some 2^46 processes numbered one after the other.
/// Global, as [`account::attend`] is.
///
/// [`account::attend`]: crate::account::attend
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn seat_turn(pid: u32) -> u32 {
    let Some(seat) = SEATS.get_ptr_mut(Seat::place(pid)) else { return 0 };
    // SAFETY: a field of a map value; 4-byte aligned.
    unsafe { atomic::add_half(&raw mut (*seat).turn, 1) };
    1
}
