//! ctime moved after the hash: what keeps the digest's chain, and what ends it.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use agent_ebpf::access;

use super::scene::{Known, Scene, known, quick, raced, stable};
use crate::content::Limits;

/// An old file, read and hashed; then something happens to it.
fn after(act: impl FnOnce(&mut Scene, &Path)) -> Known {
    after_in(Scene::new(), act)
}

fn after_in(mut scene: Scene, act: impl FnOnce(&mut Scene, &Path)) -> Known {
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    scene.settle();
    act(&mut scene, &path);
    scene.ends(id)
}

/// Writes and puts size and mtime back, as one who hides it would.
fn write_in_secret(path: &Path, act: impl FnOnce(&fs::File)) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    act(&file);
    set_modified(path, modified);
}

fn set_modified(path: &Path, time: SystemTime) {
    fs::File::open(path).unwrap().set_times(fs::FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn a_link_a_mode_and_a_rename_keep_it() {
    assert_eq!(after(|scene, path| scene.link(path, &scene.path("second"))), stable(b"text"));
    assert_eq!(after(|_, path| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap()), stable(b"text"));
    assert_eq!(after(|scene, path| scene.rename(path, &scene.path("moved"))), stable(b"text"));
}

#[test]
fn a_directory_renamed_above_it_keeps_it() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("d")).unwrap();
    let path = scene.old("d/input", b"text");
    let id = scene.read(&path);
    scene.settle();
    scene.rename(&scene.path("d"), &scene.path("e"));
    assert_eq!(scene.ends(id), stable(b"text"));
}

#[test]
fn the_first_of_two_names_removed_keeps_it() {
    let ends = after(|scene, path| {
        scene.link(path, &scene.path("second"));
        fs::remove_file(path).unwrap();
    });
    assert_eq!(ends, stable(b"text"));
}

#[test]
fn a_write_with_size_and_mtime_put_back_ends_it() {
    let ends = after(|_, path| write_in_secret(path, |file| assert_eq!(file.write_at(b"next", 0).unwrap(), 4)));
    assert_eq!(ends, raced(b"text", "CHANGED"));
}

#[test]
fn a_writer_that_restored_the_content_ends_it_too() {
    let ends = after(|_, path| {
        write_in_secret(path, |file| {
            file.write_at(b"next", 0).unwrap();
            file.write_at(b"text", 0).unwrap();
        });
    });
    assert_eq!(ends, raced(b"text", "CHANGED"));
}

#[test]
fn a_truncation_by_name_and_back_ends_it() {
    use crate::probe::lease::acts::truncate;
    let ends = after(|_, path| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        truncate(path, 0);
        truncate(path, 4);
        set_modified(path, modified);
    });
    assert_eq!(ends, raced(b"text", "CHANGED"));
}

#[test]
fn another_mtime_ends_it() {
    let ends = after(|_, path| set_modified(path, SystemTime::UNIX_EPOCH));
    assert_eq!(ends, raced(b"text", "CHANGED"));
}

#[test]
fn a_mapping_that_stored_and_still_lives_ends_it() {
    use crate::probe::lease::acts::Mapping;
    let mut kept = None;
    let ends = after(|_, path| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut mapping = Mapping::shared(&file, 4);
        drop(file);
        mapping.store(0, b'n');
        set_modified(path, modified);
        kept = Some(mapping);
    });
    assert_eq!(ends, raced(b"text", "CHANGED"));
}

#[test]
fn a_writer_still_open_ends_it() {
    let mut kept = None;
    let ends = after(|scene, path| {
        scene.link(path, &scene.path("second"));
        kept = Some(fs::OpenOptions::new().append(true).open(path).unwrap());
    });
    assert_eq!(ends, raced(b"text", "CHANGED"));
}

#[test]
fn without_a_watch_a_link_ends_it() {
    let scene = Scene::with(Limits { watches_max: 0, ..quick() }, None);
    let ends = after_in(scene, |scene, path| scene.link(path, &scene.path("second")));
    assert_eq!(ends, raced(b"text", "CHANGED"));
}

#[test]
fn a_removal_ends_it() {
    assert_eq!(after(|_, path| fs::remove_file(path).unwrap()), raced(b"text", "GONE_SINCE"));
}

#[test]
fn another_file_renamed_over_it_ends_it() {
    let ends = after(|scene, path| {
        fs::write(scene.path("new"), b"text").unwrap();
        scene.rename(&scene.path("new"), path);
    });
    assert_eq!(ends, raced(b"text", "GONE_SINCE"));
}

#[test]
fn a_rename_that_was_not_told_ends_it() {
    let ends = after(|scene, path| fs::rename(path, scene.path("hidden")).unwrap());
    assert_eq!(ends, raced(b"text", "GONE_SINCE"));
}

#[test]
fn a_link_before_the_hash_leaves_the_accessed_version_without_a_digest() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let before = super::scene::seen(&path);
    scene.link(&path, &scene.path("second"));
    let id = scene.accessed(before, access::READ);
    assert_eq!(scene.ends(id).reason, "CHANGED");
}

#[test]
fn both_versions_across_a_link_are_stable() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let first = scene.read(&path);
    scene.settle();
    scene.link(&path, &scene.path("second"));
    std::thread::sleep(std::time::Duration::from_millis(12));
    let second = scene.read(&scene.path("second"));
    let findings = scene.finish();
    assert_eq!(known(&findings, first), stable(b"text"));
    assert_eq!(known(&findings, second), stable(b"text"));
}
