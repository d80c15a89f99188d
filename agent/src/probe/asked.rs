//! Calls that the kernel asks its security modules about, which have no safe wrapper: for the agent's known acts.
#![expect(unsafe_code, reason = "neither call has a safe wrapper")]

use std::io;

/// BPF_PROG_GET_NEXT_ID, linux/bpf.h.
const GET_NEXT_ID: libc::c_long = 11;

/// Asks for a byte of another process's memory, at an address that no process has.
pub fn look_at(pid: i32) -> io::Result<()> {
    let mut byte = 0_u8;
    let own = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let other = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 1 };
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
