//! What is stable, and the twins that are not because one condition fails.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use agent_ebpf::access;
use proto::evidence::File;

use super::scene::{Scene, known, now, raced, seen, stable};

#[test]
fn an_old_file_that_was_only_read() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    scene.settle();
    assert_eq!(scene.ends(id), stable(b"text"));
}

#[test]
fn an_old_file_hashed_only_by_the_last_pass() {
    let scene = Scene::new();
    let path = scene.old("input", b"text");
    let mut content = scene.content;
    content.pump();
    let file = File { id: 1, ..seen(&path) };
    content.accessed(1, &file, 0, now(access::READ, 0), std::process::id());
    let findings: Vec<_> = content.finish(false).unwrap().collect();
    assert_eq!(known(&findings, 1), stable(b"text"));
}

#[test]
fn an_empty_file() {
    let mut scene = Scene::new();
    let path = scene.old("empty", b"");
    let id = scene.read(&path);
    assert_eq!(scene.ends(id), stable(b""));
}

#[test]
fn a_program_that_runs_denies_writers() {
    let mut scene = Scene::new();
    let path = scene.old("program", b"\x7fELF");
    let id = scene.accessed(File { writers: -1, ..seen(&path) }, access::EXEC);
    assert_eq!(scene.ends(id), stable(b"\x7fELF"));
}

#[test]
fn two_names_of_one_file_and_two_ids_of_one_version() {
    let mut scene = Scene::new();
    let path = scene.old("a", b"linked");
    fs::hard_link(&path, scene.path("b")).unwrap();
    sleep(Duration::from_millis(12));
    let (a, b) = (scene.read(&path), scene.read(&scene.path("b")));
    let findings = scene.finish();
    assert_eq!((known(&findings, a), known(&findings, b)), (stable(b"linked"), stable(b"linked")));
}

#[test]
fn a_file_opened_to_read_and_write_and_left_alone() {
    let mut scene = Scene::new();
    let path = scene.old("lock", b"lock");
    let (id, file) = scene.open_to_write(&path, access::READ);
    drop(file);
    assert_eq!(scene.ends(id), stable(b"lock"));
}

#[test]
fn one_access_with_a_writer_spoils_the_version_for_all() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    scene.content.accessed_again(id, now(access::READ, 1));
    assert_eq!(scene.ends(id), raced(b"text", "WRITER_OPEN"));
}

#[test]
fn a_writer_that_was_open_at_the_access_and_changed_nothing() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.accessed(File { writers: 1, ..seen(&path) }, access::READ);
    assert_eq!(scene.ends(id), raced(b"text", "WRITER_OPEN"));
}

#[test]
fn a_second_writer_beside_the_accesss_own() {
    let mut scene = Scene::new();
    let path = scene.old("lock", b"lock");
    let id = scene.accessed(File { writers: 2, ..seen(&path) }, access::READ | access::WRITE);
    assert_eq!(scene.ends(id), raced(b"lock", "WRITER_OPEN"));
}

#[test]
fn a_survivor_spoils_all() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    let findings: Vec<_> = scene.content.finish(true).unwrap().collect();
    assert_eq!(known(&findings, id), raced(b"text", "HOLDER_LEFT"));
}
