//! Ways around the hooks: seen by every one of them, or stated, never neither. Each has a twin that is complete.

use proto::evidence::Level;
use tests::{Record, Run, Scratch, compile, python};

/// Whether opens are seen where the file itself is opened, whichever way a program got there.
fn sees_objects(record: &Record) -> bool {
    let hooks = &record.trace.opened().hooks;
    hooks.iter().any(|hook| hook.observation == "open" && hook.level() == Level::Object)
}

#[test]
fn io_uring_is_seen_or_ends_completeness() {
    let scratch = Scratch::new();
    let script = r#"
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
ring = libc.syscall(425, 4, ctypes.create_string_buffer(120))
print("set up" if ring >= 0 else os.strerror(ctypes.get_errno()))
"#;
    let ran = Run::new(&scratch, python(script)).go();
    let said = String::from_utf8_lossy(&ran.stdout);
    let record = ran.record();
    if said.trim() != "set up" {
        println!("this kernel grants no io_uring: {said}");
        return record.must_be_complete();
    }
    if sees_objects(&record) {
        println!("opens are seen at the object");
    } else {
        record.must_lack("IO_URING_USED");
    }
}

#[test]
fn an_io_uring_that_was_refused_is_no_matter() {
    let scratch = Scratch::new();
    let script = "import ctypes\nassert ctypes.CDLL(None).syscall(425, 0, None) < 0";
    let _ = Run::new(&scratch, python(script)).go().complete();
}

/// Opens a file by the 32-bit entry. Without a library: its addresses must fit 32 bits.
const COMPAT_OPEN: &str = r#"
static const char name[] = "input";
static const char other[] = "other";
static long compat(long number, long one, long two) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(one), "c"(two), "d"(0L)
                     : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}
static void leave(long status) { __asm__ volatile("syscall" : : "a"(231L), "D"(status) : "rcx", "r11"); }
void _start(void) { leave(COMPAT_CALL < 0 ? 3 : 0); for (;;) {} }
"#;

fn compat(call: &str) -> Option<(Scratch, Record)> {
    let scratch = Scratch::new();
    scratch.write("input", "x");
    let source = COMPAT_OPEN.replace("COMPAT_CALL", call);
    let flags = ["-nostdlib", "-static", "-no-pie", "-fno-pie", "-fno-stack-protector", "-Wno-unused"];
    let program = compile(&scratch, "compat", &source, &flags);
    let bare = std::process::Command::new(&program).current_dir(scratch.path()).status().expect("it runs");
    if !bare.success() {
        println!("this kernel has no 32-bit entry: {bare}");
        return None;
    }
    scratch.write("input", "x");
    let _ = std::fs::remove_file(scratch.join("other"));
    let ran = Run::new(&scratch, [&program]).go();
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let record = ran.record();
    Some((scratch, record))
}

#[test]
fn an_open_by_the_32_bit_entry_is_seen_or_ends_completeness() {
    let Some((scratch, record)) = compat("compat(5, (long)name, 0)") else { return };
    if sees_objects(&record) {
        assert_eq!(record.file(&scratch.join("input")).accesses, 1);
    } else {
        record.must_lack("COMPAT_SYSCALL");
    }
}

#[test]
fn an_unlink_by_the_32_bit_entry_is_seen_or_ends_completeness() {
    let Some((_, record)) = compat("compat(10, (long)name, 0)") else { return };
    if record.names().is_empty() {
        record.must_lack("COMPAT_SYSCALL");
    }
}

/// The numbers 9 and 101 mean `mmap` and `ptrace` by the other entry, of which most calls are not told.
#[test]
fn a_link_by_the_32_bit_entry_is_seen_or_ends_completeness() {
    let Some((_, record)) = compat("compat(9, (long)name, (long)other)") else { return };
    if record.names().is_empty() {
        record.must_lack("COMPAT_SYSCALL");
    }
}

/// `ioperm`, which gives ports back here.
#[test]
fn a_call_by_the_32_bit_entry_whose_number_is_another_s_ends_completeness() {
    let Some((_, record)) = compat("compat(101, 0x80, 1)") else { return };
    record.must_lack("COMPAT_SYSCALL");
}

#[test]
fn an_open_by_the_64_bit_entry_is_the_twin() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "x");
    let record = Run::new(&scratch, ["/bin/cat", "input"]).go().complete();
    assert_eq!(record.file(&input).accesses, 1);
}
