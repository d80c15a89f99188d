//! Decoded events as frames of the log.

use std::collections::HashMap;

use agent_ebpf::{attention, flag, net_op};
use attestation::codes;
use proto::evidence::{self as log, event::Body, frame};

use super::{consequences, files::Files, names::absolute, weak_truncation};
use crate::{
    content::Content,
    decode::{self, Event},
    probe,
};

/// A blind spot that an event makes known: its code and detail.
pub(super) type Spot = Option<(&'static str, String)>;

/// The frame of an event, with its file's id; accesses go to the hashers on the way.
pub(super) fn of(
    event: Event,
    files: &mut Files,
    live: &HashMap<u32, u64>,
    content: &mut Content,
) -> (log::Event, Spot) {
    let head = checked(event.head, &event.body);
    let mut spot = None;
    let body = match event.body {
        decode::Body::Fork(fork) => {
            Body::Fork(log::Fork { child_pid: fork.child_pid, child_start_ns: fork.child_start_ns })
        }
        decode::Body::Exec { fixed, path, filename, interpreter, directory } => {
            let binary = files.binary(path, &fixed, &head, content);
            Body::Exec(exec(&fixed, binary, filename, interpreter, directory))
        }
        decode::Body::Args { offset, data } => Body::ExecArgs(log::ExecArgs { offset, data, args_bytes: None }),
        decode::Body::Exit(exit) => Body::Exit(log::Exit {
            status: exit.status,
            utime_ns: exit.utime_ns,
            stime_ns: exit.stime_ns,
            max_rss_bytes: exit.max_rss_bytes,
            start_ns: exit.start_ns,
        }),
        decode::Body::Open { file, access, fd } => {
            let open = files.opened(file, access, fd, &head, content);
            spot = files.consequence(open.file_id, access, live);
            Body::Open(open)
        }
        decode::Body::OpenKnown(known) => {
            let (open, said) = known_open(&known, &head, files, live, content);
            spot = said;
            Body::Open(open)
        }
        decode::Body::Name { fixed, from, to } => {
            let change = log::NameChange {
                operation: i32::try_from(fixed.operation).unwrap_or_default(),
                path: absolute(&from),
                target: target(fixed.operation, to),
                result: fixed.result,
                level: i32::try_from(fixed.level).unwrap_or_default(),
            };
            content.name_changed(change.operation(), &change.path, &change.target, head.boottime_ns);
            if weak_truncation(&head, fixed.level) {
                spot = Some((codes::WEAK_HOOK, "a file was truncated by its name".to_owned()));
            }
            Body::Name(change)
        }
        decode::Body::Net { fixed, address } => {
            let act = network(&head, &fixed, address);
            spot = consequences::of_contact(&act);
            Body::Network(act)
        }
        decode::Body::Act { fixed, texts } => {
            let (act, said) = act(&fixed, texts);
            spot = said;
            Body::Act(act)
        }
        decode::Body::Joined(joined) => {
            Body::Joined(log::Joined { start_ns: joined.start_ns, cgroup_id: joined.cgroup_id })
        }
        decode::Body::Outside(outside) => {
            match outside.reused {
                0 => content.outside_write(outside.dev, outside.ino),
                _ => content.number_reused(outside.dev, outside.ino),
            }
            Body::OutsideWrite(log::OutsideWrite { dev: outside.dev, ino: outside.ino })
        }
        decode::Body::Attention(told) => {
            Body::Attention(log::Attention { code: code(told.code).to_owned(), detail: told.detail })
        }
        decode::Body::Provisional { fixed, name } => {
            Body::Provisional(log::Provisional { cgroup_id: fixed.cgroup_id, parent_id: fixed.parent_id, name })
        }
    };
    (framed(&head, body), spot)
}

/// An access of a version that was told, and what it says of the session.
fn known_open(
    known: &agent_ebpf::OpenKnown,
    head: &decode::Head,
    files: &mut Files,
    live: &HashMap<u32, u64>,
    content: &mut Content,
) -> (log::Open, Spot) {
    match files.again(known, head, content) {
        Some(open) => {
            let spot = files.consequence(open.file_id, open.access, live);
            (open, spot)
        }
        None => {
            content.lost();
            let spot = Some((codes::DECODE_FAILED, "an access of a file that was not told".to_owned()));
            (log::Open { file_id: u64::MAX, file: None, access: known.access, fd: known.fd }, spot)
        }
    }
}

/// The frame of an event of the agent's own known acts: that it came is all that is told.
pub(super) fn canary(head: &decode::Head) -> frame::Body {
    frame::Body::Event(framed(head, Body::Canary(log::CanaryEvent {})))
}

fn framed(head: &decode::Head, body: Body) -> log::Event {
    log::Event {
        hook: head.hook.into(),
        cpu: head.cpu,
        epoch: head.epoch,
        number: head.number,
        boottime_ns: head.boottime_ns,
        pid: head.pid,
        tid: head.tid,
        flags: head.flags,
        body: Some(body),
    }
}

fn exec(
    fixed: &agent_ebpf::Exec,
    binary: log::File,
    filename: Vec<u8>,
    interpreter: Vec<u8>,
    directory: Vec<u8>,
) -> log::Exec {
    log::Exec {
        binary: Some(binary),
        filename,
        interpreter,
        directory,
        uid: fixed.uid,
        gid: fixed.gid,
        euid: fixed.euid,
        egid: fixed.egid,
        cap_effective: fixed.cap_effective,
        pid_ns: fixed.pid_ns,
        mnt_ns: fixed.mnt_ns,
        net_ns: fixed.net_ns,
        user_ns: fixed.user_ns,
        args_bytes: fixed.args_bytes,
    }
}

/// A call by its name, and what it says of the session.
fn act(fixed: &agent_ebpf::Act, texts: Vec<Vec<u8>>) -> (log::Act, Spot) {
    let Some(call) = probe::call_name(fixed.call) else {
        return (log::Act::default(), Some((codes::DECODE_FAILED, format!("the system call {}", fixed.call))));
    };
    let act = log::Act {
        call: call.to_owned(),
        arguments: fixed.arguments.to_vec(),
        result: fixed.result,
        texts: texts.into_iter().map(without_end).collect(),
        outside: fixed.outside != 0,
        dev: fixed.dev,
        ino: fixed.ino,
    };
    let spot = consequences::of_act(&act);
    (act, spot)
}

/// A string of the kernel side's without the NUL that ends it.
fn without_end(mut text: Vec<u8>) -> Vec<u8> {
    if text.last() == Some(&0) {
        text.pop();
    }
    text
}

/// A symlink's target is its text as given; every other second name is resolved.
fn target(operation: u32, to: Option<decode::Given>) -> Vec<u8> {
    match to {
        Some(to) if operation == agent_ebpf::name_op::SYMLINK => to.name,
        Some(to) => absolute(&to),
        None => Vec::new(),
    }
}

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

fn network(head: &decode::Head, fixed: &agent_ebpf::Net, address: Vec<u8>) -> log::Network {
    let bytes = match fixed.family {
        AF_INET => 4,
        AF_INET6 => 16,
        _ => 0,
    };
    let dns = [net_op::DNS_SENT, net_op::DNS_RECEIVED].contains(&fixed.operation).then(|| dns(fixed, &address));
    let whole = head.flags & flag::SOCKADDR != 0;
    let given = if whole { Some(given(&address).unwrap_or_default()) } else { None };
    // A bind names the socket's own end.
    let bound = fixed.operation == net_op::BIND;
    let (local, local_port) = match &given {
        Some(given) if bound => given.clone(),
        _ => (fixed.local[..bytes].to_vec(), fixed.local_port),
    };
    let (remote, remote_port) = match given {
        Some(given) if !bound || fixed.family == AF_UNIX => given,
        Some(_) => (Vec::new(), 0),
        None if fixed.family == AF_UNIX => (unix_name(&address).to_vec(), 0),
        None => (fixed.remote[..bytes].to_vec(), fixed.remote_port),
    };
    log::Network {
        operation: i32::try_from(fixed.operation).unwrap_or_default(),
        family: fixed.family,
        r#type: fixed.socket_type,
        protocol: fixed.protocol,
        local,
        local_port,
        remote,
        remote_port,
        cookie: fixed.cookie,
        result: fixed.result,
        sent_bytes: fixed.sent_bytes,
        received_bytes: fixed.received_bytes,
        level: i32::try_from(fixed.level).unwrap_or_default(),
        dns,
        peer: peer(fixed),
    }
}

/// The name of a unix datagram's receiver is read when the datagram has gone. The kernel takes no name of another family: where it is
/// one, it was changed since, and counts as not read.
fn checked(head: decode::Head, body: &decode::Body) -> decode::Head {
    let decode::Body::Net { fixed, address } = body else { return head };
    let is_named = head.flags & flag::SOCKADDR != 0 && fixed.family == AF_UNIX && fixed.operation == net_op::SEND;
    let is_changed = is_named && !address.starts_with(&1_u16.to_ne_bytes());
    decode::Head { flags: head.flags | if is_changed { flag::USER_FAULT } else { 0 }, ..head }
}

/// Who is at the other end of a unix socket, where the kernel says it.
fn peer(fixed: &agent_ebpf::Net) -> Option<log::Peer> {
    let outside = match fixed.peer {
        agent_ebpf::peer::MEMBER => false,
        agent_ebpf::peer::OUTSIDE => true,
        _ => return None,
    };
    Some(log::Peer { pid: fixed.peer_pid, uid: fixed.peer_uid, outside })
}

/// What a DNS message says. One that could not be taken whole says so, and what is no question stands as it was.
fn dns(fixed: &agent_ebpf::Net, message: &[u8]) -> log::Dns {
    let several = fixed.segment_bytes != 0;
    let first = usize::try_from(fixed.segment_bytes).ok().filter(|_| several).and_then(|bytes| message.get(..bytes));
    let read = decode::dns::read(first.unwrap_or(message));
    let cut = fixed.sent_bytes.max(fixed.received_bytes) > message.len() as u64;
    let fault = match (several, cut, read.malformed) {
        (true, ..) => Some("several"),
        (_, true, _) => Some("cut"),
        (.., true) => Some("malformed"),
        _ => None,
    };
    let question = |one: decode::dns::Question| log::DnsQuestion {
        name: one.name,
        r#type: one.rtype.into(),
        class: one.class.into(),
    };
    let record = |one: decode::dns::Answer| log::DnsRecord {
        name: one.question.name,
        r#type: one.question.rtype.into(),
        class: one.question.class.into(),
        data: one.data,
    };
    log::Dns {
        response: read.response,
        opcode: read.opcode.into(),
        rcode: read.rcode.into(),
        questions: read.questions.into_iter().map(question).collect(),
        answers: read.answers.into_iter().map(record).collect(),
        fault: fault.map(str::to_owned),
        message: (several || read.malformed || read.opcode != 0).then(|| message.to_vec()),
    }
}

/// A path ends at its NUL, which the kernel's length counts; an abstract name begins with one and has any bytes.
fn unix_name(name: &[u8]) -> &[u8] {
    match name.iter().position(|byte| *byte == 0) {
        Some(end) if end > 0 => &name[..end],
        _ => name,
    }
}

/// Address and port of a sockaddr; of AF_UNIX the path. None for another family, such as AF_UNSPEC, which dissolves.
fn given(sockaddr: &[u8]) -> Option<(Vec<u8>, u32)> {
    let family = u32::from(u16::from_ne_bytes([*sockaddr.first()?, *sockaddr.get(1)?]));
    let port = || sockaddr.get(2..4).map(|port| u32::from(u16::from_be_bytes([port[0], port[1]])));
    match family {
        AF_INET => Some((sockaddr.get(4..8)?.to_vec(), port()?)),
        AF_INET6 => Some((sockaddr.get(8..24)?.to_vec(), port()?)),
        AF_UNIX => Some((unix_name(sockaddr.get(2..)?).to_vec(), 0)),
        _ => None,
    }
}

/// The stable code of what the kernel side reports.
fn code(told: u32) -> &'static str {
    match told {
        attention::IO_URING => codes::IO_URING_USED,
        attention::COMPAT_SYSCALL => codes::COMPAT_SYSCALL,
        attention::MEMBERS_FULL => codes::MEMBERS_FULL,
        attention::WATCH_FULL => codes::WATCH_FULL,
        attention::NO_SLOT => codes::NO_SLOT,
        attention::NO_SCRATCH => codes::NO_SCRATCH,
        attention::REACHED_FROM_OUTSIDE => codes::REACHED_FROM_OUTSIDE,
        _ => "UNKNOWN_ATTENTION",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags_of(operation: u32, address: &[u8]) -> u32 {
        let head = decode::Head {
            hook: agent_ebpf::hook::UNIX_SEND,
            slot: 0,
            serial: 1,
            epoch: 0,
            cpu: 0,
            flags: flag::SOCKADDR,
            number: 0,
            boottime_ns: 1,
            pid: 2,
            tid: 2,
            took: 0,
        };
        let fixed = agent_ebpf::Net { operation, family: AF_UNIX, ..Default::default() };
        checked(head, &decode::Body::Net { fixed: Box::new(fixed), address: address.to_vec() }).flags
    }

    #[test]
    fn a_receiver_of_another_family_counts_as_not_read() {
        assert_eq!(flags_of(net_op::SEND, b"\x01\0/run/s"), flag::SOCKADDR);
        for changed in [&b"\0\0"[..], b"\x02\0\0\x35\x7f\0\0\x01", b""] {
            assert_eq!(flags_of(net_op::SEND, changed), flag::SOCKADDR | flag::USER_FAULT, "{changed:?}");
        }
        // It may be why a connection failed.
        assert_eq!(flags_of(net_op::CONNECT, b"\x02\0"), flag::SOCKADDR);
    }
}
