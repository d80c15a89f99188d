//! The shape of `platform`.
#![expect(dead_code, reason = "fields are read so that what the schema forbids is refused, and none is needed again")]

use crate::json::{Count, Object, present};
use crate::statement::rules::{Escaped, Hex, Text, Unsigned};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Platform<'a> {
    #[serde(borrow)]
    kernel_release: Text<'a, Escaped>,
    #[serde(borrow)]
    machine: Text<'a, Escaped>,
    #[serde(borrow)]
    agent_version: Text<'a, Escaped>,
    #[serde(borrow)]
    agent_sha256: Text<'a, Hex>,
    cpus: u32,
    #[serde(default, borrow, deserialize_with = "present")]
    kernel_version: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    kernel_build_id: Option<Text<'a, Hex>>,
    #[serde(default, borrow, deserialize_with = "present")]
    command_line: Option<Count<Text<'a, Escaped>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    security_modules: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    lockdown: Option<Text<'a, Escaped>>,
    #[serde(default, deserialize_with = "present")]
    secure_boot: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    module_signatures: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    taint: Option<u64>,
    #[serde(default, borrow, deserialize_with = "present")]
    clock_source: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    hypervisor: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    settings: Option<Count<Object<Setting<'a>>>>,
    #[serde(default, deserialize_with = "present")]
    sessions_since_boot: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    sessions_since_install: Option<u64>,
    #[serde(default, borrow, deserialize_with = "present")]
    bpf: Option<Object<Bpf<'a>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    end: Option<Object<End<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct End<'a> {
    #[serde(default, deserialize_with = "present")]
    taint: Option<u64>,
    #[serde(default, borrow, deserialize_with = "present")]
    lockdown: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    clock_source: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    settings: Option<Count<Object<Setting<'a>>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    modules_came: Option<Count<Text<'a, Escaped>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    modules_gone: Option<Count<Text<'a, Escaped>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    bpf: Option<Object<Change<'a>>>,
}

#[derive(Deserialize)]
struct Setting<'a> {
    #[serde(borrow)]
    name: Text<'a, Escaped>,
    #[serde(default, borrow, deserialize_with = "present")]
    value: Option<Text<'a, Escaped>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bpf<'a> {
    #[serde(borrow)]
    programs: Count<Object<Program<'a>>>,
    #[serde(borrow)]
    links: Count<Object<Link<'a>>>,
    more_programs: u32,
    more_links: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    #[serde(borrow)]
    programs_came: Count<Object<Program<'a>>>,
    programs_gone: Count<u32>,
    #[serde(borrow)]
    links_came: Count<Object<Link<'a>>>,
    links_gone: Count<u32>,
    more_programs: u32,
    more_links: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Program<'a> {
    id: u32,
    #[serde(rename = "type", borrow)]
    kind: Text<'a, Escaped>,
    #[serde(borrow)]
    name: Text<'a, Escaped>,
    #[serde(borrow)]
    tag: Text<'a, Hex>,
    #[serde(borrow)]
    loaded_boottime_ns: Text<'a, Unsigned>,
    #[serde(default, borrow, deserialize_with = "present")]
    sha256: Option<Text<'a, Hex>>,
    ours: bool,
}

#[derive(Deserialize)]
struct Link<'a> {
    id: u32,
    #[serde(rename = "type", borrow)]
    kind: Text<'a, Escaped>,
    program: u32,
    #[serde(borrow)]
    target: Text<'a, Escaped>,
}
