//! DNS: datagrams from and to port 53 of a session's sockets, as they are on the wire. Names are not looked for here.
//!
//! The programs run for every packet of the host: what is not such a datagram is let go after one read of its header. They only
//! look: no packet is held up.

use agent_ebpf::{DNS_BYTES_MAX, FOLD_DATAGRAM, FoldKey, Net, hook, level, net_op};
use aya_ebpf::{
    bindings::__sk_buff,
    cty::c_void,
    helpers::{bpf_get_socket_cookie, bpf_loop, bpf_skb_load_bytes},
};

use crate::{
    account::{self, Record, Ticket},
    globals::{DNS_SOCKETS, Scratch, SocketOwner, offset, place, scrambled, whose},
    kernel::{current, kernel_unknown, read},
    member, net,
};

pub(crate) const PORT: u16 = 53;
const IPPROTO_UDP: u8 = 17;
const SOCK_DGRAM: u32 = 2;
const UDP_HEADER_BYTES: u32 = 8;
/// Of IPv6, headers before the datagram's own that are passed: hop-by-hop, routing, fragment, destination.
const EXTENSIONS: [u8; 4] = [0, 43, 44, 60];
const FRAGMENT: u8 = 44;
const EXTENSIONS_MAX: u32 = 4;
/// Where the section with the message begins in the record.
const SECTION: u32 = (size_of::<agent_ebpf::Header>() + size_of::<Net>()) as u32;
const _: () = assert!(SECTION % 8 == 0);

/// A datagram from or to port 53.
struct Datagram {
    family: u32,
    /// Where its header begins in the packet.
    at: u32,
    /// In host order.
    source_port: u16,
    target_port: u16,
}

/// A packet of a socket: out, or in. In the latter case the running task is anybody's.
#[inline(always)]
pub(crate) fn passed(skb: *mut __sk_buff, operation: u32) {
    // SAFETY: the context of this program type.
    let protocol = unsafe { core::ptr::read_volatile(&raw const (*skb).protocol) } as u16;
    let found = match u16::from_be(protocol) {
        0x0800 => in_ipv4(skb),
        0x86dd => in_ipv6(skb),
        _ => None,
    };
    let Some(datagram) = found else { return };
    // SAFETY: the context of this program type.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let owner = if operation == net_op::DNS_SENT { sender(cookie) } else { known(cookie) };
    if let Some(owner) = owner {
        tell(skb, operation, &datagram, cookie, &owner);
    }
}

#[inline(always)]
fn load<const BYTES: usize>(skb: *mut __sk_buff, at: u32) -> Option<[u8; BYTES]> {
    let mut bytes = [0_u8; BYTES];
    // SAFETY: the helper writes as many bytes, or none.
    let failed = unsafe { bpf_skb_load_bytes(skb.cast(), at, bytes.as_mut_ptr().cast::<c_void>(), BYTES as u32) };
    (failed == 0).then_some(bytes)
}

#[inline(always)]
fn in_ipv4(skb: *mut __sk_buff) -> Option<Datagram> {
    let head = load::<24>(skb, 0)?;
    // Only the first fragment has ports; a socket's packets are whole, unless it makes their headers itself.
    if head[9] != IPPROTO_UDP || head[6] & 0x1f != 0 || head[7] != 0 {
        return None;
    }
    let at = u32::from(head[0] & 0xf) * 4;
    let ports = if at == 20 { [head[20], head[21], head[22], head[23]] } else { load::<4>(skb, at)? };
    datagram(net::AF_INET, at, ports)
}

#[inline(always)]
fn in_ipv6(skb: *mut __sk_buff) -> Option<Datagram> {
    let mut next = load::<1>(skb, 6)?[0];
    let (mut at, mut seen) = (40_u32, 0);
    while next != IPPROTO_UDP {
        if seen == EXTENSIONS_MAX || !EXTENSIONS.contains(&next) {
            return None;
        }
        let header = load::<4>(skb, at)?;
        if next == FRAGMENT && (header[2] != 0 || header[3] & 0xf8 != 0) {
            return None;
        }
        at += if next == FRAGMENT { 8 } else { (u32::from(header[1]) + 1) * 8 };
        next = header[0];
        seen += 1;
    }
    datagram(net::AF_INET6, at, load::<4>(skb, at)?)
}

#[inline(always)]
fn datagram(family: u32, at: u32, ports: [u8; 4]) -> Option<Datagram> {
    let source_port = u16::from_be_bytes([ports[0], ports[1]]);
    let target_port = u16::from_be_bytes([ports[2], ports[3]]);
    (source_port == PORT || target_port == PORT).then_some(Datagram { family, at, source_port, target_port })
}

/// Who sends: a datagram goes out within the call that sends it. Remembered for what comes in.
#[inline(always)]
fn sender(cookie: u64) -> Option<SocketOwner> {
    let task = current();
    let (pid, tid): (u32, u32) = (read(task, offset!(task_tgid)), read(task, offset!(task_pid)));
    match member::of(pid) {
        Some(member) => {
            let owner = SocketOwner { member, pid, tid };
            remember(cookie, &owner);
            Some(owner)
        }
        // A socket of the session's, of which somebody else has a descriptor.
        None => known(cookie).map(|owner| SocketOwner { pid: 0, tid: 0, ..owner }),
    }
}

/// Whose socket it is. Its process may be gone, and its id have been another's since: then nobody's is told.
#[inline(always)]
fn known(cookie: u64) -> Option<SocketOwner> {
    // SAFETY: the value is copied at once.
    let mut owner = unsafe { DNS_SOCKETS.get(&cookie) }.copied()?;
    if member::of(owner.pid).is_none_or(|now| now.start_ns != owner.member.start_ns) {
        owner.pid = 0;
        owner.tid = 0;
    }
    Some(owner)
}

