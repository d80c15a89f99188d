//! `monitorLog.network`: the field names that runtime-trace v0.2 gives (`ip`, `port`, `protocol`, `invokingProcess`),
//! with `direction`, `timestamp` and what a tracer knows besides.

use crate::escape::escape;
use crate::hex;
use crate::time;
use crate::trace::{Contact, Trace};
use core::net::{Ipv4Addr, Ipv6Addr};
use proto::evidence::{self as log, Level, network::Operation};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::borrow::Cow;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

pub(super) struct Network<'a>(pub(super) &'a Trace);

impl Serialize for Network<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.contacts().map(|(contact, address)| Entry { trace: self.0, contact, address }))
    }
}

struct Entry<'a> {
    trace: &'a Trace,
    contact: &'a Contact,
    address: &'a [u8],
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let contact = self.contact;
        let mut map = serializer.serialize_map(None)?;
        if let Some(ip) = ip(self.address, contact.family) {
            map.serialize_entry("ip", &ip)?;
            if contact.port != 0 {
                map.serialize_entry("port", &contact.port)?;
            }
        } else if !self.address.is_empty() {
            map.serialize_entry("path", &escape(self.address))?;
        }
        map.serialize_entry("protocol", &protocol(contact))?;
        map.serialize_entry("direction", direction(contact.operation))?;
        map.serialize_entry("timestamp", &self.time(contact.first_ns))?;
        if let Some(process) = self.process() {
            map.serialize_entry("invokingProcess", &process)?;
        }
        map.serialize_entry("operation", operation(contact.operation))?;
        map.serialize_entry("result", &contact.result)?;
        map.serialize_entry("count", &contact.count)?;
        map.serialize_entry("lastOn", &self.time(contact.last_ns))?;
        map.serialize_entry("sentBytes", &contact.sent_bytes)?;
        map.serialize_entry("receivedBytes", &contact.received_bytes)?;
        map.serialize_entry("addressLevel", level(contact.level))?;
        if let Some(message) = self.trace.dns(contact) {
            map.serialize_entry("dns", &Dns::from(&message))?;
        }
        if let Some(peer) = contact.peer {
            map.serialize_entry("peer", &Peer { pid: peer.pid, uid: peer.uid, outside: peer.outside })?;
        }
        map.end()
    }
}

impl Entry<'_> {
    fn time(&self, boottime_ns: u64) -> String {
        time::rfc3339(self.trace.unix_ns(boottime_ns))
    }

    fn process(&self) -> Option<Invoking<'_>> {
        let id = self.contact.process?;
        let process = self.trace.processes().get(id as usize)?;
        Some(Invoking { id, pid: process.pid, comm: escape(self.comm(id)) })
    }

    /// The name by the last program before the first act, of the process or of the nearest parent that ran one.
    fn comm(&self, id: u32) -> &[u8] {
        let mut next = Some(id);
        while let Some(process) = next.and_then(|id| self.trace.processes().get(id as usize)) {
            let mut before = self.trace.execs(process).filter(|exec| exec.boottime_ns <= self.contact.first_ns);
            if let Some(exec) = before.next_back() {
                return exec.comm();
            }
            // A parent's index is below its child's: this ends.
            next = process.parent.filter(|parent| Some(*parent) < next);
        }
        b""
    }
}

#[derive(serde::Serialize)]
struct Invoking<'a> {
    id: u32,
    pid: u32,
    comm: Cow<'a, str>,
}

#[derive(serde::Serialize)]
struct Peer {
    pid: u32,
    uid: u32,
    outside: bool,
}

#[derive(serde::Serialize)]
struct Dns<'a> {
    response: bool,
    opcode: u32,
    rcode: u32,
    questions: Vec<DnsRecord<'a>>,
    answers: Vec<DnsRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// A question has no data.
#[derive(serde::Serialize)]
struct DnsRecord<'a> {
    name: Cow<'a, str>,
    r#type: u32,
    class: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Cow<'a, str>>,
}

impl<'a> From<&'a log::Dns> for Dns<'a> {
    fn from(message: &'a log::Dns) -> Self {
        let question = |one: &'a log::DnsQuestion| DnsRecord {
            name: escape(&one.name),
            r#type: one.r#type,
            class: one.class,
            data: None,
        };
        let answer = |one: &'a log::DnsRecord| DnsRecord {
            name: escape(&one.name),
            r#type: one.r#type,
            class: one.class,
            data: Some(escape(&one.data)),
        };
        Self {
            response: message.response,
            opcode: message.opcode,
            rcode: message.rcode,
            questions: message.questions.iter().map(question).collect(),
            answers: message.answers.iter().map(answer).collect(),
            fault: message.fault.as_ref().map(|fault| escape(fault.as_bytes())),
            message: message.message.as_deref().map(hex::encode),
        }
    }
}

fn ip(address: &[u8], family: u32) -> Option<String> {
    match family {
        AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string()),
        AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string()),
        _ => None,
    }
}

fn protocol(contact: &Contact) -> Cow<'static, str> {
    match (contact.family, contact.socket_type, contact.protocol) {
        (AF_UNIX, _, _) => "unix".into(),
        (AF_INET | AF_INET6, _, 6) | (AF_INET | AF_INET6, 1, 0) => "tcp".into(),
        (AF_INET | AF_INET6, _, 17) | (AF_INET | AF_INET6, 2, 0) => "udp".into(),
        (AF_INET | AF_INET6, _, 1 | 58) => "icmp".into(),
        (AF_INET | AF_INET6, _, protocol) => format!("ip-{protocol}").into(),
        (family, _, _) => format!("family-{family}").into(),
    }
}

fn direction(operation: Operation) -> &'static str {
    match operation {
        Operation::Bind | Operation::Accept | Operation::DnsReceived => "inbound",
        _ => "outbound",
    }
}

fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::ConnectAttempt => "connect-attempt",
        Operation::Connect => "connect",
        Operation::Send => "send",
        Operation::Bind => "bind",
        Operation::Accept => "accept",
        Operation::Close => "close",
        Operation::DnsSent => "dns-sent",
        Operation::DnsReceived => "dns-received",
        Operation::Unspecified => "unknown",
    }
}

/// As statements write a level.
pub(super) fn level(level: i32) -> &'static str {
    crate::trace::CoverageLevel::from(Level::try_from(level).unwrap_or_default()).as_str()
}
