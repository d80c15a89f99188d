//! Programs to trace: scripts and small C programs, each doing one thing that a test then looks for.

use std::path::PathBuf;
use std::process::Command;

use crate::place::{Scratch, need};

/// The system's own interpreter, not one that a developer's shell puts before it.
pub const PYTHON: &str = "/usr/bin/python3";

/// A command line that runs a script, without the user's and the site's own modules.
#[must_use]
pub fn python(script: &str) -> Vec<String> {
    let _ = need(PYTHON);
    [PYTHON, "-I", "-S", "-B", "-c", script].map(str::to_owned).to_vec()
}

/// Compiles a C program into the scratch folder.
#[must_use]
pub fn compile(scratch: &Scratch, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let source = scratch.write(format!("{name}.c"), source);
    let program = scratch.join(name);
    let mut gcc = Command::new(need("gcc"));
    gcc.args(["-O1", "-Wall", "-o"]).arg(&program).arg(&source).args(flags);
    let compiled = gcc.output().unwrap_or_else(|error| panic!("gcc: {error}"));
    assert!(compiled.status.success(), "{name}.c: {}", String::from_utf8_lossy(&compiled.stderr));
    program
}
