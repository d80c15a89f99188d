//! Files that the session made and did not leave: what makes them ephemeral, and the twins that are not.

use std::fs;
use std::io::Write;

use agent_ebpf::access;
use proto::evidence::{Class, File};

use super::scene::{Scene, absent, ephemeral, known, now, product, quick, raced, seen};
use crate::content::Limits;
use crate::content::clock::boottime_ns;

/// The session makes a file, reads it and removes it; something happens between. The findings of maker and reader.
fn made_read_and_removed(mut scene: Scene, between: impl FnOnce(&mut Scene, &File)) -> [super::scene::Known; 2] {
    let path = scene.path("temporary");
    let made = scene.write(&path, b"text");
    let file = seen(&path);
    let read = scene.read(&path);
    between(&mut scene, &file);
    fs::remove_file(&path).unwrap();
    let findings = scene.finish();
    [known(&findings, made), known(&findings, read)]
}

#[test]
fn made_read_and_gone() {
    let gone = || ephemeral("MADE_AND_GONE");
    assert_eq!(made_read_and_removed(Scene::new(), |_, _| {}), [gone(), gone()]);
    assert_eq!(made_read_and_removed(Scene::new(), |scene, _| scene.settle()), [gone(), gone()]);
}

#[test]
fn made_read_and_rewritten() {
    let mut scene = Scene::new();
    let path = scene.path("object");
    let made = scene.write(&path, b"first");
    let read = scene.read(&path);
    let rewritten = scene.write(&path, b"second");
    let findings = scene.finish();
    assert_eq!(known(&findings, read), ephemeral("MADE_AND_REWRITTEN"));
    assert_eq!(known(&findings, made), product(b"second"));
    assert_eq!(known(&findings, rewritten), product(b"second"));
}

#[test]
fn read_while_it_was_written() {
    let mut scene = Scene::new();
    let path = scene.path("log");
    let (_, mut file) = scene.open_to_write(&path, 0);
    file.write_all(b"one").unwrap();
    let read = scene.accessed(File { writers: 1, ..seen(&path) }, access::READ);
    file.write_all(b"two").unwrap();
    drop(file);
    assert_eq!(scene.ends(read), ephemeral("MADE_AND_REWRITTEN"));
}

#[test]
fn read_while_its_writer_was_open_and_not_written_since() {
    let mut scene = Scene::new();
    let path = scene.path("log");
    let (_, mut file) = scene.open_to_write(&path, 0);
    file.write_all(b"one").unwrap();
    let read = scene.accessed(File { writers: 1, ..seen(&path) }, access::READ);
    drop(file);
    let ends = scene.ends(read);
    assert_eq!((ends.class, ends.reason.as_str(), ends.product), (Class::Raced, "WRITER_OPEN", true));
}

#[test]
fn a_file_that_was_there_before_is_not() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let read = scene.read(&path);
    scene.settle();
    let written = scene.write(&path, b"other");
    fs::remove_file(&path).unwrap();
    let findings = scene.finish();
    assert_eq!(known(&findings, read), raced(b"text", "GONE_SINCE"));
    assert_eq!(known(&findings, written), absent("GONE"));
}

#[test]
fn a_file_that_somebody_outside_wrote_is_not() {
    let ends = made_read_and_removed(Scene::new(), |scene, file| scene.content.outside_write(file.dev, file.ino));
    assert_eq!(ends, [absent("GONE"), absent("GONE")]);
}

#[test]
fn when_reports_were_lost_nobody_knows_who_wrote() {
    let ends = made_read_and_removed(Scene::new(), |scene, _| scene.content.lost());
    assert_eq!(ends, [absent("GONE"), absent("GONE")]);
}

#[test]
fn an_outside_write_to_another_device_or_inode_is_of_no_concern() {
    let ends = made_read_and_removed(Scene::new(), |scene, file| {
        scene.content.outside_write(file.dev + 1, file.ino);
        scene.content.outside_write(file.dev, file.ino + 1);
    });
    assert_eq!(ends, [ephemeral("MADE_AND_GONE"), ephemeral("MADE_AND_GONE")]);
}

#[test]
fn a_file_with_a_second_writer_at_its_birth_is_not() {
    let mut scene = Scene::new();
    let path = scene.path("shared");
    fs::write(&path, b"text").unwrap();
    let file = File { writers: 2, ..seen(&path) };
    let made = scene.accessed(file, access::WRITE | access::CREATED);
    fs::remove_file(&path).unwrap();
    assert_eq!(scene.ends(made), absent("GONE"));
}

#[test]
fn a_file_that_held_something_when_it_was_first_seen_is_not() {
    let mut scene = Scene::new();
    let path = scene.path("shared");
    fs::write(&path, b"text").unwrap();
    // Whoever wrote it has closed it again.
    let made = scene.accessed(File { writers: 1, ..seen(&path) }, access::WRITE | access::CREATED);
    fs::remove_file(&path).unwrap();
    assert_eq!(scene.ends(made), absent("GONE"));
}

#[test]
fn a_file_read_before_its_inode_number_was_made_anew_is_not() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let before = seen(&path);
    let read = scene.accessed(before.clone(), access::READ);
    fs::remove_file(&path).unwrap();
    let again = File { size: 0, writers: 1, ctime_sec: before.ctime_sec + 1, ..before };
    let made = scene.accessed(again, access::WRITE | access::CREATED);
    let findings = scene.finish();
    assert_ne!(known(&findings, read).class, Class::Ephemeral);
    assert_eq!(known(&findings, made), ephemeral("MADE_AND_GONE"));
}

#[test]
fn on_an_overlay_nobody_knows_who_else_wrote() {
    let mut scene = Scene::new();
    let path = scene.path("made");
    fs::write(&path, b"text").unwrap();
    let file = File { fs_magic: 0x794C_7630, writers: 1, ..seen(&path) };
    let made = scene.accessed(file, access::WRITE | access::CREATED);
    fs::remove_file(&path).unwrap();
    assert_eq!(scene.ends(made), absent("GONE"));
}

#[test]
fn with_moves_left_out_nobody_knows_that_it_is_gone() {
    let scene = Scene::with(Limits { moves_max: 0, ..quick() }, None);
    let ends = made_read_and_removed(scene, |scene, _| {
        scene.content.name_changed(proto::evidence::name_change::Operation::Rename, b"/a", b"/b", boottime_ns());
    });
    assert_eq!(ends, [absent("NAMES_OVER_LIMIT"), absent("NAMES_OVER_LIMIT")]);
}

#[test]
fn made_through_accessed_again_counts_from_then() {
    let mut scene = Scene::new();
    let path = scene.path("made");
    fs::write(&path, b"").unwrap();
    let early = scene.read(&path);
    let file = seen(&path);
    scene.content.accessed_again(early, now(access::WRITE | access::CREATED, 1));
    let late = scene.accessed(File { size: 9, ..file }, access::READ);
    fs::remove_file(&path).unwrap();
    let findings = scene.finish();
    assert_ne!(known(&findings, early).class, Class::Ephemeral);
    assert_eq!(known(&findings, late), ephemeral("MADE_AND_GONE"));
}
