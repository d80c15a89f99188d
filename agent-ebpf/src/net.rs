//! Sockets: addresses from the kernel's copies and from the socket itself, bytes at a TCP connection's close.

use agent_ebpf::{CANARY, FOLD_DATAGRAM, FoldKey, FoldValue, Member, Net, flag, hook, kind, level, net_op, peer};
use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_socket_cookie, bpf_probe_read_kernel_buf, bpf_probe_read_user_buf},
    programs::SockAddrContext,
};

use crate::{
    account::{self, Record, Ticket},
    atomic, dns,
    globals::{FOLD, SOCKETS, SocketOwner, offset, whose},
    kernel::{kernel_file_of, read},
    member, path, unix,
};

pub(crate) const AF_UNIX: u32 = 1;
pub(crate) const AF_INET: u32 = 2;
pub(crate) const AF_INET6: u32 = 10;
const TCP_CLOSE: i32 = 7;
const IPPROTO_TCP: u32 = 6;
const EINPROGRESS: i32 = 115;
/// Bit of `SOCK_DONE` in `sk_flags`: the peer's FIN arrived.
const SOCK_DONE: u64 = 1 << 1;
/// sizeof(struct sockaddr_un).
const SUN_BYTES: usize = 110;

/// cgroup `connect4`, `sendmsg4`: the kernel's copy of the address, before the act.
#[inline(always)]
pub(crate) fn attempt4(ctx: &SockAddrContext, operation: u32, hook: u16) {
    let addr = ctx.sock_addr;
    // SAFETY: the context of this program type; network order. Volatile, so that no two words become one load.
    let (ip, port) = unsafe { (word(&raw const (*addr).user_ip4), word(&raw const (*addr).user_port)) };
    attempt(ctx, operation, hook, AF_INET, [ip, 0, 0, 0], port);
}

/// cgroup `connect6`, `sendmsg6`.
#[inline(always)]
pub(crate) fn attempt6(ctx: &SockAddrContext, operation: u32, hook: u16) {
    let addr = ctx.sock_addr;
    // SAFETY: as in `attempt4`.
    let (remote, port) = unsafe {
        let ip = &raw const (*addr).user_ip6;
        let ip = ip.cast::<u32>();
        ([word(ip), word(ip.add(1)), word(ip.add(2)), word(ip.add(3))], word(&raw const (*addr).user_port))
    };
    attempt(ctx, operation, hook, AF_INET6, remote, port);
}

/// A word of a program's context: the verifier allows them one by one only.
#[inline(always)]
unsafe fn word(at: *const u32) -> u32 {
    // SAFETY: the caller's.
    unsafe { core::ptr::read_volatile(at) }
}

#[inline(always)]
fn attempt(ctx: &SockAddrContext, operation: u32, hook: u16, family: u32, remote: [u32; 4], port: u32) {
    let (pid, tid) = member::current_ids();
    let Some(member) = member::of(pid) else { return };
    let Some(ticket) = account::take(&member, hook) else { return };
    // SAFETY: the context of this program type.
    let (socket_type, protocol) =
        unsafe { (word(&raw const (*ctx.sock_addr).type_), word(&raw const (*ctx.sock_addr).protocol)) };
    // SAFETY: the context of this program type.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.sock_addr.cast()) };
    let body = Net {
        sent_bytes: 0,
        received_bytes: 0,
        cookie,
        operation,
        level: level::OBJECT,
        result: 0,
        family,
        socket_type,
        protocol,
        local_port: 0,
        remote_port: u32::from((port as u16).swap_bytes()),
        local: bytes([0; 4]),
        remote: bytes(remote),
        segment_bytes: 0,
        peer: peer::NONE,
        peer_pid: 0,
        peer_uid: 0,
        reserved: 0,
    };
    if body.remote_port == u32::from(dns::PORT) {
        dns::remember(cookie, &SocketOwner { member, pid, tid });
    }
    let start = member.start_ns as u32;
    if operation == net_op::SEND && repeated(&ticket, pid, start, &body) {
        return;
    }
    if account::send(&ticket, kind::NET, pid, tid, body) && operation == net_op::SEND && ticket.serial & CANARY == 0 {
        let value = FoldValue::of(ticket.number, ticket.cpu(), ticket.hook());
        let _ = FOLD.insert(&send_key(&ticket, pid, start, &body), &value, u64::from(BPF_NOEXIST));
    }
}

