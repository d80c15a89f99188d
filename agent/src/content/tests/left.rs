//! What was left: products, files modified, names they were moved to.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use agent_ebpf::access;
use proto::evidence::{Class, File, name_change::Operation};

use super::scene::{Known, Scene, absent, ephemeral, known, now, product, raced, seen, stable};

fn modified(bytes: &[u8], reason: &str) -> Known {
    raced(bytes, reason)
}

#[test]
fn made_and_left_a_moment_before_the_end() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    let id = scene.write(&path, b"text");
    assert_eq!(scene.ends(id), product(b"text"));
}

#[test]
fn made_left_and_hashed_at_its_close() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    let id = scene.write(&path, b"text");
    scene.settle();
    assert_eq!(scene.content.hashed(), 1);
    assert_eq!(scene.ends(id), product(b"text"));
}

#[test]
fn hashed_only_when_its_last_writer_has_closed() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    let (id, mut file) = scene.open_to_write(&path, 0);
    file.write_all(b"one").unwrap();
    scene.settle();
    assert_eq!(scene.content.hashed(), 0);
    file.write_all(b"two").unwrap();
    drop(file);
    scene.settle();
    assert_eq!(scene.content.hashed(), 1);
    assert_eq!(scene.ends(id), product(b"onetwo"));
}

#[test]
fn a_settled_reader_of_a_product() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    let made = scene.write(&path, b"text");
    scene.settle();
    let read = scene.read_at_age(&path, 20_000_000);
    let findings = scene.finish();
    assert_eq!([known(&findings, made), known(&findings, read)], [product(b"text"), product(b"text")]);
}

/// A reader within the grain of the last write; something happens, to a file that the session made.
fn read_fresh(act: impl FnOnce(&mut Scene, &Path)) -> Known {
    let mut scene = Scene::new();
    let path = scene.path("out");
    fs::write(&path, b"text").unwrap();
    let created = File { size: 0, writers: 1, ..seen(&path) };
    let made = scene.accessed_at_age(created, access::WRITE | access::CREATED, 0);
    let read = scene.read_at_age(&path, 2_000_000);
    // A ctime is up to a tick in the past: what happens now happens after the reader only once its time has come.
    thread::sleep(Duration::from_millis(3));
    act(&mut scene, &path);
    let findings = scene.finish();
    assert!(known(&findings, made).product);
    known(&findings, read)
}

fn fresh() -> Known {
    Known { product: true, ..raced(b"text", "FRESH_CTIME") }
}

#[test]
fn a_reader_within_the_grain_when_nobody_opened_to_write_since() {
    assert_eq!(read_fresh(|_, _| {}), product(b"text"));
}

#[test]
fn a_reader_within_the_grain_and_a_writer_that_left_the_version() {
    let ends = read_fresh(|scene, path| {
        let file = File { writers: 1, ..seen(path) };
        scene.accessed(file, access::WRITE);
    });
    assert_eq!(ends, fresh());
}

#[test]
fn a_reader_within_the_grain_and_a_truncation_at_that_time() {
    let ends = read_fresh(|scene, path| {
        let name = path.as_os_str().as_encoded_bytes();
        scene.content.name_changed(Operation::Truncate, name, b"", crate::content::clock::boottime_ns());
    });
    assert_eq!(ends, fresh());
}

#[test]
fn a_reader_within_the_grain_and_a_truncation_of_another_file_that_was_written() {
    let ends = read_fresh(|scene, _| {
        let other = scene.path("other");
        scene.write(&other, b"other");
        let name = other.as_os_str().as_encoded_bytes();
        scene.content.name_changed(Operation::Truncate, name, b"", crate::content::clock::boottime_ns());
    });
    assert_eq!(ends, product(b"text"));
}

#[test]
fn a_reader_within_the_grain_and_a_truncation_of_who_knows_what() {
    let ends = read_fresh(|scene, _| {
        scene.content.name_changed(Operation::Truncate, b"/a/link", b"", crate::content::clock::boottime_ns());
    });
    assert_eq!(ends, fresh());
}

#[test]
fn a_reader_within_the_grain_and_a_writer_that_emptied_it() {
    // Where opens are told when they are over, what an opening has emptied is another version.
    let ends = read_fresh(|scene, path| {
        let file = File { writers: 1, size: 0, ..seen(path) };
        scene.accessed(file, access::WRITE | access::TRUNCATED);
    });
    assert_eq!(ends, fresh());
}

