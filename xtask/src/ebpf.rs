//! `build-ebpf`: compiles the kernel programs into `target/ebpf/testimony-ebpf`, where the agent's build finds them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

use crate::setup::{self, Group, toolchain};
use crate::{command, place};

const TARGET: &str = "bpfel-unknown-none";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build as the agent ships it: link-time optimised, in one unit
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    build(args.release)
}

/// The programs as they ship: the kernel's first, then the agent that embeds them, and the verifier. One call builds both,
/// because Cargo would build what they share once for each call that asks for other features.
pub(crate) fn build_agent() -> Result<()> {
    build(true)?;
    setup::ensure(Group::Build)?;
    command::run(command::cargo().args([
        "build",
        "--release",
        "--package",
        "testimony",
        "--package",
        "testimony-verify",
        "--package",
        "testimony-collector",
    ]))
}

/// The helper that speaks to the TPM, for release; with the library that it alone is linked with.
pub(crate) fn build_tpm_helper() -> Result<()> {
    setup::tpm_library()?;
    command::run(command::cargo().args(["build", "--release", "--package", "testimony-tpm"]))
}

/// Builds the kernel programs. Cargo knows whether anything changed; an object that did not is left untouched, so that
/// the agent is not rebuilt for it.
pub(crate) fn build(release: bool) -> Result<()> {
    refuse_relaxed_atomics(&place::root().join("agent-ebpf/src"))?;
    let toolchain = toolchain::ensure()?;
    let target_dir = place::target().join("ebpf/build");
    let mut cargo = command::cargo();
    cargo
        .current_dir(place::root().join("agent-ebpf"))
        .args(["build", "--quiet", "--bin", "testimony-ebpf", "--features", "kernel", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTC", &toolchain.rustc)
        // `core`'s BPF intrinsics and the target itself are unstable in every compiler there is.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&toolchain.linker)?.join("\x1f"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN");
    if release {
        cargo.arg("--release");
    }
    if toolchain.builds_core {
        cargo.args(["-Z", "build-std=core"]);
    }
    command::run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    place_if_changed(&target_dir.join(TARGET).join(profile).join("testimony-ebpf"), &place::ebpf_object())
}

/// BTF for the maps and functions; instruction set v3, because v1 and v2 have no atomic fetch-and-add; paths of this
/// machine kept out, because the programs' digests are signed and must not differ between machines.
fn flags(linker: &Path) -> Result<Vec<String>> {
    let linker = linker.to_str().context("the path of bpf-linker is not UTF-8")?;
    let root = place::root();
    let root = root.to_str().context("the path of the workspace is not UTF-8")?;
    let mut flags = vec![
        "-Cdebuginfo=2".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={linker}"),
        format!("--remap-path-prefix={root}=."),
    ];
    if let Some(home) = cargo_home() {
        flags.push(format!("--remap-path-prefix={home}=/cargo"));
    }
    Ok(flags)
}

/// LLVM 22 compiles a relaxed `atomic_xadd` to the instruction that does not fetch, even where the result is used: the
/// caller then reads its own operand as the old value, without any warning. The stronger orderings fetch, and cost the
/// same on the machines that run these programs.
fn refuse_relaxed_atomics(sources: &Path) -> Result<()> {
    for entry in std::fs::read_dir(sources).with_context(|| format!("{} cannot be read", sources.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            refuse_relaxed_atomics(&path)?;
        } else if let Some(line) = relaxed_line(&std::fs::read_to_string(&path)?) {
            bail!(
                "{}:{line}: a relaxed atomic does not return the old value (LLVM 22 drops the fetch); the methods of \
                 AtomicU64 that return it do not exist for this target either: use \
                 core::intrinsics::atomic_xadd::<u64, u64, {{ AtomicOrdering::AcqRel }}>(pointer, 1)",
                path.display()
            );
        }
    }
    Ok(())
}

/// The first line, from 1, that names the relaxed ordering outside a comment.
fn relaxed_line(source: &str) -> Option<usize> {
    let code = |line: &str| line.split("//").next().is_some_and(|code| code.contains("Relaxed"));
    source.lines().position(code).map(|index| index + 1)
}

fn cargo_home() -> Option<String> {
    match std::env::var("CARGO_HOME") {
        Ok(home) => Some(home),
        Err(_) => std::env::var("HOME").ok().map(|home| format!("{home}/.cargo")),
    }
}

fn place_if_changed(built: &Path, placed: &Path) -> Result<()> {
    let object = std::fs::read(built).with_context(|| format!("{} was not built", built.display()))?;
    let object = without_dwarf(&object).with_context(|| format!("{} cannot be stripped", built.display()))?;
    if std::fs::read(placed).is_ok_and(|old| old == object) {
        return Ok(());
    }
    std::fs::write(placed, &object).with_context(|| format!("{} cannot be written", placed.display()))?;
    println!("{}: {} bytes", placed.display(), object.len());
    Ok(())
}

/// The object without what only debuggers read, four fifths of it: the agent carries, hashes and parses it at every start.
/// Without `-Cdebuginfo` the linker would not have what it makes the BTF of.
fn without_dwarf(object: &[u8]) -> Result<Vec<u8>> {
    let mut file = Builder::read(object)?;
    for section in &mut file.sections {
        let name = section.name.as_slice();
        let name = name.strip_prefix(b".rel").unwrap_or(name);
        section.delete = name.starts_with(b".debug_");
    }
    // LLVM keeps the names of sections and symbols in one table; what writes the object here wants two.
    let names = file.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    file.write(&mut stripped)?;
    Ok(stripped)
}

#[cfg(test)]
mod tests {
    use super::relaxed_line;

    #[test]
    fn relaxed_in_code_is_found_with_its_line() {
        assert_eq!(relaxed_line("a\nb.fetch_add(1, Ordering::Relaxed);\n"), Some(2));
    }

    #[test]
    fn relaxed_in_a_comment_is_no_fault() {
        assert_eq!(relaxed_line("// Relaxed would lose the fetch\nb.swap(1, AcqRel);\n"), None);
    }
}
