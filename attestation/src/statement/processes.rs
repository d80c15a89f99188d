//! `monitorLog.process`: an entry for every program that a process ran, and one for a process that ran none of its own.
//!
//! `processBinary` and `arguments` are the names of the specification's example; what consumers forbid by binary must
//! never hide in an inner list. Facts of the process (its parent, start and end) stand in each of its entries.

use crate::escape::escape;
use crate::time;
use crate::trace::{Exec, Origin, Process, Trace};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

pub(super) struct Processes<'a>(pub(super) &'a Trace);

impl Serialize for Processes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (id, process) in self.0.processes().iter().enumerate() {
            let entry = |exec| Entry { trace: self.0, id, process, exec };
            let mut forked = true;
            for exec in self.0.execs(process) {
                forked = false;
                list.serialize_element(&entry(Some(exec)))?;
            }
            if forked {
                list.serialize_element(&entry(None))?;
            }
        }
        list.end()
    }
}

struct Entry<'a> {
    trace: &'a Trace,
    id: usize,
    process: &'a Process,
    exec: Option<Exec<'a>>,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("eventType", if self.exec.is_some() { "exec" } else { "fork" })?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("pid", &self.process.pid)?;
        if let Some((id, parent)) = self.parent() {
            map.serialize_entry("parent", &id)?;
            map.serialize_entry("ppid", &parent.pid)?;
        }
        map.serialize_entry("origin", origin(self.process.origin))?;
        if let Some(exec) = &self.exec {
            self.program(exec, &mut map)?;
        }
        self.life(&mut map)?;
        map.end()
    }
}

impl<'a> Entry<'a> {
    fn parent(&self) -> Option<(u32, &'a Process)> {
        let id = self.process.parent?;
        Some((id, self.trace.processes().get(id as usize)?))
    }

    fn program<M: serde::ser::SerializeMap>(&self, exec: &Exec<'_>, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("processBinary", &escape(exec.binary))?;
        map.serialize_entry("arguments", &exec.argv().map(escape).collect::<Vec<_>>())?;
        map.serialize_entry("filename", &escape(exec.filename))?;
        if !exec.interpreter.is_empty() {
            map.serialize_entry("interpreter", &escape(exec.interpreter))?;
        }
        map.serialize_entry("cwd", &escape(exec.directory))?;
        let [uid, gid, euid, egid] = exec.ids;
        map.serialize_entry("uid", &uid)?;
        map.serialize_entry("gid", &gid)?;
        if (euid, egid) != (uid, gid) {
            map.serialize_entry("euid", &euid)?;
            map.serialize_entry("egid", &egid)?;
        }
        map.serialize_entry("capEffective", &format!("{:016x}", exec.cap_effective))?;
        let [pid_ns, mnt_ns, net_ns, user_ns] = exec.namespaces;
        map.serialize_entry("namespaces", &Namespaces { pid: pid_ns, mnt: mnt_ns, net: net_ns, user: user_ns })?;
        map.serialize_entry("executedOn", &time::rfc3339(self.trace.unix_ns(exec.boottime_ns)))
    }

    fn life<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if self.process.start_ns != 0 {
            map.serialize_entry("start", &time::rfc3339(self.trace.unix_ns(self.process.start_ns)))?;
        }
        let Some(end) = &self.process.end else {
            return Ok(());
        };
        map.serialize_entry("end", &time::rfc3339(self.trace.unix_ns(end.boottime_ns)))?;
        match end.status & 0x7f {
            0 => map.serialize_entry("exitCode", &(end.status >> 8 & 0xff))?,
            signal => map.serialize_entry("signal", &signal)?,
        }
        map.serialize_entry("userNs", &end.utime_ns)?;
        map.serialize_entry("systemNs", &end.stime_ns)?;
        map.serialize_entry("maxRssBytes", &end.max_rss_bytes)
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Root => "root",
        Origin::Forked => "forked",
        Origin::Joined => "joined",
        Origin::Unknown => "unknown",
    }
}

#[derive(serde::Serialize)]
struct Namespaces {
    pid: u64,
    mnt: u64,
    net: u64,
    user: u64,
}
