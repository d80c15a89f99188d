//! What the programs cost, as far as the kernel tells it.

use std::{fs, os::fd::AsFd as _, os::fd::AsRawFd as _};

/// Bytes of a translated instruction.
const INSTRUCTION_BYTES: u32 = 8;

/// A program that was loaded here.
#[derive(Debug, Clone)]
pub struct Cost {
    /// Its name.
    pub program: String,
    /// Instructions after the kernel's translation.
    pub translated: Option<u32>,
    /// Instructions that the kernel's verifier walked.
    pub verified: Option<u32>,
    /// Runs, and the nanoseconds of all of them; counted only while kernel.bpf_stats_enabled is 1, else 0.
    pub runs: u64,
    /// See `runs`.
    pub ns: u64,
}

/// A row for each program, in the order of their names. What the kernel does not tell is not there.
pub(super) fn costs(ebpf: &aya::Ebpf) -> Vec<Cost> {
    let mut costs: Vec<Cost> = ebpf.programs().filter_map(|(name, program)| cost(name, program)).collect();
    costs.sort_by(|one, other| one.program.cmp(&other.program));
    costs
}

fn cost(name: &str, program: &aya::programs::Program) -> Option<Cost> {
    let info = program.info().ok()?;
    let [runs, ns] = ["run_cnt:", "run_time_ns:"].map(|field| field_of(&info, field).unwrap_or_default());
    Some(Cost {
        program: name.to_owned(),
        translated: info.size_translated().map(|bytes| bytes / INSTRUCTION_BYTES),
        verified: info.verified_instruction_count(),
        runs,
        ns,
    })
}

/// A number that /proc tells of a program's descriptor.
pub(super) fn field_of(info: &aya::programs::ProgramInfo, field: &str) -> Option<u64> {
    let fd = info.fd().ok()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
}
