//! Asks the kernel whether anybody can write a file at this moment.
//!
//! A read lease is refused while the inode is open for writing or mapped shared and writable, by whichever name and from
//! whichever container. It is the one way for user space to see such a writer.
#![expect(unsafe_code, reason = "fcntl's lease and signal commands have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// fcntl(2): which signal tells of a broken lease. The crate libc lacks it for Linux.
const F_SETSIG: libc::c_int = 10;

/// Whether no writer has the file open and no shared writable mapping of it lives. `fd` is a regular file open for
/// reading only; a descriptor that merely names the file is refused with `EBADF`.
///
/// The lease is dropped at once: a writer that comes within these microseconds waits for them, and one that opens
/// without waiting in the same moment is told to try again.
///
/// # Errors
///
/// The kernel's answer where it grants no lease for another reason: the file is not ours and `CAP_LEASE` is missing
/// (`EACCES`), the file system has none (`EINVAL`), leases are turned off.
pub fn no_writer(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // A lease that is broken tells its holder by a signal, SIGIO if nothing is said, and SIGIO ends a process. SIGURG is
    // thrown away where nobody asks for it.
    control(fd, F_SETSIG, libc::SIGURG)?;
    match control(fd, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {}
        Err(refused) if refused.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Err(fault) => return Err(fault),
    }
    match control(fd, libc::F_SETLEASE, libc::F_UNLCK) {
        Ok(()) => Ok(true),
        // The kernel has taken it back already, for a writer that waited.
        Err(gone) if gone.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(fault) => Err(fault),
    }
}

fn control(fd: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed, so open; both commands take an integer and touch no memory of ours.
    let answer = unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
