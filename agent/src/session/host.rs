//! The host at the start of a session and at its end: what differs, and what of it says that something may be missing.
//!
//! What stays within the two looks is not judged, and what comes and goes between them is not seen.

#[cfg(test)]
mod tests;

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
};

use attestation::codes;
use proto::evidence::{Bpf, BpfChange, BpfLink, BpfProgram, PlatformEnd, Setting};

use crate::probe::census::{Census, Helpers, Link, Program};

/// Settings of helpers that the kernel starts, outside of every session; those of binfmt_misc and of cgroups are found by looking.
pub const HELPERS: [&str; 7] = [
    "kernel.core_pattern",
    "kernel.modprobe",
    "kernel.hotplug",
    "kernel.poweroff_cmd",
    "kernel.usermodehelper.bset",
    "kernel.usermodehelper.inheritable",
    "uevent_helper",
];
/// How the names of further settings of helpers begin.
pub const HELPERS_BELOW: [&str; 2] = ["binfmt_misc", "release_agent"];
/// Settings that say what the host keeps its programs from.
pub const RESTRAINTS: [&str; 8] = [
    "kernel.unprivileged_bpf_disabled",
    "kernel.yama.ptrace_scope",
    "kernel.randomize_va_space",
    "kernel.modules_disabled",
    "kernel.kexec_load_disabled",
    "kernel.kptr_restrict",
    "kernel.perf_event_paranoid",
    "net.core.bpf_jit_harden",
];

/// Bits of the kernel's taint that modules leave: forced in, forced out, not of the kernel's own tree, unsigned, a live patch.
const TAINT_OF_MODULES: u64 = 1 << 1 | 1 << 3 | 1 << 12 | 1 << 13 | 1 << 15;

/// What a kernel calls its types of programs, by number.
const PROGRAM_TYPES: [&str; 33] = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];
/// Number of the type whose programs replace functions of other programs.
const EXT: u32 = 28;
/// Types of programs that judge packets, addresses, devices and options of sockets: where a connection really leads is the
/// network's, as it is with rules of a firewall.
const OF_THE_NETWORK: [u32; 22] = [1, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 25, 30, 32];
/// Types of programs that watch (kprobe, tracepoint, perf_event, raw_tracepoint, tracing), or let acts fail (lsm), as long as they
/// call no helper that does more. What is of no list replaces parts of the kernel or of other programs, or loads some.
const WATCHING: [u32; 6] = [2, 5, 7, 17, 26, 29];
/// What a kernel calls its types of links, by number.
const LINK_TYPES: [&str; 15] = [
    "unspec",
    "raw_tracepoint",
    "tracing",
    "cgroup",
    "iter",
    "netns",
    "xdp",
    "perf_event",
    "kprobe_multi",
    "struct_ops",
    "netfilter",
    "tcx",
    "uprobe_multi",
    "netkit",
    "sockmap",
];

/// The host at one moment. What could not be read is not there.
#[derive(Debug, Default)]
pub struct Host {
    /// Bits of the kernel's taint.
    pub taint: Option<u64>,
    /// The chosen one of /sys/kernel/security/lockdown.
    pub lockdown: Option<String>,
    /// What the kernel keeps time by.
    pub clock_source: Option<String>,
    /// Values of settings, by name.
    pub settings: BTreeMap<String, Vec<u8>>,
    /// Modules with the kernel's marks, which may be empty.
    pub modules: Option<BTreeMap<String, String>>,
    /// BPF programs and links.
    pub census: Option<Census>,
}

