//! What the host says of itself: what differs at the end first, then what it was at the start.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::{
    terminal::{Style, Terminal, cut},
    text::Text,
};

/// Differences that are printed; more are counted.
const DIFFERENCES_MAX: usize = 12;

/// `testimony.platform`, as far as it is shown. What is not known is not there.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Platform {
    pub(crate) kernel_release: Text,
    pub(crate) machine: Text,
    #[serde(default)]
    agent_sha256: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel_version: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel_build_id: Option<Text>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    command_line: Vec<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    security_modules: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lockdown: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secure_boot: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    module_signatures: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taint: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clock_source: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hypervisor: Option<Text>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settings: Vec<Setting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sessions_since_boot: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sessions_since_install: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bpf: Option<Bpf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct End {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taint: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lockdown: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clock_source: Option<Text>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settings: Vec<Setting>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    modules_came: Vec<Text>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    modules_gone: Vec<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bpf: Option<BpfChange>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Setting {
    name: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Text>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Bpf {
    programs: Vec<Program>,
    links: Vec<Link>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct BpfChange {
    programs_came: Vec<Program>,
    programs_gone: Vec<u32>,
    links_came: Vec<Link>,
    links_gone: Vec<u32>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Program {
    id: u32,
    #[serde(rename = "type")]
    kind: Text,
    name: Text,
    tag: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Text>,
    ours: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Link {
    id: u32,
    program: u32,
    target: Text,
}

/// Writes what differs, and then what was there, by the host's own word.
pub(super) fn write(out: &mut dyn Write, terminal: &Terminal, platform: &Platform) -> io::Result<()> {
    let differences = differences(platform);
    for difference in differences.iter().take(DIFFERENCES_MAX) {
        let line = cut(difference, terminal.columns.saturating_sub(13));
        writeln!(out, "  {} {line}", terminal.paint(Style::Warn, "meanwhile:"))?;
    }
    if differences.len() > DIFFERENCES_MAX {
        writeln!(out, "  meanwhile: {} differences more", differences.len() - DIFFERENCES_MAX)?;
    }
    let facts = facts(platform);
    if facts.is_empty() {
        return Ok(());
    }
    let line = format!("  the host says of itself: {}", facts.join(", "));
    writeln!(out, "{}", terminal.paint(Style::Faint, &cut(&line, terminal.columns)))
}

fn facts(platform: &Platform) -> Vec<String> {
    let text = |name: &str, value: &Option<Text>| value.as_ref().map(|value| format!("{name} {value}"));
    let yes =
        |name: &str, value: Option<bool>| value.map(|value| format!("{name} {}", if value { "on" } else { "off" }));
    let bpf = platform.bpf.as_ref().map(|bpf| {
        let ours = bpf.programs.iter().filter(|program| program.ours).count();
        format!("{} BPF programs, {ours} of them the tracer's", bpf.programs.len())
    });
    let facts = [
        platform.sessions_since_boot.map(|number| format!("session {number} of this boot")),
        platform.taint.filter(|taint| *taint != 0).map(|taint| format!("tainted ({taint})")),
        text("lockdown", &platform.lockdown),
        yes("secure boot", platform.secure_boot),
        bpf,
        text("clock", &platform.clock_source),
        text("hypervisor", &platform.hypervisor),
    ];
    facts.into_iter().flatten().collect()
}

fn differences(platform: &Platform) -> Vec<String> {
    let Some(end) = &platform.end else { return Vec::new() };
    let mut lines = Vec::new();
    for setting in &end.settings {
        let before = platform.settings.iter().find(|before| before.name == setting.name);
        let of = |setting: Option<&Setting>| {
            setting
                .and_then(|setting| setting.value.clone())
                .map_or_else(|| "not there".to_owned(), |value| format!("\"{value}\""))
        };
        lines.push(format!("{} was {}, is {}", setting.name, of(before), of(Some(setting))));
    }
    let fact = |name: &str, before: Option<String>, after: Option<String>| {
        (before != after).then(|| {
            let known = |value: Option<String>| value.unwrap_or_else(|| "not known".to_owned());
            format!("{name} was {}, is {}", known(before), known(after))
        })
    };
    let text = |value: &Option<Text>| value.as_ref().map(ToString::to_string);
    lines.extend(fact("taint", platform.taint.map(|bits| bits.to_string()), end.taint.map(|bits| bits.to_string())));
    lines.extend(fact("lockdown", text(&platform.lockdown), text(&end.lockdown)));
    lines.extend(fact("the clock source", text(&platform.clock_source), text(&end.clock_source)));
    lines.extend(end.modules_came.iter().map(|name| format!("module {name} came")));
    lines.extend(end.modules_gone.iter().map(|name| format!("module {name} went")));
    if let Some(bpf) = &end.bpf {
        programs(bpf, platform.bpf.as_ref(), &mut lines);
    }
    lines
}

fn programs(change: &BpfChange, before: Option<&Bpf>, lines: &mut Vec<String>) {
    let told = |program: &Program| {
        format!("BPF program {} ({} {}, tag {})", program.id, program.kind, program.name, program.tag)
    };
    lines.extend(change.programs_came.iter().map(|program| format!("{} came", told(program))));
    let gone = |id: &u32| {
        let program = before.and_then(|before| before.programs.iter().find(|program| program.id == *id));
        format!("{} went", program.map_or_else(|| format!("BPF program {id}"), told))
    };
    lines.extend(change.programs_gone.iter().map(gone));
    let at = |link: &Link| if link.target.is_empty() { String::new() } else { format!(", at {}", link.target) };
    let came = |link: &Link| format!("BPF link {} of program {}{} came", link.id, link.program, at(link));
    lines.extend(change.links_came.iter().map(came));
    lines.extend(change.links_gone.iter().map(|id| format!("BPF link {id} went")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        let platform: Platform = serde_json::from_str(json).unwrap();
        let mut out = Vec::new();
        write(&mut out, &Terminal::new(false, 120), &platform).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_differs_stands_before_what_was_there() {
        let text = shown(
            r#"{"kernelRelease":"6","machine":"m","taint":0,"clockSource":"tsc","secureBoot":false,"sessionsSinceBoot":3,
            "settings":[{"name":"kernel.core_pattern","value":"core"}],
            "bpf":{"programs":[{"id":7,"type":"lsm","name":"p","tag":"a0","ours":true}],"links":[]},
            "end":{"taint":0,"clockSource":"hpet","settings":[{"name":"kernel.core_pattern","value":"|\\x1b"}],
            "modulesCame":["odd (OE)"],"bpf":{"programsCame":[],"programsGone":[7],"linksCame":[],"linksGone":[2]}}}"#,
        );
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "meanwhile: kernel.core_pattern was \"core\", is \"|\\x1b\"",
                "meanwhile: the clock source was tsc, is hpet",
                "meanwhile: module odd (OE) came",
                "meanwhile: BPF program 7 (lsm p, tag a0) went",
                "meanwhile: BPF link 2 went",
                "the host says of itself: session 3 of this boot, secure boot off, 1 BPF programs, 1 of them the tracer's, clock tsc",
            ]
        );
    }

    #[test]
    fn of_a_host_that_says_nothing_nothing_is_shown() {
        assert_eq!(shown(r#"{"kernelRelease":"6","machine":"m"}"#), "");
    }
}
