//! Unix sockets: who is at the other end, as the kernel remembers it, and datagrams, which need no connection.

use agent_ebpf::{
    FoldKey, Member, Net,
    call::{Call, send},
    flag, hook, kind, level, net_op, peer,
};
use aya_ebpf::helpers::bpf_probe_read_user;

use crate::{
    account,
    globals::{offset, whose},
    kernel::{kernel_file_of, kernel_unknown, read, shares_descriptors},
    member,
    net::{self, AF_UNIX},
    syscall::Registers,
};

const SOCK_DGRAM: u16 = 2;
/// In `struct pid`, from the list of its threads to that of its process: one pointer further.
const OF_PROCESS: usize = 8;

/// The serial of the session of who is at the other end of a socket of the running task's; 0 if that is not known, as where another
/// task may have put another socket in its place since. One for datagrams remembers with whom it was made; that is who sends as long
/// as it has no name, by which others could reach it.
#[inline(always)]
pub(crate) fn session_of_peer(fd: u64) -> u64 {
    let socket: u64 = read(kernel_file_of(fd), offset!(file_private));
    let sk: u64 = read(socket, offset!(socket_sk));
    let is_named = read::<u64>(sk, offset!(unix_addr)) != 0;
    if shares_descriptors() || (is_named && read::<u16>(sk, offset!(sock_type)) == SOCK_DGRAM) {
        return 0;
    }
    unix_session_of(read(sk, offset!(sock_peer_pid)))
}

/// The serial of the session of a process that the kernel remembers, a `struct pid`; 0 if it has none, or is gone: its number
/// may be another's by now. Global, as [`account::attend`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn unix_session_of(process: u64) -> u64 {
    let task: u64 = read(process, offset!(pid_tasks) + OF_PROCESS);
    if process == 0 || task == 0 {
        return 0;
    }
    member::of(read(process, offset!(pid_numbers))).map_or(0, |member| member.serial)
}

/// Fills in who is at the other end, as a socket remembers it: the accepted one who connected, the listening one who listens,
/// and the connected one the same. One for datagrams remembers nobody, or with whom it was made, whatever it was connected to since:
/// then false.
///
/// # Safety
///
/// `body` is a record's own.
#[inline(always)]
pub(crate) unsafe fn peer_of(body: *mut Net, member: &Member, remembers: u64) -> bool {
    let process: u64 = read(remembers, offset!(sock_peer_pid));
    if process == 0 || read::<u16>(remembers, offset!(sock_type)) == SOCK_DGRAM {
        return false;
    }
    let serial = unix_session_of(process);
    // SAFETY: the caller's.
    unsafe {
        (*body).peer_uid = read(read::<u64>(remembers, offset!(sock_peer_cred)), offset!(cred_euid));
        (*body).peer_pid = read(process, offset!(pid_numbers));
        (*body).peer = if serial == member.serial { peer::MEMBER } else { peer::OUTSIDE };
    }
    true
}

/// Fills in whose the socket at the other end is.
///
/// # Safety
///
/// `body` is a record's own.
#[inline(always)]
pub(crate) unsafe fn owner_of(body: *mut Net, other: u64) {
    // SAFETY: the caller's.
    unsafe {
        (*body).peer_uid = read(other, offset!(sock_uid));
        (*body).peer = peer::OUTSIDE;
    }
}

/// `unix_stream_connect`: a connection to a socket that listens.
#[inline(always)]
pub(crate) fn connects(own: u64, other: u64) {
    tell(hook::CONNECT, net_op::CONNECT, own, other);
}

/// `unix_may_send`: a datagram to a socket, or the choice of it for those to come.
#[inline(always)]
pub(crate) fn may_send(own: u64, other: u64) {
    tell(hook::UNIX_SEND, net_op::SEND, read(own, offset!(socket_sk)), read(other, offset!(socket_sk)));
}

