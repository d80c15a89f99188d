//! A statement's shape, field by field as the published schema has it. What is not needed later is read all the same.
#![expect(
    dead_code,
    reason = "fields are read so that what the schema forbids is refused, and most are not needed again"
)]

mod claims;
mod files;
mod platform;
mod started;

use super::rules::{
    Call, Capabilities, Code, ContactOperation, Device, Direction, Escaped, Event, EventType, GapCode, Hex, Host, Ip,
    Level, Monitor, NameOperation, Origin, Protocol, SessionId, SessionType, Sha256, Signed, Signer, Text, Time,
    Unsigned,
};
use crate::json::{Bounded, Count, Object, nullable, present};
use files::{FileAccess, True};
use platform::Platform;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use started::{Container, Inherited, Variable};
use std::marker::PhantomData;
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64};

#[derive(Deserialize)]
pub(super) struct Wire<'a> {
    #[serde(borrow)]
    subject: Bounded<Object<Subject<'a>>>,
    #[serde(borrow)]
    predicate: Object<Predicate<'a>>,
}

#[derive(Deserialize)]
struct Subject<'a> {
    #[serde(borrow)]
    name: Text<'a, Escaped>,
    #[serde(borrow)]
    digest: Object<Digest<'a>>,
}

#[derive(Deserialize)]
struct Digest<'a> {
    #[serde(borrow)]
    sha256: Text<'a, Sha256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    #[serde(borrow)]
    monitor: Object<MonitorType<'a>>,
    #[serde(borrow)]
    monitored_process: Object<MonitoredProcess<'a>>,
    #[serde(borrow)]
    metadata: Object<Metadata<'a>>,
    #[serde(borrow)]
    testimony: Object<Testimony<'a>>,
    #[serde(borrow)]
    monitor_log: Object<MonitorLog<'a>>,
}

#[derive(Deserialize)]
struct MonitorType<'a> {
    #[serde(rename = "type", borrow)]
    monitor_type: Text<'a, Monitor>,
}

#[derive(Deserialize)]
struct MonitoredProcess<'a> {
    #[serde(rename = "hostID", borrow)]
    host: Text<'a, Host>,
    #[serde(rename = "type", borrow)]
    session_type: Text<'a, SessionType>,
    #[serde(borrow)]
    event: Text<'a, Event>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    build_started_on: Text<'a, Time>,
    #[serde(default, borrow, deserialize_with = "present")]
    build_finished_on: Option<Text<'a, Time>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MonitorLog<'a> {
    #[serde(borrow)]
    process: Count<Process<'a>>,
    #[serde(borrow)]
    network: Count<Object<Contact<'a>>>,
    #[serde(borrow)]
    file_access: FileAccess<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Testimony<'a> {
    complete: bool,
    lossless: bool,
    #[serde(borrow)]
    coverage_level: Text<'a, Level>,
    #[serde(borrow)]
    gaps: Bounded<Object<Gap<'a>>>,
    #[serde(borrow)]
    blind_spots: Bounded<Object<BlindSpot<'a>>>,
    #[serde(borrow)]
    session: Object<Session<'a>>,
    #[serde(borrow)]
    log: Object<Log<'a>>,
    #[serde(borrow)]
    coverage: Bounded<Object<Hook<'a>>>,
    digest_classes: Object<Classes>,
    #[serde(borrow)]
    platform: Object<Platform<'a>>,
    #[serde(borrow)]
    survivors: Count<Object<Survivor<'a>>>,
    #[serde(borrow)]
    name_changes: Count<Object<NameChange<'a>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    acts: Option<Count<Object<Act<'a>>>>,
}

