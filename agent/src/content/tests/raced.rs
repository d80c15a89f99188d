//! Digests that are not to be relied on, each with the one condition that failed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::Duration;

use agent_ebpf::access;
use proto::evidence::File;

use super::scene::{Scene, absent, at, clock, known, now, quick, raced, seen, stable};
use crate::content::clock::boottime_ns;
use crate::content::{Access, Clock, Content};

#[test]
fn a_file_read_within_the_grain_of_its_change() {
    let mut scene = Scene::new();
    let path = scene.path("fresh");
    fs::write(&path, b"text").unwrap();
    let id = scene.read_at_age(&path, 4_000_000);
    assert_eq!(scene.ends(id), raced(b"text", "FRESH_CTIME"));
}

#[test]
fn a_file_read_when_the_clock_was_not_seen_to_tick_since_its_change_and_when_it_was() {
    let mut scene = Scene::new();
    let path = scene.path("input");
    fs::write(&path, b"text").unwrap();
    let before = boottime_ns();
    sleep(Duration::from_millis(12));
    // Nobody looked at the clock before this access.
    let id = scene.accessed_at(seen(&path), at(before, access::READ, 0));
    assert_eq!(scene.ends(id), raced(b"text", "FRESH_CTIME"));
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    assert_eq!(scene.ends(id), stable(b"text"));
}

#[test]
fn a_file_whose_event_came_long_after_its_version_was_read() {
    let mut scene = Scene::new();
    let path = scene.path("input");
    fs::write(&path, b"text").unwrap();
    let began_ns = boottime_ns();
    sleep(Duration::from_millis(12));
    scene.content.pump();
    let id = scene.accessed_at(seen(&path), Access { began_ns, ..now(access::READ, 0) });
    assert_eq!(scene.ends(id), raced(b"text", "FRESH_CTIME"));
}

#[test]
fn a_file_of_which_nobody_knows_when_its_version_was_read() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    scene.content.pump();
    let id = scene.accessed_at(seen(&path), Access { began_ns: 0, ..now(access::READ, 0) });
    assert_eq!(scene.ends(id), raced(b"text", "FRESH_CTIME"));
}

#[test]
fn a_second_access_within_the_grain_spoils_no_less_than_the_first() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    let file = seen(&path);
    let ctime_ns = file.ctime_sec * 1_000_000_000 + i64::from(file.ctime_nsec);
    let at_ns = u64::try_from(ctime_ns - clock().realtime_offset_ns).unwrap();
    scene.content.accessed_again(id, at(at_ns, access::READ, 0));
    assert_eq!(scene.ends(id), raced(b"text", "FRESH_CTIME"));
}

#[test]
fn content_changed_after_the_access_in_the_same_tick() {
    let mut scene = Scene::new();
    let path = scene.path("twice");
    fs::write(&path, b"seen").unwrap();
    fs::write(&path, b"kept").unwrap();
    // The kernel side does not mark a ctime as seen, so both contents may carry this one.
    let id = scene.read_at_age(&path, 1_000_000);
    scene.settle();
    assert_eq!(scene.ends(id), raced(b"kept", "FRESH_CTIME"));
}

#[test]
fn a_ctime_after_the_access() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read_at_age(&path, -2_000_000);
    assert_eq!(scene.ends(id), raced(b"text", "FUTURE_CTIME"));
}

#[test]
fn a_file_changed_after_its_hash() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    scene.settle();
    fs::write(&path, b"other").unwrap();
    assert_eq!(scene.ends(id), raced(b"text", "CHANGED"));
}

#[test]
fn a_file_changed_in_place_without_a_change_of_size() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    scene.settle();
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_at(b"n", 0).unwrap();
    assert_eq!(scene.ends(id), raced(b"text", "CHANGED"));
}

#[test]
fn a_file_changed_before_its_hash_has_no_digest() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let before = seen(&path);
    fs::write(&path, b"other").unwrap();
    let id = scene.accessed(before, access::READ);
    assert_eq!(scene.ends(id), absent("CHANGED"));
}

#[test]
fn two_versions_of_one_file_each_get_their_own() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"first");
    let first = scene.read(&path);
    scene.settle();
    let path = scene.old("input", b"second");
    let second = scene.read(&path);
    let findings = scene.finish();
    assert_eq!(known(&findings, first), raced(b"first", "CHANGED"));
    assert_eq!(known(&findings, second), stable(b"second"));
}

#[test]
fn a_writer_that_opens_before_the_hash_and_stays() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let _writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    // The kernel's count was taken before it came.
    let id = scene.read(&path);
    scene.settle();
    assert_eq!(scene.ends(id), raced(b"text", "WRITER_OPEN"));
}

#[test]
fn a_writer_that_opens_before_the_hash_and_goes_without_a_change() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let id = scene.read(&path);
    scene.settle();
    drop(writer);
    assert_eq!(scene.ends(id), stable(b"text"));
}

#[test]
fn a_writer_that_opens_after_the_hash_and_changes_nothing() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    scene.settle();
    let _writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    assert_eq!(scene.ends(id), stable(b"text"));
}

#[test]
fn a_writer_at_work_while_the_file_is_hashed() {
    let mut scene = Scene::new();
    let path = scene.old("input", &vec![7; 64 << 20]);
    let id = scene.read(&path);
    sleep(Duration::from_millis(5));
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_at(b"!", (64 << 20) - 1).unwrap();
    let ends = scene.ends(id);
    assert_eq!(ends.reason, "CHANGED");
    assert!(ends.sha256.is_none(), "what was read is of no version");
}

#[test]
fn a_shared_mapping_that_outlives_its_descriptor() {
    use crate::probe::lease::acts::Mapping;
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut mapping = Mapping::shared(&file, 4);
    drop(file);
    let id = scene.read(&path);
    scene.settle();
    mapping.store(0, b'n');
    let ends = scene.ends(id);
    assert!(ends.reason == "WRITER_OPEN" || ends.reason == "CHANGED", "{ends:?}");
    drop(mapping);
}

#[test]
fn a_shared_mapping_that_stores_after_the_hash() {
    use crate::probe::lease::acts::Mapping;
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.read(&path);
    scene.settle();
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut mapping = Mapping::shared(&file, 4);
    drop(file);
    mapping.store(0, b'n');
    assert_eq!(scene.ends(id), raced(b"text", "CHANGED"));
}

#[test]
fn a_wall_clock_that_was_set() {
    let scene = Scene::new();
    let path = scene.old("input", b"text");
    let wrong = Clock { realtime_offset_ns: clock().realtime_offset_ns - 10_000_000, ..clock() };
    let mut content = Content::start(quick(), wrong, None).unwrap();
    sleep(Duration::from_millis(12));
    content.pump();
    let file = File { id: 1, ..seen(&path) };
    content.accessed(1, &file, 0, now(access::READ, 0), std::process::id());
    let findings: Vec<_> = content.finish(false).unwrap().collect();
    assert_eq!(known(&findings, 1), raced(b"text", "CLOCK_SET"));
}

#[test]
fn filesystems_that_were_not_tested() {
    for (magic, reason) in [(0x4D44, "UNTESTED_FILESYSTEM"), (0x794C_7630, "OVERLAY_UNRESOLVED")] {
        let mut scene = Scene::new();
        let path = scene.old("input", b"text");
        let id = scene.accessed(File { fs_magic: magic, ..seen(&path) }, access::READ);
        assert_eq!(scene.ends(id), raced(b"text", reason));
    }
}
