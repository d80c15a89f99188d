//! 14: namespaces and mounts change what a path means.

use std::os::unix::fs::MetadataExt as _;

use tests::Scratch;

use crate::calls::{one, run, text, told};

#[test]
fn what_changes_the_meaning_of_paths_is_told() {
    let scratch = Scratch::new();
    let hidden = scratch.write("below/hidden", "x");
    let ino = hidden.metadata().unwrap().ino();
    let record = run(
        &scratch,
        r#"
must(call(272, 0x20000))
must(call(165, b"none", b"/", 0, 1 << 18, 0))
os.mkdir("shown")
must(call(165, b"below", b"shown", 0, 4096, 0))
open("shown/hidden").read()
must(call(161, b"shown"))
os.chdir("/")
open("/hidden").read()
"#,
    );
    record.must_be_complete_on_the_weakest();
    record.must_say("NAMESPACE_CHANGED");
    assert_eq!(one(&record, "unshare").arguments[0], 0x20000);
    assert_eq!(text(&one(&record, "chroot")), b"shown");
    let mounts = told(&record, "mount");
    assert_eq!(mounts.last().unwrap().texts, [Some(&b"below"[..]), Some(&b"shown"[..])]);
    // By whatever path: the same inode.
    let accesses: u64 = record.trace.files().filter(|file| file.ino == ino).map(|file| file.accesses).sum();
    assert_eq!(accesses, 2);
    record.sees("act", "mount");
    record.sees("open", "by whatever path, with its inode");
}

#[test]
fn a_namespace_that_is_entered_is_told() {
    let scratch = Scratch::new();
    let record = run(&scratch, "must(call(308, os.open('/proc/self/ns/uts', os.O_RDONLY), 0))");
    record.must_be_complete_on_the_weakest();
    record.must_say("NAMESPACE_CHANGED");
    assert_eq!(one(&record, "setns").result, 0);
}

#[test]
fn a_child_in_namespaces_of_its_own_is_told() {
    let scratch = Scratch::new();
    // CLONE_NEWUTS and SIGCHLD.
    let record =
        run(&scratch, "pid = must(call(56, 0x4000000 | 17, 0, 0, 0, 0))\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)");
    record.must_be_complete_on_the_weakest();
    record.must_say("NAMESPACE_CHANGED");
    assert!(one(&record, "clone").result > 0);
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    scratch.write("below/hidden", "x");
    let record = run(&scratch, "if os.fork() == 0: os._exit(0)\nos.wait()\nopen('below/hidden').read()");
    record.must_be_complete_on_the_weakest();
    assert!(!record.says("NAMESPACE_CHANGED") && told(&record, "mount").is_empty());
}
