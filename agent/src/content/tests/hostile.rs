//! A workload that wants the hashers to block, to act, or to believe the wrong file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use agent_ebpf::access;
use proto::evidence::File;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::scene::{Known, Scene, absent, known, quick, seen, stable};
use crate::content::Limits;

/// None of these may take long: the hashers never wait for anybody.
const AT_ONCE: Duration = Duration::from_secs(2);

/// An old file that is replaced by something between its access and the hash.
fn replaced(act: impl FnOnce(&Scene, &Path)) -> Known {
    let start = Instant::now();
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let file = seen(&path);
    fs::remove_file(&path).unwrap();
    act(&scene, &path);
    let id = scene.accessed(file, access::READ);
    let ends = scene.ends(id);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    ends
}

#[test]
fn a_fifo_in_its_place() {
    let ends = replaced(|_, path| mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap());
    assert_eq!(ends, absent("NOT_FOUND_AGAIN"));
}

#[test]
fn a_directory_in_its_place() {
    assert_eq!(replaced(|_, path| fs::create_dir(path).unwrap()), absent("NOT_FOUND_AGAIN"));
}

#[test]
fn a_socket_in_its_place() {
    // Bound by a short name: a socket's path has 107 bytes.
    let ends = replaced(|_, path| mknodat(CWD, path, FileType::Socket, Mode::RWXU, 0).unwrap());
    assert_eq!(ends, absent("NOT_FOUND_AGAIN"));
}

#[test]
fn a_symbolic_link_to_the_same_content_in_its_place() {
    let ends = replaced(|scene, path| {
        fs::write(scene.path("elsewhere"), b"text").unwrap();
        symlink("elsewhere", path).unwrap();
    });
    assert_eq!(ends, absent("NOT_FOUND_AGAIN"));
}

#[test]
fn a_symbolic_link_on_the_way() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("d")).unwrap();
    let path = scene.old("d/input", b"text");
    let file = seen(&path);
    fs::rename(scene.path("d"), scene.path("e")).unwrap();
    symlink("e", scene.path("d")).unwrap();
    let id = scene.accessed(file, access::READ);
    assert_eq!(scene.ends(id), absent("GONE"));
}

#[test]
fn a_device_that_claims_to_be_a_file() {
    let mut scene = Scene::new();
    let file = File { mode: 0o100_644, ..seen("/dev/zero".as_ref()) };
    let id = scene.accessed(file, access::READ);
    let ends = scene.ends(id);
    assert_eq!(ends.sha256, None, "{ends:?}");
}

#[test]
fn a_sparse_file_of_a_terabyte() {
    let start = Instant::now();
    let mut scene = Scene::new();
    let path = scene.old("sparse", b"");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    sleep(Duration::from_millis(12));
    let id = scene.read(&path);
    assert_eq!(scene.ends(id), absent("TOO_LARGE"));
    assert!(start.elapsed() < AT_ONCE);
}

#[test]
fn a_file_that_grows_faster_than_it_is_read() {
    let limits = Limits { file_bytes_max: 8 << 20, ..quick() };
    let mut scene = Scene::with(limits, None);
    let path = scene.old("growing", &vec![1; 8 << 20]);
    let id = scene.read(&path);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let ends = scene.ends(id);
    assert_ne!(ends.reason, "", "{ends:?}");
}

#[test]
fn a_file_unlinked_while_it_is_read() {
    let mut scene = Scene::new();
    let path = scene.old("large", &vec![1; 48 << 20]);
    let id = scene.read(&path);
    sleep(Duration::from_millis(3));
    fs::remove_file(&path).unwrap();
    let ends = scene.ends(id);
    assert!(["GONE", "GONE_SINCE"].contains(&ends.reason.as_str()), "{ends:?}");
}

#[test]
fn names_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    for name in [&b"new\nline"[..], b"\x1b[2J", b"\xff\xfe", "ü".as_bytes(), &[b'x'; 255]] {
        let mut scene = Scene::new();
        let path = scene.path("").join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, b"text").unwrap();
        sleep(Duration::from_millis(12));
        let id = scene.read(&path);
        assert_eq!(scene.ends(id), stable(b"text"), "{name:?}");
    }
}

/// A file system in user space whose process never answers.
struct Hung {
    dir: tempfile::TempDir,
    _device: std::os::fd::OwnedFd,
}

impl Hung {
    fn mount() -> Self {
        use std::os::fd::AsRawFd;
        assert!(rustix::process::geteuid().is_root(), "this test needs root and /dev/fuse: it mounts a file system");
        let dir = tempfile::tempdir().unwrap();
        let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        mount("hung", dir.path(), "fuse", MountFlags::NODEV | MountFlags::NOSUID, options.as_c_str()).unwrap();
        Self { dir, _device: device }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}

#[test]
fn a_filesystem_that_does_not_answer_holds_nobody_else() {
    let hung = Hung::mount();
    let mut scene = Scene::new();
    let path = scene.old("input", b"text");
    let template = seen(&path);
    // More of them than workers and their replacements together.
    let held: Vec<u64> = (0..3)
        .map(|n| {
            let path = hung.dir.path().join(format!("f{n}")).into_os_string().into_encoded_bytes();
            scene.accessed(File { path, ino: 1_000_000 + n, ..template.clone() }, access::READ)
        })
        .collect();
    sleep(Duration::from_millis(50));
    let other = scene.read(&path);
    let start = Instant::now();
    let findings = scene.finish();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(known(&findings, other), stable(b"text"));
    for id in held {
        assert_eq!(known(&findings, id), absent("TIMED_OUT"));
    }
}
