//! `setup`: finds or installs what the other commands need, a group at a time, and says so in a sentence each.

pub(crate) mod debian;
mod gomod;
pub(crate) mod peers;
mod sigstore;
mod spire;
mod timestamp_authority;
pub(crate) mod toolchain;
pub(crate) mod tools;

use std::path::Path;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{apt, command, place, vm};

/// Where a kernel describes its types.
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Groups to set up; all of them when none is named
    groups: Vec<Group>,
}

/// What is needed together.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// The compiler and the linker of the kernel programs
    Ebpf,
    /// What the agent's own build needs
    Build,
    /// The programs that the end-to-end tests trace and compare with
    Tests,
    /// What the fuzz targets are built with
    Fuzz,
    /// The workloads of the benchmark, and the tracers it compares with
    Bench,
    /// What checks the sources
    Lint,
    /// Emulator, kernels and root file system of the guests
    Vm,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let groups = if args.groups.is_empty() { Group::value_variants() } else { &args.groups };
    groups.iter().try_for_each(|group| ensure(*group))
}

/// Sets up one group; what is there already is left alone.
pub(crate) fn ensure(group: Group) -> Result<()> {
    match group {
        Group::Ebpf => toolchain::ensure().map(drop),
        Group::Build => apt::install("C compiler for crates with C sources", &["gcc", "libc6-dev"]),
        Group::Tests => tests(),
        Group::Fuzz => apt::install("C++ compiler of the fuzzing engine", &["g++", "libc6-dev"]),
        Group::Bench => bench(),
        Group::Lint => lint(),
        Group::Vm => vm::ensure_all(),
    }
}

/// Refuses, in a sentence, a machine on which nothing can be traced.
pub(crate) fn require_tracing_host() -> Result<()> {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    if (system, machine) != ("linux", "x86_64") {
        bail!("Testimony traces on Linux on x86-64, and this is {system} on {machine}");
    }
    if !Path::new(KERNEL_TYPES).exists() {
        bail!("the running kernel has no {KERNEL_TYPES} (CONFIG_DEBUG_INFO_BTF), so nothing can be traced on it");
    }
    Ok(())
}

fn tests() -> Result<()> {
    apt::install("compilers and builds to trace", &["gcc", "libc6-dev", "make", "autoconf", "automake", "git"])?;
    apt::install("scripts to trace, and the second verifier", &["openssl", "python3", "python3-cryptography"])?;
    apt::install("the oracle of the comparison tests", &["strace"])?;
    apt::install(
        "a TPM in software, and what speaks to it",
        &["libtss2-tcti-swtpm0", "swtpm", "swtpm-tools", "tpm2-tools"],
    )?;
    apt::install("networks of services' own", &["iproute2"])?;
    apt::install("questions to the collector's API", &["curl"])?;
    tpm_library()?;
    apt::install("containers to trace", &["busybox-static", "podman", "runc", "tar"])?;
    apt::install("file systems whose times are tested", &["btrfs-progs", "e2fsprogs", "mount", "xfsprogs"])?;
    peers::ensure()?;
    debian::ensure()?;
    spire::SPIRE.ensure()?;
    sigstore::FULCIO.ensure()?;
    sigstore::REKOR.ensure()?;
    timestamp_authority::TIMESTAMP_AUTHORITY.ensure()?;
    gomod::ensure_own("witness", &place::root().join("tests/witness"))?;
    gomod::ensure_own("ctlog", &place::root().join("tests/ctlog"))?;
    gomod::ensure_own("tlog", &place::root().join("tests/tlog"))
}

/// What `testimony-tpm` alone is linked with.
pub(crate) fn tpm_library() -> Result<()> {
    apt::install("the TPM's library", &["libtss2-dev", "libtss2-tcti-device0", "pkg-config"])
}

fn bench() -> Result<()> {
    apt::install("workloads to measure", &["gcc", "libc6-dev", "make"])?;
    apt::install("tracers to compare with", &["strace", "bpftrace"])
}

fn lint() -> Result<()> {
    for component in ["fmt", "clippy"] {
        if !command::succeeds(command::cargo().args([component, "--version"])) {
            bail!("cargo {component} is missing: run `rustup component add rustfmt clippy`");
        }
    }
    tools::cargo_deny().map(drop)
}
