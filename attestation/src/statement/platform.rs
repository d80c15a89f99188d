//! `platform`: what the host says of itself at the start, and what differs at the end. A fact that is not known is left out.

use super::document::List;
use crate::escape::escape;
use crate::hex;
use crate::trace::Trace;
use proto::evidence as log;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Of a trace.
pub(super) struct Platform<'a>(pub(super) &'a Trace);

impl Serialize for Platform<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let none = log::Platform::default();
        let platform = self.0.opened().platform.as_deref().unwrap_or(&none);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kernelRelease", &text(&platform.kernel_release))?;
        map.serialize_entry("machine", &text(&platform.machine))?;
        map.serialize_entry("agentVersion", &text(&platform.agent_version))?;
        map.serialize_entry("agentSha256", &hex::encode(&platform.agent_sha256))?;
        map.serialize_entry("cpus", &platform.cpus)?;
        facts(platform, &mut map)?;
        if let Some(end) = self.0.closed().and_then(|closed| closed.platform.as_deref()) {
            map.serialize_entry("end", &End(end))?;
        }
        map.end()
    }
}

/// Those that may be left out.
fn facts<M: SerializeMap>(platform: &log::Platform, map: &mut M) -> Result<(), M::Error> {
    known(map, "kernelVersion", platform.kernel_version.as_deref().map(text))?;
    known(map, "kernelBuildId", platform.kernel_build_id.as_deref().map(hex::encode))?;
    if !platform.command_line.is_empty() {
        map.serialize_entry("commandLine", &List(|| platform.command_line.iter().map(|word| escape(word))))?;
    }
    known(map, "securityModules", platform.security_modules.as_deref().map(text))?;
    known(map, "lockdown", platform.lockdown.as_deref().map(text))?;
    known(map, "secureBoot", platform.secure_boot)?;
    known(map, "moduleSignatures", platform.module_signatures)?;
    known(map, "taint", platform.taint)?;
    known(map, "clockSource", platform.clock_source.as_deref().map(text))?;
    known(map, "hypervisor", platform.hypervisor.as_deref().map(text))?;
    if !platform.settings.is_empty() {
        map.serialize_entry("settings", &List(|| platform.settings.iter().map(Setting)))?;
    }
    known(map, "sessionsSinceBoot", platform.sessions_since_boot)?;
    known(map, "sessionsSinceInstall", platform.sessions_since_install)?;
    known(map, "bpf", platform.bpf.as_ref().map(Bpf))
}

fn known<M: SerializeMap>(map: &mut M, key: &'static str, value: Option<impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, &value))
}

fn text(text: &str) -> impl Serialize + use<'_> {
    escape(text.as_bytes())
}

struct End<'a>(&'a log::PlatformEnd);

impl Serialize for End<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let end = self.0;
        let mut map = serializer.serialize_map(None)?;
        known(&mut map, "taint", end.taint)?;
        known(&mut map, "lockdown", end.lockdown.as_deref().map(text))?;
        known(&mut map, "clockSource", end.clock_source.as_deref().map(text))?;
        if !end.settings.is_empty() {
            map.serialize_entry("settings", &List(|| end.settings.iter().map(Setting)))?;
        }
        for (key, modules) in [("modulesCame", &end.modules_came), ("modulesGone", &end.modules_gone)] {
            if !modules.is_empty() {
                map.serialize_entry(key, &List(|| modules.iter().map(|name| text(name))))?;
            }
        }
        known(&mut map, "bpf", end.bpf.as_ref().map(Change))?;
        map.end()
    }
}

struct Setting<'a>(&'a log::Setting);

impl Serialize for Setting<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &text(&self.0.name))?;
        known(&mut map, "value", self.0.value.as_deref().map(escape))?;
        map.end()
    }
}

struct Bpf<'a>(&'a log::Bpf);

impl Serialize for Bpf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("programs", &List(|| self.0.programs.iter().map(Program)))?;
        map.serialize_entry("links", &List(|| self.0.links.iter().map(Link)))?;
        map.serialize_entry("morePrograms", &self.0.more_programs)?;
        map.serialize_entry("moreLinks", &self.0.more_links)?;
        map.end()
    }
}

struct Change<'a>(&'a log::BpfChange);

impl Serialize for Change<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("programsCame", &List(|| self.0.programs_came.iter().map(Program)))?;
        map.serialize_entry("programsGone", &self.0.programs_gone)?;
        map.serialize_entry("linksCame", &List(|| self.0.links_came.iter().map(Link)))?;
        map.serialize_entry("linksGone", &self.0.links_gone)?;
        map.serialize_entry("morePrograms", &self.0.more_programs)?;
        map.serialize_entry("moreLinks", &self.0.more_links)?;
        map.end()
    }
}

struct Program<'a>(&'a log::BpfProgram);

impl Serialize for Program<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let program = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &program.id)?;
        map.serialize_entry("type", &text(&program.r#type))?;
        map.serialize_entry("name", &text(&program.name))?;
        map.serialize_entry("tag", &hex::encode(&program.tag))?;
        map.serialize_entry("loadedBoottimeNs", &program.loaded_boottime_ns.to_string())?;
        known(&mut map, "sha256", program.sha256.as_deref().map(hex::encode))?;
        map.serialize_entry("ours", &program.ours)?;
        map.end()
    }
}

struct Link<'a>(&'a log::BpfLink);

impl Serialize for Link<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("id", &self.0.id)?;
        map.serialize_entry("type", &text(&self.0.r#type))?;
        map.serialize_entry("program", &self.0.program)?;
        map.serialize_entry("target", &text(&self.0.target))?;
        map.end()
    }
}
