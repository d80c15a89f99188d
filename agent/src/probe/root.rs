//! The root of a mount namespace, whatever the root of who asks: from within a chroot the kernel's paths lead nowhere.
#![expect(unsafe_code, reason = "unshare can take from other threads what they rely on, so it has no safe wrapper")]

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    thread,
};

use rustix::{
    fs::{Mode, OFlags, open},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

/// Opens the root of a mount namespace as a descriptor that only names; who enters one has its root. Needs the capabilities
/// CAP_SYS_ADMIN and CAP_SYS_CHROOT.
pub fn namespace_root(namespace: &OwnedFd) -> io::Result<OwnedFd> {
    let enter = || -> io::Result<OwnedFd> {
        // SAFETY: this thread has its own root and directory from now on, does nothing by either but what follows, and ends.
        unsafe { unshare_unsafe(UnshareFlags::FS)? };
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
        Ok(open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    };
    thread::scope(|scope| scope.spawn(enter).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread that looks panicked")))
}
