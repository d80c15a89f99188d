//! 34: one user reads or ends what another one traces.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use tests::{Scratch, held};

use crate::calls::{run, script, session, succeeded};

const NOBODY: u32 = 65534;

/// Whether somebody without rights can read a path, or what is in it.
fn others_read(path: &Path) -> bool {
    let mut read = Command::new("/usr/bin/find");
    let ran = read.arg(path).args(["-type", "f", "-readable"]).uid(NOBODY).gid(NOBODY).output().expect("it starts");
    !ran.stdout.is_empty()
}

#[test]
fn what_a_run_leaves_is_for_its_owner_alone() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let ran = session(&scratch, script("pass")).go();
    let (statement, evidence) = (ran.statement(), ran.evidence());
    succeeded(ran).must_be_complete_on_the_weakest();
    assert!(!others_read(&statement) && !others_read(&evidence));
    held("statement and evidence are for their owner alone");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    run(&scratch, "os.umask(0o022)\nopen('own', 'w').close()").must_be_complete_on_the_weakest();
    assert!(others_read(&scratch.join("own")), "what the command makes has the rights that it gives");
}
