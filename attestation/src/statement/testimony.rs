//! The extension `testimony`: what the statement claims about itself, and what else was seen.

use super::document::List;
use super::network::level;
use super::platform::Platform;
use super::{EXTENSION_VERSION, Meta};
use crate::escape::escape;
use crate::evidence::{LogHead, SegmentSummary};
use crate::trace::{Act, Canaries, Finding, HookRow, NameChange, Trace};
use crate::{hex, time};
use proto::evidence as log;
use proto::evidence::name_change::Operation;
use serde::ser::{Serialize, SerializeMap, Serializer};

pub(super) struct Testimony<'a> {
    pub(super) trace: &'a Trace,
    pub(super) head: &'a LogHead,
    pub(super) meta: &'a Meta,
}

impl Serialize for Testimony<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { trace, head, .. } = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &EXTENSION_VERSION)?;
        map.serialize_entry("complete", &trace.complete())?;
        map.serialize_entry("lossless", &trace.lossless())?;
        map.serialize_entry("coverageLevel", trace.level().as_str())?;
        map.serialize_entry("gaps", &List(|| trace.gaps().iter().map(Gap)))?;
        map.serialize_entry("blindSpots", &List(|| trace.blind_spots().iter().map(Blind)))?;
        map.serialize_entry("session", &Session(self))?;
        map.serialize_entry("log", &Log(head))?;
        map.serialize_entry("coverage", &List(|| trace.coverage().iter().map(|row| Hook { trace, row })))?;
        map.serialize_entry("digestClasses", &Classes(trace))?;
        map.serialize_entry("platform", &Platform(trace))?;
        let survivor = |(pid, start_ns): &(u32, u64)| Survivor {
            pid: *pid,
            start: (*start_ns != 0).then(|| time_of(trace, *start_ns)),
        };
        map.serialize_entry("survivors", &List(|| trace.survivors().iter().map(survivor)))?;
        map.serialize_entry("nameChanges", &List(|| trace.names().map(|change| Name { trace, change })))?;
        if trace.acts().len() > 0 {
            map.serialize_entry("acts", &List(|| trace.acts().map(|act| ActEntry { trace, act })))?;
        }
        map.end()
    }
}

fn time_of(trace: &Trace, boottime_ns: u64) -> String {
    time::rfc3339(trace.unix_ns(boottime_ns))
}

struct Gap<'a>(&'a Finding);

impl Serialize for Gap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        finding(self.0, &mut map)?;
        map.end()
    }
}

fn finding<M: SerializeMap>(finding: &Finding, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("code", &finding.code)?;
    if !finding.detail.is_empty() {
        map.serialize_entry("detail", &escape(finding.detail.as_bytes()))?;
    }
    map.serialize_entry("count", &finding.count)
}

struct Blind<'a>(&'a Finding);

impl Serialize for Blind<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        finding(self.0, &mut map)?;
        map.serialize_entry("endsCompleteness", &self.0.ends_completeness)?;
        map.end()
    }
}

struct Session<'a>(&'a Testimony<'a>);

impl Serialize for Session<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Testimony { trace, head, meta } = *self.0;
        let opened = trace.opened();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &hex::encode(&head.session_id))?;
        map.serialize_entry("kind", &escape(opened.kind.as_bytes()))?;
        map.serialize_entry("bootId", &hex::encode(&opened.boot_id))?;
        map.serialize_entry("hostId", &hex::encode(&opened.host_id))?;
        signing(meta, &mut map)?;
        map.serialize_entry("membership", &escape(opened.membership.as_bytes()))?;
        map.serialize_entry("command", &List(|| opened.command.iter().map(|word| escape(word))))?;
        map.serialize_entry("directory", &escape(&opened.directory))?;
        map.serialize_entry("rootPid", &opened.root_pid)?;
        map.serialize_entry("productGlobs", &List(|| opened.product_globs.iter().map(|glob| escape(glob))))?;
        map.serialize_entry("clockGrainNs", &opened.clock_grain_ns)?;
        map.serialize_entry("limitFileBytes", &opened.limit_file_bytes)?;
        if !opened.environment.is_empty() {
            map.serialize_entry("environment", &List(|| opened.environment.iter().map(Variable)))?;
        }
        if opened.redaction_rules > 0 {
            map.serialize_entry("redactionRules", &opened.redaction_rules)?;
        }
        if !opened.inherited.is_empty() {
            map.serialize_entry("inherited", &List(|| opened.inherited.iter().map(Inherited)))?;
        }
        for (key, text) in [("subjectName", &opened.subject_name), ("cgroup", &opened.cgroup)] {
            said(&mut map, key, text)?;
        }
        if let Some(container) = trace.container() {
            map.serialize_entry("container", &Container(container))?;
        }
        map.serialize_entry("openedBoottimeNs", &opened.opened_boottime_ns.to_string())?;
        map.serialize_entry("openedRealtimeOffsetNs", &opened.realtime_offset_ns.to_string())?;
        if let Some(closed) = trace.closed() {
            map.serialize_entry("closedBoottimeNs", &closed.closed_boottime_ns.to_string())?;
            map.serialize_entry("closedRealtimeOffsetNs", &closed.realtime_offset_ns.to_string())?;
            map.serialize_entry("reason", &escape(closed.reason.as_bytes()))?;
            map.serialize_entry("rootStatus", &closed.root_status)?;
        }
        map.end()
    }
}

