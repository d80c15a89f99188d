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

/// What a script of [`calls`] begins with.
const CALL: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    return -ctypes.get_errno() if result == -1 else result
def must(result):
    if result < 0: sys.exit(os.strerror(-result))
    return result
"#;

/// A command line of a script that makes system calls by their numbers: it may say `call(NUMBER, arguments…)`, which gives the result or
/// -errno, and `must(result)`.
#[must_use]
pub fn calls(script: &str) -> Vec<String> {
    python(&format!("{CALL}{script}"))
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

/// A call by the 32-bit entry. Without a library: its addresses must fit 32 bits.
const COMPAT: &str = r#"
static const char name[] = "input";
static const char other[] = "other";
static long compat(long number, long one, long two) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(one), "c"(two), "d"(0L)
                     : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}
static void leave(long status) { __asm__ volatile("syscall" : : "a"(231L), "D"(status) : "rcx", "r11"); }
void _start(void) { leave(CALL_ITSELF < 0 ? 3 : 0); for (;;) {} }
"#;

/// A program that makes a call by the 32-bit entry: `compat(number, one, two)`, in C, where `name` is "input" and `other` is "other".
/// It has run once, without a session; `None` where the kernel has no such entry.
#[must_use]
pub fn compat(scratch: &Scratch, call: &str) -> Option<PathBuf> {
    let flags = ["-nostdlib", "-static", "-no-pie", "-fno-pie", "-fno-stack-protector", "-Wno-unused"];
    let program = compile(scratch, "compat", &COMPAT.replace("CALL_ITSELF", call), &flags);
    let bare = Command::new(&program).current_dir(scratch.path()).status().expect("it starts");
    if !bare.success() {
        println!("this kernel has no 32-bit entry: {bare}");
        return None;
    }
    Some(program)
}
