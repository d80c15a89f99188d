//! 7: a process takes the id of one that is gone.

use tests::Scratch;

use crate::calls::run;

/// Two children, each of which reads a file so often; which id is to be had, root may say (`set_tid` of clone3).
const CHILDREN: &str = r#"
import signal, struct
def child(wanted, reads):
    if wanted:
        id = ctypes.c_int32(wanted)
        pid = must(call(435, struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(id), 1, 0), 88))
    else:
        pid = os.fork()
    if pid == 0:
        for _ in range(reads): os.close(os.open("input", os.O_RDONLY))
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
first = child(0, 3)
"#;

#[test]
fn the_second_process_has_its_own_opens() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "x");
    let record = run(&scratch, &format!("{CHILDREN}assert child(first, 5) == first"));
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.children(record.root()).len(), 2);
    assert_eq!(record.file(&input).processes().map(|(process, _)| process).collect::<Vec<_>>(), [1, 2]);
    let path = input.into_os_string().into_encoded_bytes();
    let counts: Vec<u64> = record.opens().iter().filter(|open| open.file.path == path).map(|open| open.count).collect();
    assert_eq!(counts, [3, 5]);
    record.sees("open", "by each of two processes of one id");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "x");
    let record = run(&scratch, &format!("{CHILDREN}child(0, 5)"));
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.accesses(&input), 8);
}