/// All that a statement says of who signs it, in one place.
fn signing<M: SerializeMap>(meta: &Meta, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("signer", &escape(meta.signer.as_bytes()))?;
    if !meta.co_signers.is_empty() {
        map.serialize_entry("coSigners", &List(|| meta.co_signers.iter().map(|name| escape(name.as_bytes()))))?;
    }
    if let Some(name) = &meta.instead_of {
        map.serialize_entry("insteadOf", &escape(name.as_bytes()))?;
    }
    map.serialize_entry("number", &meta.number)?;
    map.serialize_entry("previous", &meta.previous.map(|sha256| hex::encode(&sha256)))
}

/// The same, as an object of its own.
pub(super) struct Signing<'a>(pub(super) &'a Meta);

impl Serialize for Signing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        signing(self.0, &mut map)?;
        map.end()
    }
}

struct Variable<'a>(&'a log::Variable);

impl Serialize for Variable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &escape(&self.0.name))?;
        if let Some(value) = &self.0.value {
            map.serialize_entry("value", &escape(value))?;
        }
        if let Some(hmac) = &self.0.hmac {
            map.serialize_entry("hmac", &hex::encode(hmac))?;
        }
        map.end()
    }
}

/// A text that is left out where it is empty.
fn said<M: SerializeMap>(map: &mut M, key: &str, text: &str) -> Result<(), M::Error> {
    if text.is_empty() { Ok(()) } else { map.serialize_entry(key, &escape(text.as_bytes())) }
}

struct Container<'a>(&'a log::Container);

impl Serialize for Container<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let container = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("runtime", &escape(container.runtime.as_bytes()))?;
        map.serialize_entry("id", &escape(container.id.as_bytes()))?;
        said(&mut map, "name", &container.name)?;
        said(&mut map, "image", &container.image)?;
        said(&mut map, "imageSha256", &hex::encode(&container.image_sha256))?;
        if container.image_config {
            map.serialize_entry("imageConfig", &true)?;
        }
        said(&mut map, "pod", &container.pod)?;
        said(&mut map, "podNamespace", &container.pod_namespace)?;
        said(&mut map, "podUid", &container.pod_uid)?;
        if !container.labels.is_empty() {
            map.serialize_entry("labels", &List(|| container.labels.iter().map(Label)))?;
        }
        said(&mut map, "fault", &container.fault)?;
        map.end()
    }
}

struct Label<'a>(&'a log::Label);

impl Serialize for Label<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &escape(self.0.name.as_bytes()))?;
        map.serialize_entry("value", &escape(self.0.value.as_bytes()))?;
        map.end()
    }
}

struct Inherited<'a>(&'a log::Inherited);

impl Serialize for Inherited<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("descriptor", &self.0.descriptor)?;
        map.serialize_entry("type", &escape(self.0.r#type.as_bytes()))?;
        map.serialize_entry("access", &escape(self.0.access.as_bytes()))?;
        map.serialize_entry("dev", &device(self.0.dev))?;
        map.serialize_entry("ino", &self.0.ino.to_string())?;
        map.serialize_entry("path", &escape(&self.0.path))?;
        map.end()
    }
}

/// As statements write a device's number.
fn device(dev: u32) -> String {
    format!("{}:{}", dev >> 20, dev & 0xf_ffff)
}

struct Log<'a>(&'a LogHead);

impl Serialize for Log<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("formatVersion", &crate::evidence::FORMAT_VERSION)?;
        map.serialize_entry("treeSize", &self.0.tree_size)?;
        map.serialize_entry("rootSha256", &hex::encode(&self.0.root))?;
        map.serialize_entry("segments", &List(|| self.0.segments.iter().map(Segment)))?;
        map.end()
    }
}

