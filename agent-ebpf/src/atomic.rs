//! Atomic operations on map values. `core::sync::atomic` withholds them on this target, which the kernel has had since 5.12.
//!
//! Never relaxed: LLVM 22 compiles a relaxed fetch-add to the form without a result.

use core::intrinsics::{AtomicOrdering, atomic_xadd, atomic_xchg};

/// Adds and returns the value before.
///
/// # Safety
///
/// `counter` must point into a map value and be aligned to 8 bytes.
#[inline(always)]
pub(crate) unsafe fn fetch_add(counter: *mut u64, by: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(counter, by) }
}

/// Adds to half a word.
///
/// # Safety
///
/// As for [`fetch_add`], aligned to 4 bytes.
#[inline(always)]
pub(crate) unsafe fn add_half(counter: *mut u32, by: u32) {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(counter, by) };
}

/// Sets and returns the value before.
///
/// # Safety
///
/// As for [`fetch_add`].
#[inline(always)]
pub(crate) unsafe fn swap(cell: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(cell, value) }
}

/// Sets half a word and returns the value before.
///
/// # Safety
///
/// As for [`fetch_add`], aligned to 4 bytes.
#[inline(always)]
pub(crate) unsafe fn swap_half(cell: *mut u32, value: u32) -> u32 {
    // SAFETY: the caller's.
    unsafe { atomic_xchg::<u32, { AtomicOrdering::SeqCst }>(cell, value) }
}
