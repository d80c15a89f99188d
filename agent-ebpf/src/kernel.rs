//! Reads of kernel memory, none of which can fault: through a helper, or where that is too slow, by a load that the kernel
//! guards. Offsets are from the kernel's BTF.

use core::mem::MaybeUninit;

use aya_ebpf::{
    cty::c_void,
    helpers::{bpf_get_current_task, bpf_get_current_task_btf, generated},
};

use crate::globals::{offset, window};

/// A value at `base + offset`, or zero where the memory cannot be read. The answer of the helper is not asked for: a branch
/// for each read would double what the verifier follows.
#[inline(always)]
pub(crate) fn read<T: Word>(base: u64, offset: usize) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address, and writes all bytes, zeros if it fails; they are a value of every `Word`.
    unsafe {
        let out = value.as_mut_ptr().cast::<c_void>();
        generated::bpf_probe_read_kernel(out, size_of::<T>() as u32, (base + offset as u64) as *const c_void);
        value.assume_init()
    }
}

/// The same number, of which the verifier knows nothing: to be had before another function decides by it through a
/// pointer. Linux 6.1 takes such a branch for dead if it was not taken for the first number it saw there.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn kernel_unknown(number: u64) -> u64 {
    // SAFETY: a word of this frame. Volatile, or the compiler would see that it is the argument.
    unsafe { core::ptr::read_volatile(&raw const number) }
}

/// What [`read`] reads.
///
/// # Safety
///
/// Any bytes are a value of the type.
pub(crate) unsafe trait Word: Copy {}

// SAFETY: integers.
unsafe impl Word for u8 {}
// SAFETY: as above.
unsafe impl Word for u16 {}
// SAFETY: as above.
unsafe impl Word for u32 {}
// SAFETY: as above.
unsafe impl Word for i32 {}
// SAFETY: as above.
unsafe impl Word for u64 {}
// SAFETY: as above.
unsafe impl Word for i64 {}
// SAFETY: words of it.
unsafe impl<T: Word, const COUNT: usize> Word for [T; COUNT] {}

/// Makes an address a pointer that the verifier lets programs load from: of memory that is not there, zeros. The kernel
/// function is no call any more when the program runs.
#[inline(always)]
fn cast(address: u64, structure: u32) -> *const u8 {
    // SAFETY: a constant that the compiler makes a call of, as it does of a helper's number; the loader puts the kernel's
    // function there, which has this type.
    let function: unsafe extern "C" fn(u64, u32) -> *const u8 =
        unsafe { core::mem::transmute(agent_ebpf::CAST_CALL as usize) };
    // SAFETY: the function only says what its argument is taken for.
    unsafe { function(address, structure) }
}

/// Part of a kernel structure, read at once: a read by a helper costs more by its call than by its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    words: *const u8,
    bytes: usize,
    base: u64,
    from: usize,
}

impl Window {
    /// Looks at what lies `from` bytes behind `base`, or copies it to `words` where the kernel does not let programs look: as
    /// much as they have room for; zeros where it cannot be read.
    #[inline(always)]
    pub(crate) fn of<const WORDS: usize>(base: u64, from: usize, words: &mut MaybeUninit<[u64; WORDS]>) -> Self {
        const { assert!(WORDS <= agent_ebpf::CAST_WORDS) };
        let (copy, bytes, address) = (words.as_mut_ptr(), WORDS * 8, base + from as u64);
        let structure = window!(words);
        let words = if structure != 0 {
            cast(address, structure as u32)
        } else {
            // SAFETY: the helper writes `bytes` bytes, zeros if it fails.
            unsafe {
                generated::bpf_probe_read_kernel(copy.cast::<c_void>(), bytes as u32, address as *const c_void);
            }
            copy.cast()
        };
        Self { words, bytes, base, from }
    }

    /// One value, as [`read`] has it, for where that is called often.
    #[inline(always)]
    pub(crate) fn one<T: Word>(base: u64, offset: usize) -> T {
        let mut word = MaybeUninit::<[u64; 1]>::uninit();
        Self::of(base, offset & !7, &mut word).get(offset)
    }

    /// The value at an offset of the structure. The verifier knows every offset, so one of the two branches is gone.
    #[inline(always)]
    pub(crate) fn get<T: Word>(&self, offset: usize) -> T {
        let at = offset.wrapping_sub(self.from);
        if at.wrapping_add(size_of::<T>()) <= self.bytes && at < self.bytes {
            // SAFETY: within the words; fields are aligned in the structure, and the window begins at a multiple of 8.
            unsafe { core::ptr::read_volatile(self.words.add(at).cast::<T>()) }
        } else {
            read(self.base, offset)
        }
    }
}

/// The running task, whose fields the verifier lets programs read themselves.
#[derive(Clone, Copy)]
pub(crate) struct Task(*const u8);

impl Task {
    #[inline(always)]
    pub(crate) fn running() -> Self {
        // SAFETY: no argument.
        Self(unsafe { bpf_get_current_task_btf() }.cast::<u8>())
    }

    #[inline(always)]
    pub(crate) fn status(self) -> u32 {
        // SAFETY: a field of the running task.
        unsafe { core::ptr::read_volatile(self.0.add(offset!(task_status)).cast::<u32>()) }
    }

    /// The `struct file` behind a descriptor, 0 if there is none.
    #[inline(always)]
    pub(crate) fn file(self, fd: u64) -> u64 {
        // SAFETY: pointers that the verifier knows by their type; a load through a wrong one reads as 0.
        let (max, array) = unsafe {
            let files = core::ptr::read_volatile(self.0.add(offset!(task_files)).cast::<*const u8>());
            let table = core::ptr::read_volatile(files.add(offset!(files_fdt)).cast::<*const u8>());
            (
                core::ptr::read_volatile(table.add(offset!(fdtable_max)).cast::<u32>()),
                core::ptr::read_volatile(table.add(offset!(fdtable_fd)).cast::<u64>()),
            )
        };
        if fd >= u64::from(max) { 0 } else { Window::one(array + fd * 8, 0) }
    }
}

/// Address of the running task.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: no argument.
    unsafe { bpf_get_current_task() }
}

/// The `struct file` behind a descriptor of the running task, 0 if there is none. Global, as [`account::attend`] is: where
/// the verifier follows a typed pointer, it looks through all types of the kernel.
///
/// [`account::attend`]: crate::account::attend
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn kernel_file_of(fd: u64) -> u64 {
    // A descriptor is an int: the kernel does not look at what a program left in the upper half of the register.
    Task::running().file(u64::from(fd as u32))
}

/// Whether another task shares the running one's descriptors, and may put another file in the place of one at any time.
#[inline(always)]
pub(crate) fn shares_descriptors() -> bool {
    let files: u64 = read(current(), offset!(task_files));
    read::<u32>(files, offset!(files_count)) > 1
}

/// Start of the process that a task belongs to, CLOCK_BOOTTIME in nanoseconds.
#[inline(always)]
pub(crate) fn process_start(task: u64) -> u64 {
    let leader: u64 = read(task, offset!(task_leader));
    read(leader, offset!(task_start))
}