#[test]
fn a_reader_within_the_grain_and_a_writer_outside_that_nobody_saw() {
    let ends = read_fresh(|scene, _| scene.content.unseen_writer(crate::content::clock::boottime_ns()));
    assert_eq!(ends, fresh());
}

#[test]
fn a_reader_within_the_grain_and_an_access_that_found_no_place() {
    let ends = read_fresh(|scene, path| {
        scene.content.limits.files_max = 0;
        scene.accessed(File { writers: 1, ..seen(path) }, access::WRITE);
    });
    assert_eq!(ends, fresh());
}

#[test]
fn a_reader_within_the_grain_and_another_file_with_the_number_and_the_time() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    fs::write(&path, b"text").unwrap();
    let created = File { size: 0, writers: 1, ..seen(&path) };
    let made = scene.accessed_at_age(created.clone(), access::WRITE | access::CREATED, 0);
    let read = scene.read_at_age(&path, 0);
    // Of another generation, removed and made again within the tick.
    scene.content.accessed(9, &File { id: 9, ..created }, 1, now(access::WRITE, 1), std::process::id());
    let findings = scene.finish();
    for id in [made, read] {
        assert_eq!(known(&findings, id), ephemeral("MADE_AND_GONE"));
    }
    assert_eq!(known(&findings, 9).reason, "");
}

#[test]
fn a_reader_within_the_grain_and_somebody_outside() {
    let ends = read_fresh(|scene, path| {
        let file = seen(path);
        scene.content.outside_write(file.dev, file.ino);
    });
    assert_eq!(ends, fresh());
}

#[test]
fn a_reader_within_the_grain_when_reports_were_lost() {
    assert_eq!(read_fresh(|scene, _| scene.content.lost()), fresh());
}

#[test]
fn a_reader_within_the_grain_beside_a_writer() {
    let ends = read_fresh(|scene, path| {
        let file = File { writers: 1, ..seen(path) };
        scene.accessed(file, access::READ);
    });
    // Another id: the busy access spoils its own row only.
    assert_eq!(ends, product(b"text"));
}

#[test]
fn a_reader_of_a_made_and_empty_file_within_the_grain() {
    let mut scene = Scene::new();
    let path = scene.path("stamp");
    fs::write(&path, b"").unwrap();
    scene.accessed_at_age(File { writers: 1, ..seen(&path) }, access::WRITE | access::CREATED, 1_000_000);
    let read = scene.read_at_age(&path, 2_000_000);
    assert_eq!(scene.ends(read), Known { product: true, ..raced(b"", "FRESH_CTIME") });
}

/// Made under one name and left under another; whether hashed before the move or not.
fn moved(hashed_before: bool, act: impl FnOnce(&mut Scene)) -> (Known, Option<String>) {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("work")).unwrap();
    let id = scene.write(&scene.path("work/tmp"), b"text");
    if hashed_before {
        scene.settle();
    }
    act(&mut scene);
    let root = scene.path("").into_os_string().into_string().unwrap();
    let findings = scene.finish();
    let left_at = findings[0].left_at.clone().map(|path| String::from_utf8(path).unwrap());
    (known(&findings, id), left_at.map(|path| path.strip_prefix(&root).unwrap().to_owned()))
}

#[test]
fn made_and_renamed() {
    for hashed in [false, true] {
        let left = moved(hashed, |scene| scene.rename(&scene.path("work/tmp"), &scene.path("out")));
        assert_eq!(left, (product(b"text"), Some("out".to_owned())));
    }
}

#[test]
fn made_in_a_directory_that_was_renamed() {
    for hashed in [false, true] {
        let left = moved(hashed, |scene| scene.rename(&scene.path("work"), &scene.path("done")));
        assert_eq!(left, (product(b"text"), Some("done/tmp".to_owned())));
    }
}

#[test]
fn made_linked_and_its_first_name_removed() {
    for hashed in [false, true] {
        let left = moved(hashed, |scene| {
            scene.link(&scene.path("work/tmp"), &scene.path("out"));
            fs::remove_file(scene.path("work/tmp")).unwrap();
        });
        assert_eq!(left, (product(b"text"), Some("out".to_owned())));
    }
}

