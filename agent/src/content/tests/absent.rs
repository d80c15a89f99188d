//! No digest: each reason at its boundary.

use std::fs;

use agent_ebpf::access;
use proto::evidence::File;

use super::scene::{Scene, absent, known, now, quick, seen, stable};
use crate::content::Limits;

#[test]
fn a_file_gone_before_the_first_look() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let file = seen(&path);
    fs::remove_file(&path).unwrap();
    let id = scene.accessed(file, access::READ);
    assert_eq!(scene.ends(id), absent("GONE"));
}

#[test]
fn a_directory_gone_on_the_way() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("d")).unwrap();
    let path = scene.old("d/input", b"text");
    let file = seen(&path);
    fs::remove_dir_all(scene.path("d")).unwrap();
    let id = scene.accessed(file, access::READ);
    assert_eq!(scene.ends(id), absent("GONE"));
}

#[test]
fn another_file_under_the_name() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let file = seen(&path);
    fs::write(scene.path("other"), b"text").unwrap();
    fs::rename(scene.path("other"), &path).unwrap();
    let id = scene.accessed(file, access::READ);
    assert_eq!(scene.ends(id), absent("NOT_FOUND_AGAIN"));
}

#[test]
fn what_is_no_regular_file() {
    for kind in [0o040_000, 0o010_000, 0o020_000, 0o060_000, 0o140_000, 0o120_000, 0] {
        let mut scene = Scene::new();
        let path = scene.old("input", b"text");
        let id = scene.accessed(File { mode: kind | 0o644, ..seen(&path) }, access::READ);
        assert_eq!(scene.ends(id), absent("NOT_REGULAR"), "{kind:o}");
    }
}

#[test]
fn filesystems_that_are_never_opened() {
    for (magic, reason) in [
        (0x9FA0, "PSEUDO_FILE"),
        (0x6265_6572, "PSEUDO_FILE"),
        (0x6969, "NETWORK_FILESYSTEM"),
        (0x0102_1997, "NETWORK_FILESYSTEM"),
        (0x6573_5546, "FUSE_FILESYSTEM"),
        (0x1234_5678, "UNKNOWN_FILESYSTEM"),
    ] {
        let mut scene = Scene::new();
        let path = scene.old("input", b"text");
        let id = scene.accessed(File { fs_magic: magic, ..seen(&path) }, access::READ);
        assert_eq!(scene.ends(id), absent(reason));
    }
}

#[test]
fn a_real_file_of_proc() {
    let mut scene = Scene::new();
    let id = scene.read("/proc/self/status".as_ref());
    assert_eq!(scene.ends(id), absent("PSEUDO_FILE"));
}

#[test]
fn a_descriptor_that_only_names() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.accessed(seen(&path), access::PATH_ONLY);
    assert_eq!(scene.ends(id), absent("PATH_ONLY"));
}

#[test]
fn a_descriptor_that_only_names_and_one_that_reads() {
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let id = scene.accessed(seen(&path), access::PATH_ONLY);
    scene.content.accessed_again(id, now(access::READ, 0));
    assert_eq!(scene.ends(id), stable(b"text"));
}

#[test]
fn no_whole_path() {
    for path in [&b""[..], b"/", b"relative", b"/a/", b"/a\0b", b"/a/.."] {
        let mut scene = Scene::new();
        let input = scene.old("input", b"text");
        let id = scene.accessed(File { path: path.to_vec(), ..seen(&input) }, access::READ);
        assert_eq!(scene.ends(id), absent("NO_PATH"), "{path:?}");
    }
}

#[test]
fn a_mount_in_no_namespace_and_a_namespace_nobody_is_in() {
    for (mnt_ns, reason) in [(0, "NO_PATH"), (1, "NAMESPACE_GONE")] {
        let mut scene = Scene::new();
        let path = scene.old("input", b"text");
        let id = scene.accessed(File { mnt_ns, ..seen(&path) }, access::READ);
        assert_eq!(scene.ends(id), absent(reason));
    }
}

#[test]
fn one_byte_over_the_limit() {
    for (bytes, expected) in [(1000, stable(&[1; 1000])), (1001, absent("TOO_LARGE"))] {
        let mut scene = Scene::with(Limits { file_bytes_max: 1000, ..quick() }, None);
        let path = scene.old("input", &vec![1; bytes]);
        let id = scene.read(&path);
        assert_eq!(scene.ends(id), expected);
    }
}

#[test]
fn one_file_over_the_limit() {
    let mut scene = Scene::with(Limits { files_max: 1, ..quick() }, None);
    let (a, b) = (scene.old("a", b"a"), scene.old("b", b"b"));
    let (a, b) = (scene.read(&a), scene.read(&b));
    let findings = scene.finish();
    assert_eq!((known(&findings, a), known(&findings, b)), (stable(b"a"), absent("FILES_OVER_LIMIT")));
}

#[test]
fn a_queue_of_one_loses_nothing() {
    let mut scene = Scene::with(Limits { queue_max: 1, workers: 1, ..quick() }, None);
    let paths: Vec<_> = (0..200).map(|n| scene.path(&format!("f{n}"))).collect();
    paths.iter().for_each(|path| fs::write(path, path.as_os_str().as_encoded_bytes()).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(12));
    let ids: Vec<_> = paths.iter().map(|path| scene.read(path)).collect();
    let findings = scene.finish();
    for (id, path) in ids.into_iter().zip(&paths) {
        assert_eq!(known(&findings, id), stable(path.as_os_str().as_encoded_bytes()));
    }
}
