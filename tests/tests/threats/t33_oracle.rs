//! 33: the agent, which is root, reads for a user what that user may not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tests::{Record, Run, Scratch, held};

/// A session of a user by sudo, in a folder that everybody may enter.
fn by_sudo(mode: u32) -> (Record, PathBuf) {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).expect("chmod");
    let file = scratch.write("file", "of root");
    fs::set_permissions(&file, Permissions::from_mode(mode)).expect("chmod");
    std::thread::sleep(std::time::Duration::from_millis(100));
    let run = Run::new(&scratch, ["/bin/sh", "-c", "cat file || :"]).option(format!("--product={}", file.display()));
    let ran = run.variable("SUDO_UID", "65534").variable("SUDO_GID", "65533").go();
    let record = ran.record();
    record.must_be_complete_on_the_weakest();
    (record, file)
}

#[test]
fn no_digest_tells_a_user_of_what_is_closed_to_it() {
    let (record, file) = by_sudo(0o600);
    assert!(record.files(&file).iter().all(|file| file.sha256.is_none()));
    held("a file that the session's user cannot read has no digest, asked for by name or not");
}

#[test]
fn twin() {
    let (record, file) = by_sudo(0o644);
    assert!(record.file(&file).sha256.is_some());
}