/// Words as the bytes they are; byte by byte the compiler would make a loop of it.
#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: any four integers are sixteen bytes.
    unsafe { core::mem::transmute(words) }
}

/// Datagrams of a process from one socket to one peer are repeats.
#[inline(always)]
fn send_key(ticket: &Ticket, pid: u32, start: u32, body: &Net) -> FoldKey {
    // SAFETY: any sixteen bytes are two integers.
    let halves: [u64; 2] = unsafe { core::mem::transmute(body.remote) };
    FoldKey {
        ctime_ns: u64::from(body.remote_port),
        ..datagram_key(ticket, pid, halves[1].wrapping_add(whose(start)), body.family, [halves[0], body.cookie])
    }
}

/// The key of datagrams by two numbers that tell the sockets.
#[inline(always)]
pub(crate) fn datagram_key(ticket: &Ticket, pid: u32, place: u64, family: u32, sockets: [u64; 2]) -> FoldKey {
    FoldKey {
        session: ticket.serial | u64::from(ticket.epoch) << 48,
        pid,
        access: FOLD_DATAGRAM | ticket.hook() << 16 | family & 0xffff,
        dentry: sockets[0],
        ctime_ns: 0,
        size: sockets[1],
        place,
    }
}

/// Counts a repeat, or sends the record and stands for those to come. No known act is a repeat.
#[inline(always)]
pub(crate) fn finish_folded(record: Record, ticket: &Ticket, key: &FoldKey, pid: u32, tid: u32) {
    if let Some(value) = FOLD.get_ptr_mut(key) {
        // SAFETY: a field of a map value; 8-byte aligned.
        unsafe { atomic::fetch_add(&raw mut (*value).count, 1) };
        ticket.coalesced();
        record.drop_unsent();
    } else if record.finish(ticket, kind::NET, pid, tid) && ticket.serial & CANARY == 0 {
        let value = FoldValue::of(ticket.number, ticket.cpu(), ticket.hook());
        let _ = FOLD.insert(key, &value, u64::from(BPF_NOEXIST));
    }
}

#[inline(always)]
fn repeated(ticket: &Ticket, pid: u32, start: u32, body: &Net) -> bool {
    let Some(value) = FOLD.get_ptr_mut(&send_key(ticket, pid, start, body)) else { return false };
    // SAFETY: a field of a map value; 8-byte aligned.
    unsafe { atomic::fetch_add(&raw mut (*value).count, 1) };
    ticket.coalesced();
    true
}

/// A system call on a socket, at its end.
pub(crate) struct Call {
    pub(crate) hook: u16,
    pub(crate) operation: u32,
    pub(crate) fd: u64,
    pub(crate) result: i32,
    /// The sockaddr argument, in the program's memory.
    pub(crate) address: u64,
    pub(crate) address_bytes: u32,
}

/// Whether a `struct file` is a socket's.
#[inline(always)]
pub(crate) fn is_socket(file: u64) -> bool {
    const S_IFMT: u16 = 0o170_000;
    const S_IFSOCK: u16 = 0o140_000;
    let inode: u64 = read(file, offset!(file_inode));
    read::<u16>(inode, offset!(inode_mode)) & S_IFMT == S_IFSOCK
}

/// The end of `connect`, `bind` or `accept`: the socket's own addresses where the call succeeded.
#[inline(never)]
pub(crate) fn called(member: &Member, pid: u32, tid: u32, call: &Call) {
    let file = kernel_file_of(call.fd);
    if !is_socket(file) {
        return;
    }
    let socket: u64 = read(file, offset!(file_private));
    let sk: u64 = read(socket, offset!(socket_sk));
    let Some(ticket) = account::take(member, call.hook) else { return };
    let Some(mut record) = account::begin::<Net>(&ticket) else { return };
    let reached = call.result == 0 || call.result == -EINPROGRESS;
    let family = u32::from(read::<u16>(sk, offset!(sock_family)));
    let body = record.body::<Net>();
    // SAFETY: the body lies in the scratch.
    unsafe {
        describe(body, sk, family);
        (*body).operation = call.operation;
        (*body).result = call.result;
        (*body).level = if reached { level::RETURNED_OBJECT } else { level::USER_ARGUMENT };
    }
    if family == AF_UNIX && reached {
        // After a connection the name is the other's, else the socket's own.
        let other = if call.operation == net_op::CONNECT { read(sk, offset!(unix_peer)) } else { 0 };
        // SAFETY: as above.
        unsafe {
            if call.operation != net_op::BIND && !unix::peer_of(body, member, sk) && other != 0 {
                unix::owner_of(body, other);
            }
        }
        unix_name(&mut record, if call.operation == net_op::CONNECT { other } else { sk });
    } else if reached {
        path::append_nothing(&mut record);
    } else {
        // A bad pointer is the very reason the call failed: nothing is cut.
        user_address(&mut record, call.address, call.address_bytes);
    }
    record.finish(&ticket, kind::NET, pid, tid);
    if reached && call.operation != net_op::BIND {
        own(member, pid, tid, sk, family);
    }
}