#[inline(always)]
pub(crate) fn remember(cookie: u64, owner: &SocketOwner) {
    let _ = DNS_SOCKETS.insert(&cookie, owner, 0);
}

#[inline(always)]
fn tell(skb: *mut __sk_buff, operation: u32, datagram: &Datagram, cookie: u64, owner: &SocketOwner) {
    let Some(ticket) = account::take(&owner.member, hook::DNS) else { return };
    let Some(mut record) = account::begin::<Net>(&ticket) else { return };
    let body = record.body::<Net>();
    // SAFETY: the body lies in the scratch; the context of this program type.
    unsafe {
        net::clear(body);
        let at = datagram.at + UDP_HEADER_BYTES;
        let bytes = core::ptr::read_volatile(&raw const (*skb).len).saturating_sub(at);
        (*body).cookie = cookie;
        (*body).operation = operation;
        (*body).level = level::OBJECT;
        (*body).family = datagram.family;
        (*body).socket_type = SOCK_DGRAM;
        (*body).protocol = IPPROTO_UDP.into();
        (*body).segment_bytes = core::ptr::read_volatile(&raw const (*skb).gso_size).into();
        let (source, target) = ((&raw mut (*body).local).cast::<u8>(), (&raw mut (*body).remote).cast::<u8>());
        if operation == net_op::DNS_SENT {
            (*body).sent_bytes = bytes.into();
            (*body).local_port = datagram.source_port.into();
            (*body).remote_port = datagram.target_port.into();
            addresses(skb, datagram.family, source, target);
        } else {
            (*body).received_bytes = bytes.into();
            (*body).local_port = datagram.target_port.into();
            (*body).remote_port = datagram.source_port.into();
            addresses(skb, datagram.family, target, source);
        }
        message(skb, &mut record, at, bytes);
    }
    let key = key(&ticket, &record, owner, body);
    net::finish_folded(record, &ticket, &key, owner.pid, owner.tid);
}

/// Copies the addresses of source and target.
#[inline(always)]
unsafe fn addresses(skb: *mut __sk_buff, family: u32, source: *mut u8, target: *mut u8) {
    // SAFETY: the caller's places have sixteen bytes each.
    unsafe {
        if family == net::AF_INET {
            bpf_skb_load_bytes(skb.cast(), 12, source.cast(), 4);
            bpf_skb_load_bytes(skb.cast(), 16, target.cast(), 4);
        } else {
            bpf_skb_load_bytes(skb.cast(), 8, source.cast(), 16);
            bpf_skb_load_bytes(skb.cast(), 24, target.cast(), 16);
        }
    }
}

/// Appends the message, as much of it as is taken, and zeros up to a whole word.
#[inline(always)]
fn message(skb: *mut __sk_buff, record: &mut Record, at: u32, bytes: u32) {
    let taken = if bytes as usize > DNS_BYTES_MAX { DNS_BYTES_MAX as u32 } else { bytes };
    // The verifier wants to see that what is copied is neither nothing nor too much.
    let less = kernel_unknown(u64::from(taken.wrapping_sub(1))) as u32 & 0x7ff;
    // SAFETY: a cursor is at least one string below the buffer's end.
    unsafe {
        record.cursor().cast::<u16>().write_unaligned(taken as u16);
        record.at += 2;
        if taken != 0 {
            bpf_skb_load_bytes(skb.cast(), at, record.cursor().cast(), less + 1);
        }
        record.at += taken;
        record.cursor().cast::<u64>().write_unaligned(0);
    }
}

/// A walk over the message.
#[repr(C)]
struct Sum {
    scratch: *mut Scratch,
    sum: u64,
}

/// A word of it.
#[inline(never)]
extern "C" fn add(index: u32, sum: *mut Sum) -> i64 {
    // SAFETY: the caller's, as bpf_loop hands it over; the mask keeps the word within the buffer, and it is aligned.
    unsafe {
        let at = SECTION + (index & 0xff) * 8;
        let word = (&raw const (*(*sum).scratch).bytes).cast::<u8>().add(at as usize).cast::<u64>().read_volatile();
        // The message's id is another each time. It comes after the section's length.
        let word = if index == 0 { word & !0xffff_0000 } else { word };
        (*sum).sum = scrambled((*sum).sum, word);
    }
    0
}

/// The same message, but for its id, from one socket of a process to one peer, or from it, is a repeat. No known act is one.
#[inline(always)]
fn key(ticket: &Ticket, record: &Record, owner: &SocketOwner, body: *const Net) -> FoldKey {
    let mut sum = Sum { scratch: record.scratch, sum: 0 };
    let words = (record.at - SECTION + 7) / 8;
    // SAFETY: the callback takes the context it is given; the body lies in the scratch, any sixteen bytes are two integers.
    unsafe {
        bpf_loop(words, add as *const () as *mut c_void, (&raw mut sum).cast(), 0);
        let remote = (&raw const (*body).remote).cast::<[u64; 2]>().read();
        let ports = u64::from((*body).remote_port) | u64::from((*body).local_port) << 16;
        FoldKey {
            session: ticket.serial | u64::from(ticket.epoch) << 48,
            pid: owner.pid,
            access: FOLD_DATAGRAM | ticket.hook() << 16 | (*body).family & 0xffff,
            dentry: scrambled(sum.sum, (*body).sent_bytes + (*body).received_bytes),
            ctime_ns: ports | u64::from((*body).operation) << 32 | u64::from((*body).segment_bytes) << 40,
            size: (*body).cookie,
            place: place([remote[0], remote[1], 0, 0, 0, 0]).wrapping_add(whose(owner.member.start_ns as u32)),
        }
    }
}
