//! A statement's shape, field by field as the published schema has it. What is not needed later is read all the same.
#![expect(
    dead_code,
    reason = "fields are read so that what the schema forbids is refused, and most are not needed again"
)]

use super::read::{Claims, HookClaim, Item, ReadError};
use super::rules::{
    Access, Capabilities, Class, Code, ContactOperation, Device, Direction, Escaped, Event, EventType, FileType,
    FileUri, GapCode, Hex, Host, Ip, Level, Magic, Mode, Monitor, NameOperation, Origin, Protocol, SessionId,
    SessionType, Sha256, Signed, Signer, Text, Time, Unsigned,
};
use crate::evidence::{LogHead, SegmentSummary};
use crate::hex;
use crate::json::{Bounded, Count, Object, nullable, present};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::num::{NonZeroU8, NonZeroU16, NonZeroU64};

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
#[serde(rename_all = "camelCase")]
struct Platform<'a> {
    #[serde(borrow)]
    kernel_release: Text<'a, Escaped>,
    #[serde(borrow)]
    machine: Text<'a, Escaped>,
    #[serde(borrow)]
    agent_version: Text<'a, Escaped>,
    #[serde(borrow)]
    agent_sha256: Text<'a, Hex>,
    cpus: u32,
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
}

#[derive(Deserialize)]
struct Invoking<'a> {
    id: u32,
    pid: u32,
    #[serde(borrow)]
    comm: Text<'a, Escaped>,
}

#[derive(Deserialize)]
struct FileEntry<'a> {
    #[serde(borrow)]
    name: Text<'a, Escaped>,
    #[serde(default, borrow, deserialize_with = "present")]
    digest: Option<Object<Digest<'a>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    uri: Option<Text<'a, FileUri>>,
    #[serde(borrow)]
    annotations: Object<Annotations<'a>>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(borrow)]
    class: Text<'a, Class>,
    #[serde(default, borrow, deserialize_with = "present")]
    reason: Option<Text<'a, Code>>,
    #[serde(borrow)]
    access: Text<'a, Access>,
    accesses: NonZeroU64,
    processes: Actors,
    #[serde(rename = "type", default, borrow, deserialize_with = "present")]
    file_type: Option<Text<'a, FileType>>,
    size: u64,
    #[serde(borrow)]
    mode: Text<'a, Mode>,
    #[serde(borrow)]
    dev: Text<'a, Device>,
    #[serde(borrow)]
    ino: Text<'a, Unsigned>,
    #[serde(borrow)]
    ctime: Text<'a, Time>,
    #[serde(borrow)]
    filesystem: Text<'a, Magic>,
    #[serde(default, deserialize_with = "present")]
    deleted: Option<True>,
    #[serde(default, deserialize_with = "present")]
    product: Option<True>,
}

/// At least one process, and none twice.
#[derive(Deserialize)]
#[serde(try_from = "Vec<u32>")]
struct Actors;

impl TryFrom<Vec<u32>> for Actors {
    type Error = &'static str;
    fn try_from(mut processes: Vec<u32>) -> Result<Self, Self::Error> {
        processes.sort_unstable();
        let once = processes.is_sorted_by(|left, right| left < right);
        if once && !processes.is_empty() { Ok(Self) } else { Err("a file has one process or more, and none twice") }
    }
}

/// Stands there where it is true.
#[derive(Deserialize)]
#[serde(try_from = "bool")]
struct True;

impl TryFrom<bool> for True {
    type Error = &'static str;
    fn try_from(set: bool) -> Result<Self, Self::Error> {
        if set { Ok(Self) } else { Err("false is said by absence") }
    }
}

impl FileEntry<'_> {
    /// Place of the class among the counts; `None` where class and digest contradict each other.
    fn class(&self) -> Option<usize> {
        match (self.annotations.0.class.as_str(), self.digest.is_some(), self.uri.is_some()) {
            ("kernel", true, _) => Some(0),
            ("stable", true, _) => Some(1),
            ("ephemeral", false, true) => Some(2),
            ("raced", true, _) => Some(3),
            ("absent", false, true) => Some(4),
            _ => None,
        }
    }
}

/// The list of files: each with a class that its digest allows, counted by class.
struct FileAccess<'a>([u64; 5], PhantomData<&'a ()>);

