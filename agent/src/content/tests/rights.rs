//! The hashers see no more than the session's user. These tests need root, to become somebody else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use agent_ebpf::access;

use super::scene::{Known, Scene, absent, product, quick, stable};
use crate::content::Caller;

const NOBODY: u32 = 65_534;
const GROUP: u32 = 54_321;

fn scene() -> Scene {
    assert!(rustix::process::geteuid().is_root(), "this test needs root: it hashes as another user");
    let scene = Scene::with(quick(), Some(Caller { uid: NOBODY, gid: NOBODY, groups: vec![GROUP] }));
    fs::set_permissions(scene.path(""), Permissions::from_mode(0o755)).unwrap();
    scene
}

/// What becomes of a file of root's with this mode, as nobody.
fn read_with(mode: u32, group: u32) -> Known {
    let mut scene = scene();
    let path = scene.path("input");
    fs::write(&path, b"text").unwrap();
    chown(&path, Some(0), Some(group)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(12));
    let id = scene.read(&path);
    scene.ends(id)
}

#[test]
fn what_everybody_may_read_and_what_the_users_group_may() {
    assert_eq!(read_with(0o644, 0), stable(b"text"));
    assert_eq!(read_with(0o640, GROUP), stable(b"text"));
}

#[test]
fn what_only_others_may_read() {
    assert_eq!(read_with(0o600, 0), absent("UNREADABLE"));
    assert_eq!(read_with(0o640, 0), absent("UNREADABLE"));
    assert_eq!(read_with(0o604, GROUP), absent("UNREADABLE"));
    assert_eq!(read_with(0o111, 0), absent("UNREADABLE"));
}

#[test]
fn what_lies_in_a_directory_that_the_user_may_not_enter() {
    let mut scene = scene();
    fs::create_dir(scene.path("closed")).unwrap();
    let path = scene.old("closed/input", b"text");
    fs::set_permissions(scene.path("closed"), Permissions::from_mode(0o700)).unwrap();
    let id = scene.read(&path);
    let ends = scene.ends(id);
    assert_eq!(ends.sha256, None, "{ends:?}");
}

#[test]
fn a_file_that_was_only_written_and_may_not_be_read() {
    let mut scene = scene();
    let path = scene.old("letterbox", b"text");
    fs::set_permissions(&path, Permissions::from_mode(0o622)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o222)).unwrap();
    let id = scene.accessed(super::scene::seen(&path), access::WRITE);
    assert_eq!(scene.ends(id), absent("UNREADABLE"));
}

#[test]
fn a_product_of_the_users_own() {
    let mut scene = scene();
    let path = scene.path("out");
    let id = scene.write(&path, b"text");
    own(&path);
    assert_eq!(scene.ends(id), product(b"text"));
}

fn own(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}
