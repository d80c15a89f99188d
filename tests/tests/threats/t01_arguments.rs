//! 1: arguments that change after somebody read them.

use tests::{Record, Scratch};

use crate::calls::{one, run, script, session};

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
# The other thread has its turns when the interpreter gives them.
for turn in range(400000):
    if turn >= 4000 and all(opened.values()):
        break
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
    let holds = |told: &u64, opened: &u64| told == opened || missed && (1..*opened).contains(told);
    assert!(told.iter().zip(&opened).all(|(told, opened)| holds(told, opened)), "{told:?} of {opened:?}");
    record.sees("open", "each open of the file that it opened");
}

/// The kernel takes the lower half of the number's register, and keeps the whole.
#[test]
fn a_number_with_more_bits_is_the_same_call() {
    let scratch = Scratch::new();
    let files = ["one", "two", "made"].map(|name| scratch.join(name));
    scratch.write("one", "x");
    let record = run(
        &scratch,
        "more = 1 << 32\nmust(call(257 | more, -100, b'one', 0))\nmust(call(82 | more, b'one', b'two'))\n\
         must(call(319 | more, b'hidden', 0))\nmust(call(257 | -1 << 32, -100, b'made', os.O_CREAT | os.O_WRONLY, 0o600))",
    );
    record.must_be_complete_on_the_weakest();
    assert_eq!(files.each_ref().map(|file| record.accesses(file)), [1, 0, 1]);
    assert!(record.trace.names().any(|change| change.target.ends_with(b"two")));
    one(&record, "memfd_create");
    record.sees("open", "by a number whose upper half is not zero");
    record.sees("rename", "by a number whose upper half is not zero");
}

#[test]
fn twin() {
    let (opened, told, _) = opened("for _ in range(7): open('one').close()\nopen('two').close()\nprint(7, 1)");
    assert_eq!(told, opened);
}
