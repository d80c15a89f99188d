//! 2: one file by many ways: a bind mount, a root of one's own.

use std::os::unix::fs::MetadataExt as _;

use tests::Scratch;

use crate::calls::run;

/// A mount namespace of its own, in which nothing reaches the host.
const APART: &str = "must(call(272, 0x20000))\nmust(call(165, b'none', b'/', 0, 0x44000, 0))\n";

#[test]
fn a_bind_mount_hides_no_file() {
    let scratch = Scratch::new();
    let file = scratch.write("real/file", "content");
    let seen = scratch.folder("seen").join("file");
    let record =
        run(&scratch, &format!("{APART}must(call(165, b'real', b'seen', 0, 4096, 0))\nopen('seen/file').read()"));
    record.must_be_complete_on_the_weakest();
    record.must_say("NAMESPACE_CHANGED");
    let told = record.file(&seen);
    assert_eq!(told.ino, file.metadata().expect("it is there").ino(), "by the path that led there, with its inode");
    record.sees("open", "a file below a bind mount");
}

#[test]
fn a_root_of_its_own_hides_no_path() {
    let scratch = Scratch::new();
    let file = scratch.write("root/file", "content");
    let record = run(&scratch, "os.chroot('root')\nopen('/file').read()");
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.accesses(&file), 1, "the path is that of the mount, not of the root that the program chose");
    record.sees("open", "a file below a root of the program's own");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let file = scratch.write("real/file", "content");
    let record = run(&scratch, "open('real/file').read()");
    record.must_be_complete_on_the_weakest();
    assert!(!record.says("NAMESPACE_CHANGED") && record.accesses(&file) == 1);
}
