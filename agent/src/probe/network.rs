//! Namespaces of one's own: of the network, whose loopback device is up, and of System V IPC.
#![expect(unsafe_code, reason = "unshare can take from other threads what they rely on, so it has no safe wrapper")]

use std::{fs::File, io, os::fd::AsFd as _};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

/// RTM_NEWLINK, linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
/// NLM_F_REQUEST and NLM_F_ACK, linux/netlink.h.
const REQUEST_WITH_ANSWER: u16 = 1 | 4;
/// struct nlmsghdr and struct ifinfomsg.
const REQUEST_BYTES: u32 = 16 + 16;
/// The loopback device is the first of every namespace.
const LOOPBACK: i32 = 1;
/// IFF_UP, linux/if.h.
const UP: u32 = 1;

/// Takes the calling thread, which must be the only one, into a new network namespace; where there is none to be had with a loopback
/// device that is up, it stays where it was.
pub fn own_network() -> io::Result<()> {
    let before = File::open("/proc/self/ns/net")?;
    // SAFETY: a network namespace is no memory, descriptor or directory that another thread could rely on.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
    set_loopback_up().inspect_err(|_| {
        let _ = move_into_link_name_space(before.as_fd(), Some(LinkNameSpaceType::Network));
    })
}

fn set_loopback_up() -> io::Result<()> {
    let netlink = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::io::write(&netlink, &set_up(LOOPBACK))?;
    let mut answer = [0; 64];
    let bytes = rustix::io::read(&netlink, &mut answer)?;
    match error_of(&answer[..bytes]) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("the kernel's answer to RTM_NEWLINK is none")),
    }
}

/// Takes the calling thread into a new namespace of System V IPC.
pub fn own_ipc() -> io::Result<()> {
    // SAFETY: what lies there is found by number, and the caller has none.
    unsafe { unshare_unsafe(UnshareFlags::NEWIPC)? };
    Ok(())
}

/// The request that sets a device up.
fn set_up(device: i32) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(REQUEST_BYTES.to_ne_bytes());
    request.extend(NEW_LINK.to_ne_bytes());
    request.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    // Sequence, and the sender, whom the kernel fills in.
    request.extend([0; 8]);
    // Any family, no type.
    request.extend([0; 4]);
    request.extend(device.to_ne_bytes());
    request.extend(UP.to_ne_bytes());
    request.extend(UP.to_ne_bytes());
    request
}

/// The number of an NLMSG_ERROR, 0 or a negative errno.
fn error_of(answer: &[u8]) -> Option<i32> {
    answer.get(16..20)?.try_into().ok().map(i32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_length_and_an_answer_its_number() {
        assert_eq!(set_up(LOOPBACK).len(), REQUEST_BYTES as usize);
        let answer: Vec<u8> = [vec![0; 16], (-1_i32).to_ne_bytes().to_vec()].concat();
        assert_eq!(error_of(&answer), Some(-1));
        assert_eq!(error_of(&answer[..19]), None);
    }
}