#[test]
fn made_and_renamed_by_a_name_that_passes_a_symbolic_link() {
    let left = moved(true, |scene| {
        std::os::unix::fs::symlink("work", scene.path("link")).unwrap();
        scene.rename(&scene.path("link/tmp"), &scene.path("link/out"));
    });
    assert_eq!(left, (product(b"text"), Some("work/out".to_owned())));
}

#[test]
fn made_and_renamed_without_a_word() {
    let (left, left_at) = moved(true, |scene| {
        fs::rename(scene.path("work/tmp"), scene.path("out")).unwrap();
        fs::write(scene.path("other"), b"other").unwrap();
        scene.rename(&scene.path("other"), &scene.path("another"));
    });
    assert_eq!((left, left_at), (ephemeral("MADE_AND_GONE"), None));
}

#[test]
fn made_and_left_where_it_was() {
    assert_eq!(moved(true, |_| {}), (product(b"text"), None));
}

#[test]
fn made_hashed_renamed_and_rewritten() {
    let mut scene = Scene::new();
    let made = scene.write(&scene.path("tmp"), b"text");
    scene.settle();
    scene.rename(&scene.path("tmp"), &scene.path("out"));
    let path = scene.path("out");
    scene.write(&path, b"next");
    assert_eq!(scene.ends(made), product(b"next"));
}

#[test]
fn a_file_that_was_there_and_is_written_is_no_product() {
    let mut scene = Scene::new();
    let path = scene.old("config", b"text");
    let id = scene.write(&path, b"other");
    assert_eq!(scene.ends(id), stable(b"other"));
}

#[test]
fn a_file_that_was_there_read_and_written_by_one_open() {
    let mut scene = Scene::new();
    let path = scene.old("database", b"text");
    let (id, mut file) = scene.open_to_write(&path, access::READ);
    file.write_all(b"next").unwrap();
    drop(file);
    assert_eq!(scene.ends(id), modified(b"next", "MODIFIED"));
}

#[test]
fn made_and_written_by_somebody_outside() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    let id = scene.write(&path, b"text");
    let file = seen(&path);
    scene.content.outside_write(file.dev, file.ino);
    assert_eq!(scene.ends(id), Known { product: true, ..raced(b"text", "OUTSIDE_WRITER") });
}

#[test]
fn a_writer_that_never_closed() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    let (id, mut file) = scene.open_to_write(&path, 0);
    file.write_all(b"text").unwrap();
    assert_eq!(scene.ends(id), Known { product: true, ..raced(b"text", "WRITER_OPEN") });
    drop(file);
}

#[test]
fn another_file_renamed_over_a_product() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    let first = scene.write(&path, b"first");
    let second = scene.write(&scene.path("new"), b"second");
    scene.rename(&scene.path("new"), &path);
    let findings = scene.finish();
    assert_eq!(known(&findings, first).class, Class::Ephemeral);
    assert_eq!(known(&findings, second), product(b"second"));
}

#[test]
fn a_written_file_that_was_there_and_is_gone() {
    let mut scene = Scene::new();
    let path = scene.old("config", b"text");
    let id = scene.write(&path, b"other");
    fs::remove_file(&path).unwrap();
    assert_eq!(scene.ends(id), absent("GONE"));
}

#[test]
fn a_reader_under_the_id_that_made_the_file_spoils_what_it_says() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    let (id, mut file) = scene.open_to_write(&path, 0);
    scene.content.accessed_again(id, now(access::READ, 1));
    file.write_all(b"text").unwrap();
    drop(file);
    assert_eq!(scene.ends(id), Known { product: true, ..raced(b"text", "WRITER_OPEN") });
}

#[test]
fn a_file_as_large_as_nobody_hashes() {
    let limits = crate::content::Limits { file_bytes_max: 3, ..super::scene::quick() };
    let mut scene = Scene::with(limits, None);
    let path = scene.path("out");
    let id = scene.write(&path, b"text");
    let ends = scene.ends(id);
    assert_eq!(ends, absent("TOO_LARGE"));
}

#[test]
fn the_made_version_itself_is_the_row_of_the_open() {
    let mut scene = Scene::new();
    let path = scene.path("out");
    let id = scene.write(&path, b"text");
    let same = File { id: 0, ..seen(&path) };
    let read = scene.accessed(same, access::PATH_ONLY);
    let findings = scene.finish();
    assert_eq!((known(&findings, id), known(&findings, read)), (product(b"text"), absent("PATH_ONLY")));
}
