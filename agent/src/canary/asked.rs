//! Acts for rounds where acts are seen as the kernel asks its security modules about them: at least one for each program there.
//!
//! All but one are counted together, and no other event may come between, or a program that is mute would not be missed: each is asked
//! about as often as it says, no more. A host may refuse some to everybody; those are not performed, and not counted: nobody says then
//! whether their programs see (docs/threats.md, row 30).

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::Path,
};

use rustix::{
    net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg},
    process::{chroot, getegid, geteuid, getppid},
    thread::{capabilities, set_capabilities, set_thread_gid, set_thread_uid},
};

use super::acts::{Act, INPUT, ONE, act};
use crate::probe;

/// As many as there are programs that tell acts, and one for mappings; sockets are made by others as well.
pub(super) const ASKED: &[Act] = &[
    Act { sockets: 2, ..act("receive a descriptor", ONE, |_| receive()) },
    act("look at another process", ONE, |_| look()),
    act("be the tracer of a child", ONE, |_| probe::trace_a_child()),
    act("make a user namespace", ONE, |_| probe::make_user_namespace()),
    act("call bpf", ONE, |_| probe::call_bpf()),
    act("use a privilege", ONE, |_| Ok(chroot("/")?)),
    act("map a file", &[("mapping", 1)], |directory| probe::map(&input(directory)?)),
    act("make memory executable", ONE, |_| probe::protect()),
    act("be the user that it is", ONE, |_| Ok(set_thread_uid(geteuid())?)),
    act("be of the group that it is", ONE, |_| Ok(set_thread_gid(getegid())?)),
    act("have the capabilities that it has", ONE, |_| Ok(set_capabilities(None, capabilities(None)?)?)),
    act("share memory", &[("act", 2)], |_| probe::share_memory()),
    act("make a semaphore", ONE, |_| probe::make_semaphore()),
    act("make a queue of messages", ONE, |_| probe::make_queue()),
    act("ask for a keyring", ONE, |_| probe::ask_for_key()),
    act("ask for an event", ONE, |_| probe::ask_for_event()),
    act("control a device", ONE, |directory| probe::control(&input(directory)?)),
];

fn input(directory: &Path) -> io::Result<File> {
    File::open(directory.join(INPUT))
}

fn look() -> io::Result<()> {
    let parent = getppid().ok_or(io::ErrorKind::NotFound)?;
    probe::look_at(parent.as_raw_nonzero().get())
}

/// A descriptor through a socket to itself.
fn receive() -> io::Result<()> {
    let (sends, receives) = UnixStream::pair()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    let given = [receives.as_fd()];
    message.push(SendAncillaryMessage::ScmRights(&given));
    sendmsg(&sends, &[IoSlice::new(b"x")], &mut message, SendFlags::empty())?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&receives, &mut [IoSliceMut::new(&mut [0])], &mut message, RecvFlags::empty())?;
    if message.drain().next().is_some() { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}
