//! The toolchain of the kernel programs: a rustc with `core` for BPF, and `bpf-linker` built against that rustc's LLVM.
//!
//! Debian's `rustc-web` ships both halves that must match, the LLVM library and `core` compiled for BPF, so no nightly
//! and no build of `core` is needed. Elsewhere a rustup nightly with rust-src and a `bpf-linker` in PATH do.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::tools::Tool;
use crate::{apt, command};

/// The linker's version; a folder below target/tools is named for it.
const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that Debian's rustc is built with, as the linker's feature and as the library's name.
const LLVM_MAJOR: &str = "22";
const PACKAGES: [&str; 3] = ["rustc-web", "libstd-rust-web-dev-bpf", "libllvm22"];
const PACKAGED_RUSTC: &str = "/usr/bin/rustc";
const BPF_TARGET: &str = "bpfel-unknown-none";

/// A compiler and a linker that understand each other.
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) linker: PathBuf,
    /// Whether `core` must be built from its sources, because the compiler ships none for BPF.
    pub(crate) builds_core: bool,
}

/// Finds a toolchain, or installs Debian's.
pub(crate) fn ensure() -> Result<Toolchain> {
    if packaged_rustc().is_some() || (apt::present() && apt::offered(&PACKAGES)) {
        return packaged();
    }
    match nightly() {
        Some(toolchain) => {
            println!("eBPF toolchain: a rustup nightly with rust-src and the bpf-linker in PATH.");
            Ok(toolchain)
        }
        None if apt::present() => bail!(
            "no eBPF toolchain: Debian's archive offers no {}; can this machine reach it, with the security updates of \
             Debian 12?",
            PACKAGES.join(", ")
        ),
        None => bail!(
            "no eBPF toolchain: install Debian's {}, or a rustup nightly with rust-src and a bpf-linker built for its LLVM",
            PACKAGES.join(", ")
        ),
    }
}

fn packaged() -> Result<Toolchain> {
    apt::install("eBPF compiler, with core compiled for BPF", &PACKAGES)?;
    apt::install("C compiler to build bpf-linker", &["gcc", "libc6-dev"])?;
    let rustc = packaged_rustc().with_context(|| format!("{PACKAGED_RUSTC} has no core for {BPF_TARGET}"))?;
    Ok(Toolchain { rustc, linker: linker()?, builds_core: false })
}

/// Debian's rustc, when its `core` for BPF is there and its LLVM is the linker's.
fn packaged_rustc() -> Option<PathBuf> {
    let said = command::read(Command::new(PACKAGED_RUSTC).arg("-vV")).ok()?;
    let llvm = said.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    let sysroot = command::read(Command::new(PACKAGED_RUSTC).args(["--print", "sysroot"])).ok()?;
    let core = Path::new(sysroot.trim()).join("lib/rustlib").join(BPF_TARGET).join("lib");
    (llvm.split('.').next() == Some(LLVM_MAJOR) && core.is_dir()).then(|| PACKAGED_RUSTC.into())
}

/// `bpf-linker` built against Debian's LLVM, once for each version.
fn linker() -> Result<PathBuf> {
    let feature = format!("llvm-{LLVM_MAJOR}");
    let variant = format!("-llvm{LLVM_MAJOR}");
    let linker = Tool {
        name: "bpf-linker",
        version: LINKER_VERSION,
        args: &["--no-default-features", "--features", &feature],
        variant: &variant,
        notice: "eBPF linker (a minute)",
    };
    linker.ensure(&[("LLVM_PREFIX", llvm_prefix(&linker.home())?)])
}

/// The linker's build looks for `lib/libLLVM.so` below one folder; Debian's library carries its version in the name.
fn llvm_prefix(home: &Path) -> Result<PathBuf> {
    let cache = command::read(Command::new("/sbin/ldconfig").arg("-p"))?;
    let name = format!("libLLVM.so.{LLVM_MAJOR}.");
    let library = cache
        .lines()
        .filter(|line| line.trim_start().starts_with(&name))
        .find_map(|line| line.split(" => ").nth(1))
        .with_context(|| format!("no {name}* among the installed libraries"))?;
    let prefix = home.join("llvm");
    let link = prefix.join("lib/libLLVM.so");
    std::fs::create_dir_all(prefix.join("lib"))?;
    if link.symlink_metadata().is_ok() {
        std::fs::remove_file(&link)?;
    }
    symlink(library.trim(), &link)?;
    Ok(prefix)
}

/// A rustup nightly that has its own sources, and whatever bpf-linker is in PATH.
fn nightly() -> Option<Toolchain> {
    let rustup = |args: &[&str]| command::read(Command::new("rustup").args(["run", "nightly"]).args(args));
    let sysroot = rustup(&["rustc", "--print", "sysroot"]).ok()?;
    let sysroot = Path::new(sysroot.trim());
    let sources = sysroot.join("lib/rustlib/src/rust/library/core");
    let linker = command::find("bpf-linker")?;
    sources.is_dir().then(|| Toolchain { rustc: sysroot.join("bin/rustc"), linker, builds_core: true })
}
