//! The programs for an old C library: Cargo with Zig as linker and C compiler, which knows the symbols of each version of it. Both come
//! from PyPI, by their digests.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Glibc, HELPER, PROGRAMS};
use crate::setup::tools::Wheel;
use crate::{command, ebpf, place};

const FOLDER: &str = "zigbuild-0.24.0-zig-0.17.1";
const WHEELS: &str = "cargo-zigbuild==0.24.0 \
     --hash=sha256:484412e39e4c6039474535ce97ee75a22bab22d58233056f8ec8a8f9034bb957\n\
     ziglang==0.17.1 --hash=sha256:ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds them, in a folder of their own below the target folder; returns where they are.
pub(super) fn for_glibc(glibc: Glibc) -> Result<PathBuf> {
    ebpf::build(true)?;
    let wheel = Wheel { folder: FOLDER, requirement: WHEELS };
    let zigbuild = wheel.ensure("programs for an old C library", "cargo-zigbuild", &["--version"])?;
    let bin = zigbuild.parent().context("cargo-zigbuild stands in no folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([bin.to_owned()].into_iter().chain(std::env::split_paths(&path)))?;
    let target = place::target().join("dist");
    let mut build = std::process::Command::new(&zigbuild);
    build.current_dir(place::root()).args(["zigbuild", "--release", "--locked"]);
    build.arg(format!("--target={TARGET}.{glibc}"));
    build.args(PROGRAMS.map(|program| format!("--package={program}")));
    let remapped = remapped();
    build
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", &target)
        .env("TESTIMONY_EBPF", place::ebpf_object())
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            remapped
                .iter()
                .map(|(from, to)| format!("--remap-path-prefix={from}={to}"))
                .collect::<Vec<_>>()
                .join("\x1f"),
        )
        .env(
            "CFLAGS",
            remapped.iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}")).collect::<Vec<_>>().join(" "),
        )
        .env_remove("RUSTFLAGS");
    println!("building for glibc {glibc}; the first time takes a quarter of an hour.");
    command::run(&mut build)?;
    let built = target.join(TARGET).join("release");
    ebpf::build_tpm_helper()?;
    std::fs::copy(place::target().join("release").join(HELPER), built.join(HELPER))?;
    Ok(built)
}

/// Folders of this machine that programs would name, and what they name instead.
fn remapped() -> Vec<(String, &'static str)> {
    let cargo = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let root = place::root().display().to_string();
    let target = place::target().display().to_string();
    [(Ok(target), "/target"), (Ok(root), "."), (cargo, "/cargo")]
        .into_iter()
        .filter_map(|(from, to): (Result<String, std::env::VarError>, _)| Some((from.ok()?, to)))
        .collect()
}