struct Segment<'a>(&'a SegmentSummary);

impl Serialize for Segment<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("sequence", &self.0.sequence)?;
        map.serialize_entry("sha256", &hex::encode(&self.0.sha256))?;
        map.serialize_entry("frames", &self.0.frames)?;
        map.serialize_entry("bytes", &self.0.bytes)?;
        map.end()
    }
}

struct Hook<'a> {
    trace: &'a Trace,
    row: &'a HookRow,
}

impl Serialize for Hook<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { trace, row } = *self;
        let hook = &row.hook;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("hook", &hook.id)?;
        map.serialize_entry("observation", &escape(hook.observation.as_bytes()))?;
        map.serialize_entry("method", &escape(hook.method.as_bytes()))?;
        map.serialize_entry("level", level(hook.level))?;
        map.serialize_entry("program", &escape(hook.program.as_bytes()))?;
        map.serialize_entry("programTag", &hex::encode(&hook.program_tag))?;
        map.serialize_entry("programSha256", &hex::encode(&hook.program_sha256))?;
        map.serialize_entry("refused", &List(|| hook.refused.iter().map(|refused| escape(refused.as_bytes()))))?;
        map.serialize_entry("attempted", &row.attempted)?;
        map.serialize_entry("delivered", &row.delivered)?;
        map.serialize_entry("coalesced", &row.coalesced)?;
        map.serialize_entry("lost", &row.lost)?;
        map.serialize_entry("truncated", &row.truncated)?;
        map.serialize_entry("misses", &row.misses)?;
        if let Some(canaries) = &row.canaries {
            map.serialize_entry("canaries", &Known { trace, canaries })?;
        }
        map.end()
    }
}

struct Known<'a> {
    trace: &'a Trace,
    canaries: &'a Canaries,
}

impl Serialize for Known<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("seen", &self.canaries.seen)?;
        map.serialize_entry("silent", &self.canaries.silent)?;
        if let Some((first, last)) = self.canaries.first_last {
            map.serialize_entry("first", &time_of(self.trace, first))?;
            map.serialize_entry("last", &time_of(self.trace, last))?;
        }
        map.serialize_entry("longestNs", &self.canaries.longest_ns.to_string())?;
        map.end()
    }
}

struct Classes<'a>(&'a Trace);

impl Serialize for Classes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(5))?;
        for (class, count) in ["kernel", "stable", "ephemeral", "raced", "absent"].iter().zip(self.0.class_counts()) {
            map.serialize_entry(class, &count)?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct Survivor {
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
}

struct Name<'a> {
    trace: &'a Trace,
    change: NameChange<'a>,
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let change = &self.change;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("operation", operation(change.operation))?;
        map.serialize_entry("path", &escape(change.path))?;
        if !change.target.is_empty() {
            map.serialize_entry("target", &escape(change.target))?;
        }
        map.serialize_entry("process", &change.process)?;
        map.serialize_entry("result", &change.result)?;
        map.serialize_entry("level", level(change.level as i32))?;
        map.serialize_entry("timestamp", &time_of(self.trace, change.boottime_ns))?;
        map.end()
    }
}

fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Rename => "rename",
        Operation::Link => "link",
        Operation::Unlink => "unlink",
        Operation::Mkdir => "mkdir",
        Operation::Rmdir => "rmdir",
        Operation::Symlink => "symlink",
        Operation::Truncate => "truncate",
        Operation::Exchange => "exchange",
        Operation::Unspecified => "unknown",
    }
}

struct ActEntry<'a> {
    trace: &'a Trace,
    act: Act<'a>,
}

impl Serialize for ActEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let act = &self.act;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("call", act.call)?;
        map.serialize_entry("arguments", &List(|| act.arguments.iter().map(u64::to_string)))?;
        map.serialize_entry("result", &act.result)?;
        if act.texts.iter().any(Option::is_some) {
            map.serialize_entry("texts", &List(|| act.texts.iter().flatten().map(|text| escape(text))))?;
        }
        if let Some((dev, ino)) = act.file {
            map.serialize_entry("dev", &device(dev))?;
            map.serialize_entry("ino", &ino.to_string())?;
        }
        if act.outside {
            map.serialize_entry("outside", &true)?;
        }
        map.serialize_entry("process", &act.process)?;
        map.serialize_entry("timestamp", &time_of(self.trace, act.boottime_ns))?;
        map.end()
    }
}
