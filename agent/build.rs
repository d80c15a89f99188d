//! Tells the agent where the kernel programs are: `TESTIMONY_EBPF`, else where `cargo xtask build-ebpf` puts them.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=TESTIMONY_EBPF");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    // Asked as it runs: a target folder may be carried from one checkout to another, and this program in it.
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into());
    let built = PathBuf::from(package).join("..").join(target).join("ebpf/testimony-ebpf");
    let object = env::var_os("TESTIMONY_EBPF").map_or(built, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(object) => println!("cargo::rustc-env=TESTIMONY_EBPF={}", object.display()),
        Err(error) => {
            println!(
                "cargo::error={}: {error}: build the kernel programs first: cargo xtask build-ebpf",
                object.display()
            );
        }
    }
}
