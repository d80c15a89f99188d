//! Prints messages and services as generated from their .proto file: what `cargo xtask proto` writes or compares.
//! It stands apart because no other developer command needs its dependencies.
//!
//! The parser is written in Rust, so no protoc is needed and every machine generates the same text.

use std::path::Path;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, source, package] = words.as_slice() else {
        bail!("give the folder of the .proto files, one, its package")
    };
    let descriptors = protox::compile([source], [Path::new(folder)])?;
    let out = tempfile::tempdir()?;
    let mut config = prost_build::Config::new();
    // A frame is as large as its largest message, and these are rare.
    for field in ["SessionOpened.platform", "SessionClosed.platform"] {
        config.boxed(format!(".testimony.evidence.v1.{field}"));
    }
    config.out_dir(out.path());
    tonic_prost_build::configure().out_dir(out.path()).compile_fds_with_config(descriptors, config)?;
    print!("{}", std::fs::read_to_string(out.path().join(format!("{package}.rs")))?);
    Ok(())
}