/// Fills in what the socket itself says, field by field: a copy would cost the stack.
#[inline(always)]
pub(crate) unsafe fn describe(body: *mut Net, sk: u64, family: u32) {
    // SAFETY: the caller's record.
    unsafe {
        clear(body);
        (*body).cookie = read(sk, offset!(sock_cookie));
        (*body).level = level::RETURNED_OBJECT;
        (*body).family = family;
        (*body).socket_type = u32::from(read::<u16>(sk, offset!(sock_type)));
        (*body).protocol = u32::from(read::<u16>(sk, offset!(sock_protocol)));
        if family == AF_INET {
            (*body).remote.as_mut_ptr().cast::<u32>().write(read(sk, offset!(sock_daddr)));
            (*body).local.as_mut_ptr().cast::<u32>().write(read(sk, offset!(sock_rcv_saddr)));
        } else if family == AF_INET6 {
            (*body).remote = bytes(read(sk, offset!(sock_v6_daddr)));
            (*body).local = bytes(read(sk, offset!(sock_v6_rcv_saddr)));
        } else {
            return;
        }
        (*body).remote_port = u32::from(read::<u16>(sk, offset!(sock_dport)).swap_bytes());
        (*body).local_port = u32::from(read::<u16>(sk, offset!(sock_num)));
    }
}

/// Word by word, volatile: the compiler would make a loop over bytes of it.
#[inline(always)]
pub(crate) unsafe fn clear(body: *mut Net) {
    let mut word = 0;
    while word < size_of::<Net>() / 8 {
        // SAFETY: the caller's record; zeros are a value of it.
        unsafe { body.cast::<u64>().add(word).write_volatile(0) };
        word += 1;
    }
}

const _: () = assert!(size_of::<Net>() % 8 == 0);

/// Appends the name of a unix socket.
#[inline(always)]
pub(crate) fn unix_name(record: &mut Record, sk: u64) {
    let address: u64 = read(sk, offset!(unix_addr));
    // The length counts the two bytes of the family.
    let bytes = read::<u32>(address, offset!(unix_address_len)).wrapping_sub(2);
    let source = address + offset!(unix_address_name) as u64 + 2;
    if sk == 0 || address == 0 || bytes > 108 {
        return path::append_nothing(record);
    }
    append_bytes(record, bytes, |buffer| {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel_buf(source as *const u8, buffer) }.is_ok()
    });
}

/// Appends the sockaddr that the program gave, whole; false if it cannot be read.
#[inline(always)]
pub(crate) fn user_address(record: &mut Record, address: u64, bytes: u32) -> bool {
    let bytes = if bytes as usize > SUN_BYTES { SUN_BYTES as u32 } else { bytes };
    record.flags |= flag::SOCKADDR;
    let mut copied = false;
    append_bytes(record, bytes, |buffer| {
        // SAFETY: the helper checks the address.
        copied = unsafe { bpf_probe_read_user_buf(address as *const u8, buffer) }.is_ok();
        true
    });
    copied
}

#[inline(always)]
fn append_bytes(record: &mut Record, bytes: u32, copy: impl FnOnce(&mut [u8]) -> bool) {
    // SAFETY: a word of this frame. Volatile, so that the verifier sees the bound on all of it.
    let bytes = unsafe { core::ptr::read_volatile(&raw const bytes) } & 0x7f;
    // SAFETY: a cursor is at least one string below the buffer's end.
    let copied = unsafe {
        record.cursor().cast::<u16>().write_unaligned(bytes as u16);
        record.at += 2;
        copy(core::slice::from_raw_parts_mut(record.cursor(), bytes as usize))
    };
    if !copied {
        record.flags |= flag::OBJECT_FAULT;
    }
    record.at += bytes;
}

