//! Calls that the kernel asks its security modules about, which have no safe wrapper: for the agent's known acts.
#![expect(unsafe_code, reason = "none of these calls has a safe wrapper")]

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    ptr::null_mut,
    sync::atomic::{AtomicBool, Ordering},
};

/// BPF_PROG_GET_NEXT_ID, linux/bpf.h.
const GET_NEXT_ID: libc::c_long = 11;
/// LOOP_CHANGE_FD, linux/loop.h.
const LOOP_CHANGE_FD: libc::c_ulong = 0x4c06;
/// KEYCTL_GET_KEYRING_ID, KEYCTL_JOIN_SESSION_KEYRING and KEY_SPEC_SESSION_KEYRING, linux/keyctl.h.
const GET_KEYRING_ID: libc::c_long = 0;
const JOIN_SESSION_KEYRING: libc::c_long = 1;
const SESSION_KEYRING: libc::c_long = -3;
/// PERF_TYPE_SOFTWARE; `exclude_kernel` and `exclude_hv` of `struct perf_event_attr`, and the size of its first version, linux/perf_event.h.
const SOFTWARE: u32 = 1;
const USER_ONLY: u64 = 1 << 5 | 1 << 6;
const EVENT_BYTES: u32 = 64;
/// What a page has at least.
const PAGE_BYTES: usize = 4096;

/// Asks for a byte of another process's memory, at an address that no process has.
pub fn look_at(pid: i32) -> io::Result<()> {
    let mut byte = 0_u8;
    let own = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let other = libc::iovec { iov_base: null_mut(), iov_len: 1 };
    // SAFETY: one vector each; the kernel writes at most a byte, to `byte`.
    let answer = unsafe { libc::process_vm_readv(pid, &raw const own, 1, &raw const other, 1, 0) };
    let error = io::Error::last_os_error();
    if answer < 0 && error.raw_os_error() == Some(libc::EFAULT) { Ok(()) } else { Err(error) }
}

/// Asks the kernel which BPF program is the first.
pub fn call_bpf() -> io::Result<()> {
    let mut attributes = [0_u32; 4];
    // SAFETY: the attributes live through the call, and are as long as it is told.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, GET_NEXT_ID, attributes.as_mut_ptr(), size_of_val(&attributes)) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An answer of the kernel that says an error by -1.
fn answered<T: PartialEq + From<i8>>(answer: T) -> io::Result<T> {
    if answer == T::from(-1) { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Asks the file, which is none, for another file under a loop device.
pub fn control(file: &File) -> io::Result<()> {
    // SAFETY: the request takes a number, and a file that is no loop device refuses it.
    match answered(unsafe { libc::ioctl(file.as_raw_fd(), LOOP_CHANGE_FD, -1) }) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("a file that is none is a loop device")),
    }
}

/// Maps a file as one that others may write, and forgets it.
pub fn map(file: &File) -> io::Result<()> {
    // SAFETY: the kernel chooses the place, nothing reads it, and nothing else lies there when it is gone.
    unsafe {
        let place = libc::mmap(null_mut(), PAGE_BYTES, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        answered(libc::munmap(place, PAGE_BYTES)).map(drop)
    }
}

/// Makes a page of its own executable, and forgets it.
pub fn protect() -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: as in `map`; the page is nobody else's.
    unsafe {
        let place = libc::mmap(null_mut(), PAGE_BYTES, libc::PROT_READ, flags, -1, 0);
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let protected = answered(libc::mprotect(place, PAGE_BYTES, libc::PROT_READ | libc::PROT_EXEC));
        answered(libc::munmap(place, PAGE_BYTES)).and(protected).map(drop)
    }
}

/// Makes a piece of shared memory, uses it and removes it.
pub fn share_memory() -> io::Result<()> {
    // SAFETY: a piece that nobody else can know of, gone when its last user is; the kernel chooses the place, and nothing reads it.
    unsafe {
        let id = answered(libc::shmget(libc::IPC_PRIVATE, PAGE_BYTES, libc::IPC_CREAT | 0o600))?;
        let place = libc::shmat(id, null_mut(), libc::SHM_RDONLY);
        let used = if place as isize == -1 { Err(io::Error::last_os_error()) } else { Ok(place) };
        // Before it is left: the host may remove a piece that nobody uses.
        answered(libc::shmctl(id, libc::IPC_RMID, null_mut()))
            .and(used)
            .and_then(|place| answered(libc::shmdt(place)))
            .map(drop)
    }
}

/// Makes a set of one semaphore, and removes it.
pub fn make_semaphore() -> io::Result<()> {
    // SAFETY: as in `share_memory`.
    unsafe {
        let id = answered(libc::semget(libc::IPC_PRIVATE, 1, libc::IPC_CREAT | 0o600))?;
        answered(libc::semctl(id, 0, libc::IPC_RMID)).map(drop)
    }
}

/// Makes a queue of messages, and removes it.
pub fn make_queue() -> io::Result<()> {
    // SAFETY: as in `share_memory`.
    unsafe {
        let id = answered(libc::msgget(libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600))?;
        answered(libc::msgctl(id, libc::IPC_RMID, null_mut())).map(drop)
    }
}

/// Asks for the number of a keyring of its own.
pub fn ask_for_key() -> io::Result<()> {
    static JOINED: AtomicBool = AtomicBool::new(false);
    // SAFETY: both take numbers; a keyring of no name is new, and in nobody's way.
    unsafe {
        if !JOINED.swap(true, Ordering::Relaxed) {
            answered(libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0))?;
        }
        answered(libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION_KEYRING, 0)).map(drop)
    }
}

/// Asks for an event, and is refused for its period after that was asked about: one that is there costs every switch between tasks.
pub fn ask_for_event() -> io::Result<()> {
    // Type and size; what is counted, how often, what is sampled and read; flags; and no wake-up, breakpoint or second setting.
    let attributes = [u64::from(EVENT_BYTES) << 32 | u64::from(SOFTWARE), 0, 1 << 63, 0, 0, USER_ONLY, 0, 0];
    // SAFETY: the attributes live through the call, and are as long as they say.
    match answered(unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 8) }) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("an event of no period is there")),
    }
}

/// Starts a process that makes a user namespace, and ends. The calling one must have one thread alone.
pub fn make_user_namespace() -> io::Result<()> {
    // SAFETY: the process has one thread, and nothing else in it relies on what it leaves.
    in_a_child(|| unsafe { libc::unshare(libc::CLONE_NEWUSER) == 0 })
}

/// Starts a process that asks to be traced by the calling one, which must have one thread alone, and ends.
pub fn trace_a_child() -> io::Result<()> {
    // SAFETY: the process ends before its tracer could want something of it.
    in_a_child(|| unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0 })
}

/// Whether a call succeeds in a process of its own.
fn in_a_child(call: impl FnOnce() -> bool) -> io::Result<()> {
    // SAFETY: no other thread can hold a lock that the child would wait for, and it makes two calls and ends.
    unsafe {
        let child = answered(libc::fork())?;
        if child == 0 {
            libc::_exit((!call()).into());
        }
        let mut status = 0;
        answered(libc::waitpid(child, &raw mut status, 0))?;
        if status == 0 { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}
