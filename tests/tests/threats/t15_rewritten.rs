//! 15: a file changes between what was read of it and its digest.

use proto::evidence::Class;
use tests::{Bystander, Record, Scratch};

use crate::calls::{script, session, succeeded};

/// Reads a file, waits, and reads on by the same descriptor.
const READS_ON: &str = r#"
import time
file = os.open("file", os.O_RDONLY)
os.pread(file, 8, 0)
open("here", "w").close()
while not os.path.exists("go"): time.sleep(0.01)
print(os.pread(file, 8, 0).decode())
"#;

/// A session that reads a file twice by one descriptor, while somebody else does something to it.
fn meanwhile(act: &str) -> (Scratch, Record, String) {
    let scratch = Scratch::new();
    scratch.write("file", "original");
    std::thread::sleep(std::time::Duration::from_millis(100));
    let mut other = Bystander::start(
        &scratch,
        &format!("print('here', flush=True)\nsys.stdin.readline()\n{act}\nprint('done', flush=True)"),
    );
    let mut running = session(&scratch, script(READS_ON)).start();
    running.wait_for(&scratch.join("here"));
    other.tell("go");
    assert_eq!(other.hear(), "done");
    scratch.write("go", "");
    let ran = running.wait();
    let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    let record = succeeded(ran);
    record.must_be_complete_on_the_weakest();
    (scratch, record, said)
}

/// Reasons that tell of a change, or of somebody who could have made one.
const REASONS: [&str; 6] = ["CHANGED", "WRITER_OPEN", "OUTSIDE_WRITER", "NO_LEASE", "NOT_FOUND_AGAIN", "GONE_SINCE"];

#[test]
fn a_file_that_is_rewritten_under_a_reader_is_not_answered_for() {
    let (scratch, record, said) = meanwhile("open('file', 'r+').write('REPLACED')");
    assert_eq!(said, "REPLACED");
    record.must_not_answer_for(&scratch.join("file"), &REASONS);
}

#[test]
fn one_that_is_put_back_as_it_was_is_not_either() {
    let (scratch, record, said) = meanwhile(
        "before = os.stat('file')\nopen('file', 'r+').write('REPLACED')\nopen('file', 'r+').write('original')\n\
         os.utime('file', ns=(before.st_atime_ns, before.st_mtime_ns))",
    );
    assert_eq!(said, "original");
    record.must_not_answer_for(&scratch.join("file"), &REASONS);
}

#[test]
fn twin() {
    let (scratch, record, said) = meanwhile("open('file').read()");
    assert_eq!(said, "original");
    assert_eq!(record.file(&scratch.join("file")).class, Class::Stable);
}