/// `sock_graft`: a member takes a connection.
#[inline(always)]
pub(crate) fn accepted(sk: u64) {
    let (pid, tid) = member::current_ids();
    let Some(member) = member::of(pid) else { return };
    let Some(ticket) = account::take(&member, hook::ACCEPT) else { return };
    let Some(mut record) = account::begin::<Net>(&ticket) else { return };
    let family = u32::from(read::<u16>(sk, offset!(sock_family)));
    let body = record.body::<Net>();
    // SAFETY: the body lies in the scratch.
    unsafe {
        describe(body, sk, family);
        (*body).operation = net_op::ACCEPT;
        (*body).level = level::OBJECT;
    }
    if family == AF_UNIX {
        // SAFETY: as above.
        unsafe { unix::peer_of(body, &member, sk) };
        unix_name(&mut record, sk);
    } else {
        path::append_nothing(&mut record);
    }
    record.finish(&ticket, kind::NET, pid, tid);
    own(&member, pid, tid, sk, family);
}

/// `socket_connect`, `socket_bind`: the kernel's copy of the address, before the act.
#[inline(always)]
pub(crate) fn addressed(hook: u16, operation: u32, socket: u64, address: u64, bytes: u32) {
    let (pid, tid) = member::current_ids();
    let Some(member) = member::of(pid) else { return };
    let Some(ticket) = account::take(&member, hook) else { return };
    let Some(mut record) = account::begin::<Net>(&ticket) else { return };
    let sk: u64 = read(socket, offset!(socket_sk));
    let family = u32::from(read::<u16>(sk, offset!(sock_family)));
    let body = record.body::<Net>();
    // SAFETY: the body lies in the scratch.
    unsafe {
        describe(body, sk, family);
        (*body).operation = operation;
        (*body).level = level::OBJECT;
    }
    let bytes = if bytes as usize > SUN_BYTES { SUN_BYTES as u32 } else { bytes };
    record.flags |= flag::SOCKADDR;
    append_bytes(&mut record, bytes, |buffer| {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel_buf(address as *const u8, buffer) }.is_ok()
    });
    record.finish(&ticket, kind::NET, pid, tid);
    if operation == net_op::CONNECT {
        own(&member, pid, tid, sk, family);
    }
}

/// Remembers whose a TCP socket is, for its close.
#[inline(always)]
fn own(member: &Member, pid: u32, tid: u32, sk: u64, family: u32) {
    if family == AF_INET || family == AF_INET6 {
        let owner = SocketOwner { member: *member, pid, tid };
        let _ = SOCKETS.insert(&sk, &owner, 0);
    }
}

/// Bytes of content: the kernel counts the peer's FIN, which has a sequence number but no byte, as one.
#[inline(always)]
fn received(sk: u64) -> u64 {
    let counted: u64 = read(sk, offset!(tcp_received));
    let ended = read::<u64>(sk, offset!(sock_flags)) & SOCK_DONE;
    if counted > 0 { counted - ended / SOCK_DONE } else { 0 }
}

/// `inet_sock_set_state`: a TCP connection that a member opened or accepted is closed. May run in a softirq of any task.
#[inline(always)]
pub(crate) fn state(sk: u64, new: i32) {
    if new != TCP_CLOSE {
        return;
    }
    // SAFETY: the value is copied at once.
    let Some(owner) = unsafe { SOCKETS.get(&sk) }.copied() else { return };
    let _ = SOCKETS.remove(&sk);
    let Some(ticket) = account::take(&owner.member, hook::CLOSE) else { return };
    let family = u32::from(read::<u16>(sk, offset!(sock_family)));
    let Some(mut record) = account::begin::<Net>(&ticket) else { return };
    let body = record.body::<Net>();
    // SAFETY: the body lies in the scratch.
    unsafe {
        describe(body, sk, family);
        (*body).operation = net_op::CLOSE;
        if (*body).protocol == IPPROTO_TCP {
            (*body).sent_bytes = read(sk, offset!(tcp_sent));
            (*body).received_bytes = received(sk);
        }
    }
    path::append_nothing(&mut record);
    record.finish(&ticket, kind::NET, owner.pid, owner.tid);
}
