//! Peers: acts of one kind by one process with one peer are one row; of DNS, those with one message.

use super::intern::Text;
use proto::evidence::{self as log, network::Operation};
use std::collections::HashMap;

/// Acts of one kind by one process with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Index of the process; none where the kernel acted outside of any.
    pub process: Option<u32>,
    /// What was done.
    pub operation: Operation,
    /// `AF_*`.
    pub family: u32,
    /// `SOCK_*`.
    pub socket_type: u32,
    /// `IPPROTO_*`.
    pub protocol: u32,
    /// Port of the peer; of a bind, of the address bound.
    pub port: u32,
    /// 0 or -errno.
    pub result: i32,
    /// Of the address: how it was taken, as the log's `Level`.
    pub level: i32,
    /// How often.
    pub count: u64,
    /// First time, CLOCK_BOOTTIME.
    pub first_ns: u64,
    /// Last time, CLOCK_BOOTTIME.
    pub last_ns: u64,
    /// Bytes sent, as counted at the close of connections.
    pub sent_bytes: u64,
    /// Bytes received, as counted at the close of connections.
    pub received_bytes: u64,
    pub(super) address: Text,
    /// A DNS message, as the log has it.
    pub(super) message: Option<Text>,
    /// Who is at the other end of a unix socket.
    pub peer: Option<Peer>,
}

/// Who is at the other end of a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Process, in the first namespace; 0 if none is remembered.
    pub pid: u32,
    /// Its effective user, or the owner of the socket.
    pub uid: u32,
    /// Not known to be of the session.
    pub outside: bool,
}

type Key = (Option<u32>, Operation, [u32; 4], i32, i32, Text, Option<Text>, Option<Peer>);

/// All contacts of a session.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    list: Vec<Contact>,
    rows: HashMap<Key, u32>,
    /// Socket cookie to the row of its connection.
    sockets: HashMap<u64, u32>,
}

impl Contacts {
    /// Bytes that a row takes, its place in the indexes included.
    pub(super) const ROW_BYTES: usize = size_of::<Contact>() + size_of::<Key>() + 40;

    /// Enters an act; true if it is the first of its row or of its socket.
    pub(super) fn act(
        &mut self,
        process: Option<u32>,
        boottime_ns: u64,
        act: &log::Network,
        operation: Operation,
        [remote, local]: [Text; 2],
        message: Option<Text>,
    ) -> bool {
        if operation == Operation::Close && self.close(boottime_ns, act) {
            return false;
        }
        let (address, port) =
            if operation == Operation::Bind { (local, act.local_port) } else { (remote, act.remote_port) };
        let numbers = [act.family, act.r#type, act.protocol, port];
        let peer = act.peer.as_ref().map(|peer| Peer { pid: peer.pid, uid: peer.uid, outside: peer.outside });
        let key = (process, operation, numbers, act.result, act.level, address, message, peer);
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let row = *self.rows.entry(key).or_insert(next);
        if row == next {
            self.list.push(new_contact(key, boottime_ns));
        }
        if let Some(contact) = self.list.get_mut(row as usize) {
            contact.count += 1;
            contact.last_ns = contact.last_ns.max(boottime_ns);
            contact.sent_bytes = contact.sent_bytes.saturating_add(act.sent_bytes);
            contact.received_bytes = contact.received_bytes.saturating_add(act.received_bytes);
        }
        let connects = matches!(operation, Operation::ConnectAttempt | Operation::Connect | Operation::Accept);
        let new_socket = connects && act.cookie != 0 && self.sockets.insert(act.cookie, row).is_none();
        row == next || new_socket
    }

    /// Adds a close's bytes to its connection, which the cookie names; false if none does.
    fn close(&mut self, boottime_ns: u64, act: &log::Network) -> bool {
        let row = if act.cookie == 0 { None } else { self.sockets.remove(&act.cookie) };
        let Some(contact) = row.and_then(|row| self.list.get_mut(row as usize)) else {
            return false;
        };
        contact.last_ns = contact.last_ns.max(boottime_ns);
        contact.sent_bytes = contact.sent_bytes.saturating_add(act.sent_bytes);
        contact.received_bytes = contact.received_bytes.saturating_add(act.received_bytes);
        true
    }

    pub(super) fn into_list(self) -> Vec<Contact> {
        self.list
    }
}

fn new_contact((process, operation, numbers, result, level, address, message, peer): Key, boottime_ns: u64) -> Contact {
    let [family, socket_type, protocol, port] = numbers;
    Contact {
        process,
        operation,
        family,
        socket_type,
        protocol,
        port,
        result,
        level,
        count: 0,
        first_ns: boottime_ns,
        last_ns: boottime_ns,
        sent_bytes: 0,
        received_bytes: 0,
        address,
        message,
        peer,
    }
}