#[derive(Deserialize)]
struct Gap<'a> {
    #[serde(borrow)]
    code: Text<'a, GapCode>,
    #[serde(default, borrow, deserialize_with = "present")]
    detail: Option<Text<'a, Escaped>>,
    count: NonZeroU64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlindSpot<'a> {
    #[serde(borrow)]
    code: Text<'a, Code>,
    #[serde(default, borrow, deserialize_with = "present")]
    detail: Option<Text<'a, Escaped>>,
    count: NonZeroU64,
    ends_completeness: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session<'a> {
    #[serde(borrow)]
    id: Text<'a, SessionId>,
    #[serde(borrow)]
    kind: Text<'a, Escaped>,
    #[serde(borrow)]
    boot_id: Text<'a, Hex>,
    #[serde(borrow)]
    host_id: Text<'a, Hex>,
    #[serde(borrow)]
    signer: Text<'a, Signer>,
    #[serde(default, borrow, deserialize_with = "present")]
    co_signers: Option<Bounded<Text<'a, Signer>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    instead_of: Option<Text<'a, Signer>>,
    #[serde(deserialize_with = "nullable")]
    number: Option<u64>,
    #[serde(borrow, deserialize_with = "nullable")]
    previous: Option<Text<'a, Sha256>>,
    #[serde(borrow)]
    membership: Text<'a, Escaped>,
    #[serde(borrow)]
    command: Count<Text<'a, Escaped>>,
    #[serde(borrow)]
    directory: Text<'a, Escaped>,
    root_pid: u32,
    #[serde(borrow)]
    product_globs: Count<Text<'a, Escaped>>,
    clock_grain_ns: u64,
    limit_file_bytes: u64,
    #[serde(default, borrow, deserialize_with = "present")]
    environment: Option<Count<Object<Variable<'a>>>>,
    #[serde(default, deserialize_with = "present")]
    redaction_rules: Option<NonZeroU32>,
    #[serde(default, borrow, deserialize_with = "present")]
    inherited: Option<Count<Object<Inherited<'a>>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    subject_name: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    cgroup: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    container: Option<Object<Container<'a>>>,
    #[serde(borrow)]
    opened_boottime_ns: Text<'a, Unsigned>,
    #[serde(borrow)]
    opened_realtime_offset_ns: Text<'a, Signed>,
    #[serde(default, borrow, deserialize_with = "present")]
    closed_boottime_ns: Option<Text<'a, Unsigned>>,
    #[serde(default, borrow, deserialize_with = "present")]
    closed_realtime_offset_ns: Option<Text<'a, Signed>>,
    #[serde(default, borrow, deserialize_with = "present")]
    reason: Option<Text<'a, Escaped>>,
    #[serde(default, deserialize_with = "present")]
    root_status: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log<'a> {
    tree_size: u64,
    #[serde(borrow)]
    root_sha256: Text<'a, Sha256>,
    #[serde(borrow)]
    segments: Bounded<Object<Segment<'a>>>,
}

#[derive(Deserialize)]
struct Segment<'a> {
    sequence: u64,
    #[serde(borrow)]
    sha256: Text<'a, Sha256>,
    frames: NonZeroU64,
    bytes: NonZeroU64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hook<'a> {
    hook: u32,
    #[serde(borrow)]
    observation: Text<'a, Escaped>,
    #[serde(borrow)]
    method: Text<'a, Escaped>,
    #[serde(borrow)]
    level: Text<'a, Level>,
    #[serde(borrow)]
    program: Text<'a, Escaped>,
    #[serde(borrow)]
    program_tag: Text<'a, Hex>,
    #[serde(borrow)]
    program_sha256: Text<'a, Hex>,
    #[serde(borrow)]
    refused: Count<Text<'a, Escaped>>,
    attempted: u64,
    delivered: u64,
    coalesced: u64,
    lost: u64,
    truncated: u64,
    #[serde(deserialize_with = "nullable")]
    misses: Option<u64>,
    #[serde(default, borrow, deserialize_with = "present")]
    canaries: Option<Object<Canaries<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Canaries<'a> {
    seen: u64,
    silent: u64,
    #[serde(default, borrow, deserialize_with = "present")]
    first: Option<Text<'a, Time>>,
    #[serde(default, borrow, deserialize_with = "present")]
    last: Option<Text<'a, Time>>,
    #[serde(borrow)]
    longest_ns: Text<'a, Unsigned>,
}

#[derive(Deserialize)]
struct Classes {
    kernel: u64,
    stable: u64,
    ephemeral: u64,
    raced: u64,
    absent: u64,
}

#[derive(Deserialize)]
struct Survivor<'a> {
    pid: u32,
    #[serde(default, borrow, deserialize_with = "present")]
    start: Option<Text<'a, Time>>,
}

#[derive(Deserialize)]
struct NameChange<'a> {
    #[serde(borrow)]
    operation: Text<'a, NameOperation>,
    #[serde(borrow)]
    path: Text<'a, Escaped>,
    #[serde(default, borrow, deserialize_with = "present")]
    target: Option<Text<'a, Escaped>>,
    process: u32,
    result: i32,
    #[serde(borrow)]
    level: Text<'a, Level>,
    #[serde(borrow)]
    timestamp: Text<'a, Time>,
}

#[derive(Deserialize)]
struct Act<'a> {
    #[serde(borrow)]
    call: Text<'a, Call>,
    #[serde(borrow)]
    arguments: [Text<'a, Unsigned>; 6],
    result: i64,
    #[serde(default, borrow, deserialize_with = "present")]
    texts: Option<Count<Text<'a, Escaped>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    dev: Option<Text<'a, Device>>,
    #[serde(default, borrow, deserialize_with = "present")]
    ino: Option<Text<'a, Unsigned>>,
    #[serde(default, deserialize_with = "present")]
    outside: Option<True>,
    process: u32,
    #[serde(borrow)]
    timestamp: Text<'a, Time>,
}

