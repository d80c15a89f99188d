//! Reads of kernel memory: every one through the helper that cannot fault, at offsets from the kernel's BTF.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};

use crate::globals::offset;

/// A value at `base + offset`, or zero where the memory cannot be read.
#[inline(always)]
pub(crate) fn read<T: Copy + Default>(base: u64, offset: usize) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + offset as u64) as *const T) }.unwrap_or_default()
}

/// Address of the running task.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: no argument.
    unsafe { bpf_get_current_task() }
}

/// The `struct file` behind a descriptor of the running task, 0 if there is none.
#[inline(always)]
pub(crate) fn file_of(fd: u64) -> u64 {
    let files: u64 = read(current(), offset!(task_files));
    let table: u64 = read(files, offset!(files_fdt));
    let max: u32 = read(table, offset!(fdtable_max));
    if files == 0 || fd >= u64::from(max) {
        return 0;
    }
    let array: u64 = read(table, offset!(fdtable_fd));
    read(array, fd as usize * 8)
}

/// Start of the process that a task belongs to, CLOCK_BOOTTIME in nanoseconds.
#[inline(always)]
pub(crate) fn process_start(task: u64) -> u64 {
    let leader: u64 = read(task, offset!(task_leader));
    read(leader, offset!(task_start))
}
