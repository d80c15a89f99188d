//! Repeats are folded into counts; who and by which path is not.

use std::collections::BTreeSet;

use tests::{Run, Scratch, python};

const OPENS: u64 = 10_000;
/// A repeat is folded while the path told stands: a rename anywhere on the host ends that.
const FRAMES_MAX: usize = 200;

#[test]
fn ten_thousand_opens_of_one_file_are_few_frames_and_the_sums_agree() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "x");
    let script = format!("import os\nfor _ in range({OPENS}): os.close(os.open('input', os.O_RDONLY))");
    let record = Run::new(&scratch, python(&script)).go().complete();
    assert_eq!(record.file(&input).accesses, OPENS);
    let path = input.into_os_string().into_encoded_bytes();
    let opens: Vec<_> = record.opens().into_iter().filter(|open| open.file.path == path).collect();
    assert!(opens.len() <= FRAMES_MAX, "{} frames", opens.len());
    assert_eq!(opens.iter().map(|open| open.count).sum::<u64>(), OPENS);
    record.must_balance();
    let [attempted, delivered, coalesced, lost] = record.numbers("open");
    assert!(coalesced >= OPENS - FRAMES_MAX as u64 && attempted == delivered + coalesced && lost == 0);
}

#[test]
fn one_file_by_two_processes_is_two_edges() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "x");
    let script = r#"
import os
def read():
    for _ in range(100): os.close(os.open("input", os.O_RDONLY))
read()
if os.fork() == 0:
    read()
    os._exit(0)
os.wait()
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    let file = record.file(&input);
    assert_eq!(file.processes().collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    assert_eq!(file.accesses, 200);
    let path = input.into_os_string().into_encoded_bytes();
    let of = |pid: u32| -> u64 {
        let opens = record.opens();
        opens.iter().filter(|open| open.pid == pid && open.file.path == path).map(|open| open.count).sum()
    };
    let pids: Vec<u32> = record.trace.processes().iter().map(|process| process.pid).collect();
    assert_eq!((of(pids[0]), of(pids[1])), (100, 100));
}

/// The kernel gives a process the id of one that is gone; which id is to be had, root may say (`set_tid` of clone3).
#[test]
fn a_process_with_the_id_of_another_has_its_own_opens() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "x");
    let script = r#"
import ctypes, os, signal, struct, sys
def read():
    for _ in range(10): os.close(os.open("input", os.O_RDONLY))
first = os.fork()
if first == 0:
    read()
    os._exit(0)
os.waitpid(first, 0)
wanted = ctypes.c_int32(first)
arguments = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
second = ctypes.CDLL(None, use_errno=True).syscall(435, arguments, len(arguments))
if second == 0:
    read()
    os._exit(0)
if second != first: sys.exit("clone3: %d, %s" % (second, os.strerror(ctypes.get_errno())))
os.waitpid(second, 0)
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    let file = record.file(&input);
    assert_eq!(file.accesses, 20);
    assert_eq!(file.processes().collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    let path = input.into_os_string().into_encoded_bytes();
    let counts: Vec<u64> = record.opens().iter().filter(|open| open.file.path == path).map(|open| open.count).collect();
    assert_eq!(counts, [10, 10]);
}

#[test]
fn one_inode_by_two_names_is_two_paths() {
    let scratch = Scratch::new();
    let one = scratch.write("one", "x");
    let two = scratch.join("two");
    std::fs::hard_link(&one, &two).unwrap();
    let script = r#"
import os
for _ in range(50):
    os.close(os.open("one", os.O_RDONLY))
    os.close(os.open("two", os.O_RDONLY))
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    assert_eq!((record.file(&one).accesses, record.file(&two).accesses), (50, 50));
    assert_eq!(record.file(&one).ino, record.file(&two).ino);
}

#[test]
fn a_rename_between_two_opens_is_a_new_path() {
    let scratch = Scratch::new();
    scratch.write("d/one", "x");
    let script = r#"
import os
for name in ("d", "e"):
    os.close(os.open(name + "/one", os.O_RDONLY))
    if name == "d": os.rename("d", "e")
os.rename("e/one", "e/two")
os.close(os.open("e/two", os.O_RDONLY))
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    let seen = |name: &str| record.files(&scratch.join(name)).iter().map(|file| file.accesses).sum::<u64>();
    assert_eq!((seen("d/one"), seen("e/one"), seen("e/two")), (1, 1, 1));
}

#[test]
fn reading_and_writing_are_not_folded_together() {
    let scratch = Scratch::new();
    let path = scratch.write("file", "x");
    let script = r#"
import os
for flags in (os.O_RDONLY, os.O_RDONLY, os.O_RDWR, os.O_WRONLY): os.close(os.open("file", flags))
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    let path = path.into_os_string().into_encoded_bytes();
    let opens = record.opens();
    let kinds: BTreeSet<u32> = opens.iter().filter(|open| open.file.path == path).map(|open| open.access).collect();
    assert_eq!(kinds, BTreeSet::from([1, 2, 3]));
}
