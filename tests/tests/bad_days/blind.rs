//! Ways around the hooks: seen by every one of them, or stated, never neither. Each has a twin that is complete.

use proto::evidence::Level;
use tests::{Record, Run, Scratch, python};

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

fn compat(call: &str) -> Option<(Scratch, Record)> {
    let scratch = Scratch::new();
    scratch.write("input", "x");
    let program = tests::compat(&scratch, call)?;
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