/// A blind spot: its code and detail.
pub type Spot = (&'static str, String);

/// Numbers of the programs that this run attached.
pub type Own = BTreeSet<u32>;

/// What a platform's start says of programs.
pub fn bpf(census: &Census, own: &Own) -> Bpf {
    Bpf {
        programs: census.programs.values().map(|program| message(program, own)).collect(),
        links: census.links.values().map(link_message).collect(),
        more_programs: census.more_programs,
        more_links: census.more_links,
    }
}

/// What a platform's start says of settings.
pub fn settings(host: &Host) -> Vec<Setting> {
    let setting = |(name, value): (&String, &Vec<u8>)| Setting { name: name.clone(), value: Some(value.clone()) };
    host.settings.iter().map(setting).collect()
}

/// What differs at the end, and what it says of the session. The kernel's helpers are asked for where that depends on them.
pub fn end(start: &Host, end: &Host, own: &Own, helpers: impl FnOnce() -> Option<Helpers>) -> (PlatformEnd, Vec<Spot>) {
    let mut spots = Vec::new();
    let (modules_came, modules_gone) = modules(start, end, &mut spots);
    let platform = PlatformEnd {
        taint: end.taint,
        lockdown: end.lockdown.clone(),
        clock_source: end.clock_source.clone(),
        settings: changed_settings(start, end, &mut spots),
        modules_came,
        modules_gone,
        bpf: programs(start.census.as_ref(), end.census.as_ref(), own, helpers, &mut spots),
    };
    (platform, spots)
}

fn changed_settings(start: &Host, end: &Host, spots: &mut Vec<Spot>) -> Vec<Setting> {
    let names: BTreeSet<&String> = start.settings.keys().chain(end.settings.keys()).collect();
    let differs = |name: &&String| start.settings.get(*name) != end.settings.get(*name);
    let mut changed = Vec::new();
    for name in names.into_iter().filter(differs) {
        if HELPERS.contains(&name.as_str()) || HELPERS_BELOW.iter().any(|helper| name.starts_with(helper)) {
            spots.push((codes::HELPER_CHANGED, format!("{name} is not what it was")));
        }
        changed.push(Setting { name: name.clone(), value: end.settings.get(name).cloned() });
    }
    changed
}

/// Modules that came, with their marks, and those that went. One that the kernel marks can be anything.
fn modules(start: &Host, end: &Host, spots: &mut Vec<Spot>) -> (Vec<String>, Vec<String>) {
    if let (Some(before), Some(after)) = (start.taint, end.taint)
        && after & !before & TAINT_OF_MODULES != 0
    {
        spots.push((codes::MODULE_LOADED, "the kernel was not tainted so before".to_owned()));
    }
    let (Some(before), Some(after)) = (&start.modules, &end.modules) else { return (Vec::new(), Vec::new()) };
    let (mut came, mut gone) = (Vec::new(), Vec::new());
    for (name, marks) in after.iter().filter(|(name, marks)| before.get(*name) != Some(marks)) {
        let marked = marks.contains(|mark: char| mark.is_ascii_alphabetic());
        let code = if marked { codes::MODULE_LOADED } else { codes::MODULES_CHANGED };
        let told = if marks.is_empty() { name.clone() } else { format!("{name} {marks}") };
        spots.push((code, format!("{told} came")));
        came.push(told);
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        spots.push((codes::MODULES_CHANGED, format!("{name} went")));
        gone.push(name.clone());
    }
    (came, gone)
}

fn programs(
    start: Option<&Census>,
    end: Option<&Census>,
    own: &Own,
    helpers: impl FnOnce() -> Option<Helpers>,
    spots: &mut Vec<Spot>,
) -> Option<BpfChange> {
    let (Some(start), Some(end)) = (start, end) else {
        spots.push((codes::PROGRAM_CHANGED, "the kernel did not list its programs".to_owned()));
        return None;
    };
    own_programs(start, end, own, spots);
    let more = start.more_programs.max(end.more_programs).max(start.more_links).max(end.more_links);
    if more > 0 {
        spots.push((codes::BPF_CHANGED, format!("{more} are beyond the limit of the list")));
    }
    let programs = Change::of(&start.programs, &end.programs);
    let links = Change::of(&start.links, &end.links);
    foreign(&Both { start, end }, own, &programs, &links, helpers, spots);
    Some(BpfChange {
        programs_came: programs.came.iter().map(|program| message(program, own)).collect(),
        programs_gone: programs.gone.iter().map(|program| program.id).collect(),
        links_came: links.came.iter().map(|link| link_message(link)).collect(),
        links_gone: links.gone.iter().map(|link| link.id).collect(),
        more_programs: end.more_programs,
        more_links: end.more_links,
    })
}

/// The two looks.
struct Both<'a> {
    start: &'a Census,
    end: &'a Census,
}

impl<'a> Both<'a> {
    fn program(&self, id: u32) -> Option<&'a Program> {
        self.end.programs.get(&id).or_else(|| self.start.programs.get(&id))
    }

    fn links(&self) -> impl Iterator<Item = &'a Link> {
        self.start.links.values().chain(self.end.links.values())
    }

    /// Programs that are ours by tag and digest, whoever loaded them: other runs come and go.
    fn kin(&self, own: &Own) -> BTreeSet<u32> {
        let same = |program: &Program| (program.kind, program.tag, program.code.as_ref().map(|code| code.sha256));
        let known: BTreeSet<_> = own.iter().filter_map(|id| self.start.programs.get(id)).map(same).collect();
        let all = self.start.programs.values().chain(self.end.programs.values());
        all.filter(|program| known.contains(&same(program))).map(|program| program.id).collect()
    }

    /// The code of a program that came or went.
    fn code(&self, program: &Program, helpers: &mut dyn FnMut() -> Option<Helpers>) -> &'static str {
        let modifies = || self.links().any(|link| link.program == program.id && link.modifies);
        let mut does_more = || match &program.code {
            Some(code) => code.calls_functions || (!code.helpers.is_empty() && code.may_call(helpers().as_ref())),
            None => true,
        };
        if OF_THE_NETWORK.contains(&program.kind) || (WATCHING.contains(&program.kind) && !modifies() && !does_more()) {
            codes::BPF_OTHERS
        } else {
            codes::BPF_CHANGED
        }
    }
}

