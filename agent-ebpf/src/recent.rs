//! Repeats of what was opened a moment ago: one cache line and no call, where the fold table costs a hash of the key and a
//! walk through memory that is seldom near.

use agent_ebpf::{FoldKey, Recent};

use crate::{
    atomic,
    globals::{FOLD, RECENT},
};

/// Repeats that a line counts before they are moved to the fold table.
const COUNT_MAX: u32 = 1 << 30;

/// Counts the access if its line has it, told by a path that stands.
#[inline(always)]
pub(crate) fn repeated(key: &FoldKey, renames: u64) -> bool {
    let Some(line) = claimed(key) else { return false };
    // SAFETY: a pointer into the map's value, which is this program's until it is released.
    unsafe {
        let count = (*line).count & !Recent::USED;
        let same = holds(line, key) && (*line).renames == renames && count < COUNT_MAX;
        if same {
            set(&raw mut (*line).count, count + 1 | Recent::USED);
        }
        release(line);
        same
    }
}

/// Keeps an access that the fold table has. A line that was of use since it was last asked for stays: two that want the
/// same one would only drive each other out.
#[inline(never)]
pub(crate) fn keep(key: &FoldKey, renames: u64) {
    let Some(line) = claimed(key) else { return };
    // SAFETY: as in `repeated`.
    unsafe {
        let count = (*line).count;
        if count & Recent::USED != 0 && !holds(line, key) {
            set(&raw mut (*line).count, count & !Recent::USED);
        } else {
            let count = count & !Recent::USED;
            if count != 0 {
                if let Some(value) = FOLD.get_ptr_mut(&(*line).key) {
                    atomic::fetch_add(&raw mut (*value).count, u64::from(count));
                }
            }
            copy(line, key);
            set(&raw mut (*line).renames, renames);
            set(&raw mut (*line).count, 0);
        }
        release(line);
    }
}

/// The line of a key, if nobody is at it: whoever comes second goes to the fold table.
#[inline(always)]
fn claimed(key: &FoldKey) -> Option<*mut Recent> {
    let line = RECENT.get_ptr_mut(Recent::place(key))?;
    // SAFETY: a field of a map value; 4-byte aligned.
    let busy = unsafe { atomic::swap_half(&raw mut (*line).busy, 1) };
    (busy == 0).then_some(line)
}

/// After everything that was set: the compiler keeps volatile stores in their order, and this processor shows them in it.
#[inline(always)]
unsafe fn release(line: *mut Recent) {
    // SAFETY: the caller's.
    unsafe { set(&raw mut (*line).busy, 0) };
}

/// Every store to a line goes by here: another one the compiler may put behind the release.
#[inline(always)]
unsafe fn set<T>(field: *mut T, value: T) {
    // SAFETY: the caller's.
    unsafe { field.write_volatile(value) };
}

#[inline(always)]
unsafe fn holds(line: *const Recent, key: &FoldKey) -> bool {
    // SAFETY: the caller's.
    let held = unsafe { &(*line).key };
    held.place == key.place
        && held.session == key.session
        && held.pid == key.pid
        && held.access == key.access
        && held.dentry == key.dentry
        && held.ctime_ns == key.ctime_ns
        && held.size == key.size
}

/// Field by field: the compiler would make a call of a copy.
#[inline(always)]
unsafe fn copy(line: *mut Recent, key: &FoldKey) {
    // SAFETY: the caller's.
    unsafe {
        set(&raw mut (*line).key.session, key.session);
        set(&raw mut (*line).key.pid, key.pid);
        set(&raw mut (*line).key.access, key.access);
        set(&raw mut (*line).key.dentry, key.dentry);
        set(&raw mut (*line).key.ctime_ns, key.ctime_ns);
        set(&raw mut (*line).key.size, key.size);
        set(&raw mut (*line).key.place, key.place);
    }
}
