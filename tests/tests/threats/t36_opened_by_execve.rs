//! 36: files that no system call of the program opens: itself, its loader, a script.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use tests::{Run, Scratch};

use crate::calls::succeeded;

#[test]
fn a_script_is_told_with_what_interprets_it() {
    let scratch = Scratch::new();
    let script = scratch.write("script", "#!/bin/sh\nexit 0\n");
    fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("chmod");
    let record = succeeded(Run::new(&scratch, [&script]).go());
    record.must_be_complete_on_the_weakest();
    let exec = record.command();
    assert_eq!(exec.filename, script.as_os_str().as_encoded_bytes());
    assert!(exec.binary.ends_with(b"sh"), "{}", String::from_utf8_lossy(exec.binary));
    assert_eq!(record.files(&script).len(), 1, "read by its interpreter, if by nobody before");
    let loader = record.trace.files().find(|file| file.path.windows(9).any(|part| part == b"ld-linux-"));
    assert!(loader.is_some_and(|file| file.access & 4 != 0), "{loader:?}");
    record.sees("exec", "of a script, with its interpreter, and the loader of that");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let script = scratch.write("script", "exit 0\n");
    let record = succeeded(Run::new(&scratch, ["/bin/sh".as_ref(), script.as_os_str()]).go());
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.accesses(&script), 1);
}