impl<'de: 'a, 'a> Deserialize<'de> for FileAccess<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = [u64; 5];
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of files")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<[u64; 5], A::Error> {
                let mut counts = [0; 5];
                while let Some(Object(entry)) = list.next_element::<Object<FileEntry<'_>>>()? {
                    let place = entry.class().and_then(|place| counts.get_mut(place));
                    *place.ok_or_else(|| A::Error::custom("a file whose class and digest contradict each other"))? += 1;
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_seq(List).map(|counts| Self(counts, PhantomData))
    }
}

impl Wire<'_> {
    pub(super) fn claims(self) -> Result<Claims, ReadError> {
        let Predicate { testimony: Object(testimony), monitor_log: Object(listed), .. } = self.predicate.0;
        let classes = testimony.digest_classes.0;
        if self.subject.0.is_empty() {
            return Err(ReadError::Subjects);
        }
        let subject =
            |Object(subject): Object<Subject<'_>>| (subject.name.into_string(), subject.digest.0.sha256.into_string());
        Ok(Claims {
            subjects: self.subject.0.into_iter().map(subject).collect(),
            complete: testimony.complete,
            lossless: testimony.lossless,
            coverage_level: testimony.coverage_level.into_string(),
            gaps: testimony.gaps.0.into_iter().map(|gap| gap.0.item()).collect(),
            blind_spots: testimony.blind_spots.0.into_iter().map(|spot| spot.0.item()).collect(),
            survivors: testimony.survivors.count(),
            hooks: testimony.coverage.0.into_iter().map(|hook| hook.0.claim()).collect(),
            log: testimony.log.0.head(&testimony.session.0.id)?,
            digest_classes: [classes.kernel, classes.stable, classes.ephemeral, classes.raced, classes.absent],
            counted_classes: listed.file_access.0,
            listed: [listed.process.count(), listed.network.count()],
            meta: testimony.session.0.meta(),
        })
    }
}

impl Gap<'_> {
    fn item(self) -> Item {
        let detail = self.detail.map(Text::into_string).unwrap_or_default();
        Item { code: self.code.into_string(), detail, count: self.count.get(), ends_completeness: true }
    }
}

impl BlindSpot<'_> {
    fn item(self) -> Item {
        let detail = self.detail.map(Text::into_string).unwrap_or_default();
        let ends_completeness = self.ends_completeness;
        Item { code: self.code.into_string(), detail, count: self.count.get(), ends_completeness }
    }
}

impl Hook<'_> {
    fn claim(self) -> HookClaim {
        HookClaim {
            hook: self.hook,
            observation: self.observation.into_string(),
            method: self.method.into_string(),
            level: self.level.into_string(),
            attempted: self.attempted,
            delivered: self.delivered,
            coalesced: self.coalesced,
            lost: self.lost,
            truncated: self.truncated,
            misses: self.misses,
        }
    }
}

impl Session<'_> {
    fn meta(self) -> super::Meta {
        let previous = self.previous.and_then(|text| hex::decode_sha256(text.as_str()));
        super::Meta { signer: self.signer.into_string(), number: self.number, previous }
    }
}

impl Log<'_> {
    fn head(self, session_id: &Text<'_, SessionId>) -> Result<LogHead, ReadError> {
        let id = hex::decode(session_id.as_str()).and_then(|id| id.try_into().ok());
        if self.segments.0.is_empty() {
            return Err(ReadError::Value("the list of segments"));
        }
        let root = hex::decode_sha256(self.root_sha256.as_str()).ok_or(ReadError::Value("the log's root"))?;
        let mut segments = Vec::with_capacity(self.segments.0.len());
        for (expected, Object(segment)) in (0..).zip(self.segments.0) {
            let sha256 = hex::decode_sha256(segment.sha256.as_str()).filter(|_| segment.sequence == expected);
            let sha256 = sha256.ok_or(ReadError::Value("the order of the segments"))?;
            let (frames, bytes) = (segment.frames.get(), segment.bytes.get());
            segments.push(SegmentSummary { sequence: expected, sha256, frames, bytes });
        }
        let session_id = id.ok_or(ReadError::Value("the session's id"))?;
        Ok(LogHead { session_id, tree_size: self.tree_size, root, segments })
    }
}
