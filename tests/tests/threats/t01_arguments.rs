//! 1: arguments that change after somebody read them.

use tests::{Record, Scratch};

use crate::calls::{script, session};

/// Opens what a buffer names while another thread writes other names into it, and counts what was opened by the descriptors.
const CHANGING: &str = r#"
import threading
names = [b"one", b"two"]
inodes = {os.stat(name).st_ino: name for name in names}
buffer = ctypes.create_string_buffer(b"one")
stop = False
def change():
    at = 0
    while not stop:
        at = 1 - at
        ctypes.memmove(buffer, names[at], 3)
thread = threading.Thread(target=change)
thread.start()
opened = dict.fromkeys(names, 0)
for _ in range(4000):
    fd = call(257, -100, buffer, 0)
    if fd >= 0:
        opened[inodes[os.fstat(fd).st_ino]] += 1
        os.close(fd)
stop = True
thread.join()
print(opened[b"one"], opened[b"two"])
"#;

fn opened(body: &str) -> ([u64; 2], [u64; 2], Record) {
    let scratch = Scratch::new();
    let files = ["one", "two"].map(|name| scratch.write(name, name));
    let ran = session(&scratch, script(body)).go();
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let record = ran.record();
    record.must_be_complete_on_the_weakest();
    let said = String::from_utf8(ran.stdout).expect("numbers");
    let mut said = said.split_whitespace().map(|word| word.parse::<u64>().expect("a number"));
    let mut next = || said.next().expect("two numbers");
    ([next(), next()], files.map(|file| record.accesses(&file)), record)
}

#[test]
fn what_is_told_is_what_was_opened() {
    let (opened, told, record) = opened(CHANGING);
    assert!(opened.iter().all(|count| *count > 0), "the names did change: {opened:?}");
    // What the kernel skipped is counted and said; nothing else may lack, and nothing be told that was not opened.
    let missed = record.trace.gaps().iter().any(|gap| gap.code == "MISSED_RUNS");
    let holds = |told: &u64, opened: &u64| told == opened || missed && told < opened;
    assert!(told.iter().zip(&opened).all(|(told, opened)| holds(told, opened)), "{told:?} of {opened:?}");
    record.sees("open", "each open of the file that it opened");
}

#[test]
fn twin() {
    let (opened, told, _) = opened("for _ in range(7): open('one').close()\nopen('two').close()\nprint(7, 1)");
    assert_eq!(told, opened);
}