/// Sends the act of one socket on another, before it happens.
#[inline(always)]
fn tell(hook: u16, operation: u32, own: u64, other: u64) {
    let (pid, tid) = member::current_ids();
    let Some(member) = member::of(pid) else { return };
    let Some(ticket) = account::take(&member, hook) else { return };
    let Some(mut record) = account::begin::<Net>(&ticket) else { return };
    let body = record.body::<Net>();
    // SAFETY: the body lies in the scratch.
    unsafe {
        net::describe(body, own, AF_UNIX);
        (*body).operation = operation;
        (*body).level = level::OBJECT;
        if operation == net_op::SEND {
            owner_of(body, other);
        } else {
            peer_of(body, &member, other);
        }
    }
    net::unix_name(&mut record, other);
    if operation != net_op::SEND {
        record.finish(&ticket, kind::NET, pid, tid);
        return;
    }
    let sockets = [inode_of(own), inode_of(other)];
    let key = net::datagram_key(&ticket, pid, whose(member.start_ns as u32), AF_UNIX, sockets);
    // An address comes again when a socket is freed, a number after four thousand million of them: both at once do not.
    let key = FoldKey { ctime_ns: other, ..key };
    net::finish_folded(record, &ticket, &key, pid, tid);
}

/// The number of a socket's inode.
#[inline(always)]
fn inode_of(sk: u64) -> u64 {
    let socket: u64 = read(sk, offset!(sock_socket));
    read(socket + offset!(socket_inode) as u64, offset!(inode_ino))
}

/// The end of `sendto` or one of its kin, by a member, that succeeded: told where it names a unix socket, or does not say to which
/// socket. A datagram through a socket that was connected needs no name, and its `connect` was told; only datagrams have one.
#[inline(never)]
pub(crate) fn sent(member: &Member, word: u64, registers: *const Registers, result: i64) {
    // SAFETY: a tracepoint's argument, trusted by the verifier.
    let argument = |index| unsafe { Registers::argument(registers, index) };
    let operation = Call::unpack(word).operation;
    let [address, bytes] = if operation == send::TO { [argument(4), argument(5)] } else { name_in(argument(1)) };
    // Of several messages the first name is read.
    let several = operation == send::MESSAGES && result > 1;
    if operation == send::TO && address == 0 {
        return;
    }
    let file = kernel_file_of(argument(0));
    let sk: u64 = read(read::<u64>(file, offset!(file_private)), offset!(socket_sk));
    let is_unix = u32::from(read::<u16>(sk, offset!(sock_family))) == AF_UNIX;
    if !net::is_socket(file) || !is_unix || read::<u16>(sk, offset!(sock_type)) != SOCK_DGRAM {
        return;
    }
    let is_connected = read::<u64>(sk, offset!(unix_peer)) != 0;
    if address == 0 && is_connected && !several {
        return;
    }
    let (pid, tid) = member::current_ids();
    let Some(ticket) = account::take(member, hook::UNIX_SEND) else { return };
    let Some(mut record) = account::begin::<Net>(&ticket) else { return };
    let body = record.body::<Net>();
    // SAFETY: the body lies in the scratch.
    unsafe {
        net::describe(body, sk, AF_UNIX);
        (*body).operation = net_op::SEND;
        (*body).level = level::USER_ARGUMENT;
    }
    if !net::user_address(&mut record, address, kernel_unknown(bytes) as u32) {
        record.flags |= flag::USER_FAULT;
    }
    if several {
        record.flags |= flag::STRING_CUT;
    }
    record.finish(&ticket, kind::NET, pid, tid);
}

/// Address and length of the name in a `struct msghdr` of the program's.
#[inline(always)]
fn name_in(message: u64) -> [u64; 2] {
    // SAFETY: the helper checks the address.
    let [address, bytes] = unsafe { bpf_probe_read_user(message as *const [u64; 2]) }.unwrap_or_default();
    [address, bytes & 0xffff_ffff]
}