/// An entry of a program has what says which, and how it ran.
struct Process<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Deserialize<'de> for Process<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(entry) = Object::<ProcessEntry<'_>>::deserialize(deserializer)?;
        if entry.event_type.as_str() == "exec" && !entry.has_program() {
            return Err(D::Error::custom("an exec lacks a part"));
        }
        Ok(Self(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProcessEntry<'a> {
    #[serde(borrow)]
    event_type: Text<'a, EventType>,
    id: u32,
    pid: u32,
    #[serde(default, deserialize_with = "present")]
    parent: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    ppid: Option<u32>,
    #[serde(borrow)]
    origin: Text<'a, Origin>,
    #[serde(default, borrow, deserialize_with = "present")]
    process_binary: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    arguments: Option<Count<Text<'a, Escaped>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    filename: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    interpreter: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    cwd: Option<Text<'a, Escaped>>,
    #[serde(default, deserialize_with = "present")]
    uid: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    gid: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    euid: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    egid: Option<u32>,
    #[serde(default, borrow, deserialize_with = "present")]
    cap_effective: Option<Text<'a, Capabilities>>,
    #[serde(default, deserialize_with = "present")]
    namespaces: Option<Object<Namespaces>>,
    #[serde(default, borrow, deserialize_with = "present")]
    executed_on: Option<Text<'a, Time>>,
    #[serde(default, borrow, deserialize_with = "present")]
    start: Option<Text<'a, Time>>,
    #[serde(default, borrow, deserialize_with = "present")]
    end: Option<Text<'a, Time>>,
    #[serde(default, deserialize_with = "present")]
    exit_code: Option<u8>,
    #[serde(default, deserialize_with = "present")]
    signal: Option<Signal>,
    #[serde(default, deserialize_with = "present")]
    user_ns: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    system_ns: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    max_rss_bytes: Option<u64>,
}

impl ProcessEntry<'_> {
    fn has_program(&self) -> bool {
        self.process_binary.is_some()
            && self.arguments.is_some()
            && self.filename.is_some()
            && self.cwd.is_some()
            && self.uid.is_some()
            && self.gid.is_some()
            && self.cap_effective.is_some()
            && self.namespaces.is_some()
            && self.executed_on.is_some()
    }
}

/// 1 to 127.
#[derive(Deserialize)]
#[serde(try_from = "NonZeroU8")]
struct Signal;

impl TryFrom<NonZeroU8> for Signal {
    type Error = &'static str;
    fn try_from(signal: NonZeroU8) -> Result<Self, Self::Error> {
        if signal.get() < 128 { Ok(Self) } else { Err("a signal is 1 to 127") }
    }
}

#[derive(Deserialize)]
struct Namespaces {
    pid: u64,
    mnt: u64,
    net: u64,
    user: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contact<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    ip: Option<Text<'a, Ip>>,
    #[serde(default, deserialize_with = "present")]
    port: Option<NonZeroU16>,
    #[serde(default, borrow, deserialize_with = "present")]
    path: Option<Text<'a, Escaped>>,
    #[serde(borrow)]
    protocol: Text<'a, Protocol>,
    #[serde(borrow)]
    direction: Text<'a, Direction>,
    #[serde(borrow)]
    timestamp: Text<'a, Time>,
    #[serde(default, borrow, deserialize_with = "present")]
    invoking_process: Option<Object<Invoking<'a>>>,
    #[serde(borrow)]
    operation: Text<'a, ContactOperation>,
    result: i32,
    count: NonZeroU64,
    #[serde(borrow)]
    last_on: Text<'a, Time>,
    sent_bytes: u64,
    received_bytes: u64,
    #[serde(borrow)]
    address_level: Text<'a, Level>,
    #[serde(default, borrow, deserialize_with = "present")]
    dns: Option<Object<Dns<'a>>>,
    #[serde(default, deserialize_with = "present")]
    peer: Option<Object<Peer>>,
}

#[derive(Deserialize)]
struct Peer {
    pid: u32,
    uid: u32,
    outside: bool,
}

#[derive(Deserialize)]
struct Dns<'a> {
    response: bool,
    opcode: u32,
    rcode: u32,
    #[serde(borrow)]
    questions: Count<Object<DnsQuestion<'a>>>,
    #[serde(borrow)]
    answers: Count<Object<DnsAnswer<'a>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    fault: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    message: Option<Text<'a, Hex>>,
}

#[derive(Deserialize)]
struct DnsQuestion<'a> {
    #[serde(borrow)]
    name: Text<'a, Escaped>,
    r#type: u32,
    class: u32,
}

#[derive(Deserialize)]
struct DnsAnswer<'a> {
    #[serde(borrow)]
    name: Text<'a, Escaped>,
    r#type: u32,
    class: u32,
    #[serde(borrow)]
    data: Text<'a, Escaped>,
}

#[derive(Deserialize)]
struct Invoking<'a> {
    id: u32,
    pid: u32,
    #[serde(borrow)]
    comm: Text<'a, Escaped>,
}
