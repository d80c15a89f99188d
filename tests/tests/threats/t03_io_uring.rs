//! 3: io_uring does what system calls do, past the end of every system call.

use proto::evidence::Level;
use tests::Scratch;

use crate::calls::{one, run};

#[test]
fn an_io_uring_is_told_and_where_it_escapes_the_hooks_ends_completeness() {
    let scratch = Scratch::new();
    let record = run(&scratch, "print(call(425, 4, ctypes.create_string_buffer(120)))");
    let act = one(&record, "io_uring_setup");
    assert_eq!(act.arguments[0], 4);
    let hooks = &record.trace.opened().hooks;
    let below = hooks.iter().any(|hook| hook.observation == "open" && hook.level() == Level::Object);
    if act.result < 0 || below {
        record.must_be_complete_on_the_weakest();
    } else {
        record.must_lack("IO_URING_USED");
    }
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(&scratch, "os.close(os.open('/etc/passwd', os.O_RDONLY))");
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.file(std::path::Path::new("/etc/passwd")).accesses, 1);
}