/// What came and went that is not ours.
fn foreign(
    both: &Both<'_>,
    own: &Own,
    programs: &Change<'_, Program>,
    links: &Change<'_, Link>,
    helpers: impl FnOnce() -> Option<Helpers>,
    spots: &mut Vec<Spot>,
) {
    let helpers = LazyCell::new(helpers);
    let mut helpers = || LazyCell::force(&helpers).clone();
    let kin = both.kin(own);
    for (program, how) in programs.each().filter(|(program, _)| !kin.contains(&program.id)) {
        let code = both.code(program, &mut helpers);
        spots.push((code, format!("{} {} {how}", named(&PROGRAM_TYPES, program.kind), program.name)));
    }
    for (link, how) in links.each() {
        let told = kin.contains(&link.program) || programs.ids.contains(&link.program);
        match both.program(link.program) {
            // Of a program that came or went itself, that is told.
            _ if told => {}
            Some(program) => {
                let code = both.code(program, &mut helpers);
                let kind = named(&PROGRAM_TYPES, program.kind);
                spots.push((code, format!("a link of {kind} {} {how}", program.name)));
            }
            None => spots.push((codes::BPF_CHANGED, format!("a link of program {} {how}", link.program))),
        }
    }
}

/// Ours are there from the start to the end, as they were, each by its link, and nothing stands in the place of their parts.
fn own_programs(start: &Census, end: &Census, own: &Own, spots: &mut Vec<Spot>) {
    for id in own {
        let (Some(before), Some(after)) = (start.programs.get(id), end.programs.get(id)) else {
            spots.push((codes::PROGRAM_CHANGED, format!("program {id} is not in the kernel's list")));
            continue;
        };
        let links: Vec<&Link> = start.links.values().filter(|link| link.program == *id && link.attached).collect();
        let held = !links.is_empty() && links.iter().all(|link| end.links.get(&link.id) == Some(link));
        if before != after {
            spots.push((codes::PROGRAM_CHANGED, format!("{} is another", before.name)));
        } else if !held {
            spots.push((codes::PROGRAM_CHANGED, format!("{} is not attached as it was", before.name)));
        }
    }
    let all = [start, end].into_iter().flat_map(|census| census.links.values().map(move |link| (census, link)));
    for (census, link) in all {
        let replaces = census.programs.get(&link.program).is_some_and(|program| program.kind == EXT);
        if replaces && link.over.is_some_and(|over| own.contains(&over)) {
            spots.push((codes::PROGRAM_CHANGED, format!("program {} stands in the place of a part", link.program)));
        }
    }
}

/// What came and what went; what changed did both.
struct Change<'a, T> {
    came: Vec<&'a T>,
    gone: Vec<&'a T>,
    ids: BTreeSet<u32>,
}

impl<'a, T: PartialEq> Change<'a, T> {
    fn of(start: &'a BTreeMap<u32, T>, end: &'a BTreeMap<u32, T>) -> Self {
        let differ = |id: &u32| start.get(id) != end.get(id);
        let ids: BTreeSet<u32> = start.keys().chain(end.keys()).copied().filter(differ).collect();
        let of = |census: &'a BTreeMap<u32, T>| ids.iter().filter_map(|id| census.get(id)).collect();
        Self { came: of(end), gone: of(start), ids }
    }

    fn each(&self) -> impl Iterator<Item = (&'a T, &'static str)> {
        let came = self.came.iter().map(|one| (*one, "came"));
        came.chain(self.gone.iter().map(|one| (*one, "went")))
    }
}

fn named(names: &[&str], number: u32) -> String {
    let known = usize::try_from(number).ok().and_then(|at| names.get(at));
    known.map_or_else(|| format!("type {number}"), |name| (*name).to_owned())
}

fn message(program: &Program, own: &Own) -> BpfProgram {
    BpfProgram {
        id: program.id,
        r#type: named(&PROGRAM_TYPES, program.kind),
        name: program.name.clone(),
        tag: program.tag.to_vec(),
        loaded_boottime_ns: program.loaded_boottime_ns,
        sha256: program.code.as_ref().map(|code| code.sha256.to_vec()),
        ours: own.contains(&program.id),
    }
}

fn link_message(link: &Link) -> BpfLink {
    BpfLink { id: link.id, r#type: named(&LINK_TYPES, link.kind), program: link.program, target: link.target.clone() }
}
