//! 13: a process that reaches into another makes it do its work, or changes what was seen.

use tests::{Bystander, Scratch, bystander};

use crate::calls::{one, run, script, session, succeeded, told};

const ATTACH: &str = "must(call(101, 0x4206, pid, 0, 0))";

#[test]
fn a_bystander_that_is_traced_ends_completeness() {
    let scratch = Scratch::new();
    let bystander = bystander::idle(&scratch);
    let record = run(&scratch, &format!("pid = {}\n{ATTACH}", bystander.pid()));
    record.must_lack("FOREIGN_MEMORY");
    let act = one(&record, "ptrace");
    assert_eq!((act.arguments[1], act.outside), (bystander.pid().into(), true));
}

#[test]
fn asking_a_parent_outside_to_trace_it_ends_completeness() {
    // The command's own parent is the tracer of the session.
    let record = run(&Scratch::new(), "must(call(101, 0, 0, 0, 0))");
    record.must_lack("FOREIGN_MEMORY");
    assert!(one(&record, "ptrace").outside);
}

#[test]
fn a_bystander_s_memory_that_is_read_ends_completeness() {
    let scratch = Scratch::new();
    let mut bystander = Bystander::start(
        &scratch,
        "memory = ctypes.create_string_buffer(b'secret')\nprint('here', flush=True)\nprint(ctypes.addressof(memory), flush=True)\nsys.stdin.readline()",
    );
    let address = bystander.hear();
    let record = run(
        &scratch,
        &format!(
            r#"
import struct
buffer = ctypes.create_string_buffer(6)
here = struct.pack("<2Q", ctypes.addressof(buffer), 6)
there = struct.pack("<2Q", {address}, 6)
must(call(310, {}, here, 1, there, 1, 0))
assert buffer.raw == b"secret"
"#,
            bystander.pid()
        ),
    );
    record.must_lack("FOREIGN_MEMORY");
    assert!(one(&record, "process_vm_readv").outside);
}

#[test]
fn a_bystander_s_memory_that_is_opened_for_writing_ends_completeness() {
    let scratch = Scratch::new();
    let bystander = bystander::idle(&scratch);
    let record = run(&scratch, &format!("os.open('/proc/{}/mem', os.O_RDWR)", bystander.pid()));
    record.must_lack("FOREIGN_MEMORY");
}

#[test]
fn a_bystander_s_memory_that_is_opened_for_reading_ends_completeness() {
    let scratch = Scratch::new();
    let bystander = bystander::idle(&scratch);
    run(&scratch, &format!("os.open('/proc/{}/mem', os.O_RDONLY)", bystander.pid())).must_lack("FOREIGN_MEMORY");
}

#[test]
fn a_member_that_is_traced_from_outside_ends_completeness() {
    let scratch = Scratch::new();
    let mut tracer = Bystander::start(
        &scratch,
        &format!(
            "print('here', flush=True)\npid = int(sys.stdin.readline())\n{ATTACH}\nprint('traced', flush=True)\nsys.stdin.readline()"
        ),
    );
    let command = script(
        "import time\nopen('pid.new', 'w').write(str(os.getpid()))\nos.rename('pid.new', 'pid')\nwhile not os.path.exists('go'): time.sleep(0.01)",
    );
    let mut run = session(&scratch, command).start();
    run.wait_for(&scratch.join("pid"));
    tracer.tell(&std::fs::read_to_string(scratch.join("pid")).unwrap());
    tracer.hear();
    drop(tracer);
    scratch.write("go", "");
    succeeded(run.wait()).must_lack("REACHED_FROM_OUTSIDE");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    // A debugger and its program, both of the session.
    let record = run(
        &scratch,
        &format!(
            r#"
import signal
pid = os.fork()
if pid == 0:
    signal.pause()
{ATTACH}
open(f"/proc/{{pid}}/mem", "rb+").close()
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
open("/proc/self/mem", "rb+").close()
"#
        ),
    );
    record.must_be_complete_on_the_weakest();
    assert!(told(&record, "ptrace").iter().all(|act| !act.outside));
}
