//! The tested file systems, from images: each behaves as its place on the list says. These need root, loop devices and
//! the file systems' own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use agent_ebpf::access;
use proto::evidence::File;
use rustix::mount::{UnmountFlags, unmount};

use super::scene::{Known, Scene, absent, ephemeral, known, now, product, raced, seen, stable};

/// A mounted image, unmounted when dropped.
struct Image {
    dir: tempfile::TempDir,
}

impl Image {
    fn make(make: &[&str], megabytes: u64) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test needs root: it mounts a file system from an image");
        let dir = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let image = dir.path().join("image");
        fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        run(Command::new(make[0]).args(&make[1..]).arg(&image));
        let mounted = Self { dir };
        fs::create_dir(mounted.root()).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(mounted.root()));
        mounted
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = unmount(self.root(), UnmountFlags::DETACH);
    }
}

fn run(command: &mut Command) {
    let done = command.stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let done = done.unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// As the kernel tells it where `st_dev` is not the superblock's.
fn told(path: &Path, dev: Option<u32>) -> File {
    let file = seen(path);
    File { dev: dev.unwrap_or(file.dev), ..file }
}

/// The life of files on a tested file system.
fn lives(root: &Path, dev: Option<u32>) {
    read_settled_fresh_and_linked(root, dev);
    let mut scene = Scene::below(root);
    let path = scene.path("out");
    fs::write(&path, b"text").unwrap();
    let made = scene.accessed(File { writers: 1, size: 0, ..told(&path, dev) }, access::WRITE | access::CREATED);
    let gone = scene.path("gone");
    fs::write(&gone, b"text").unwrap();
    let lost = scene.accessed(File { writers: 1, size: 0, ..told(&gone, dev) }, access::WRITE | access::CREATED);
    fs::remove_file(&gone).unwrap();
    let findings = scene.finish();
    assert_eq!(known(&findings, made), product(b"text"));
    assert_eq!(known(&findings, lost), ephemeral("MADE_AND_GONE"));
}

fn read_settled_fresh_and_linked(root: &Path, dev: Option<u32>) {
    let mut scene = Scene::below(root);
    let [old, linked, changed] = ["old", "linked", "changed"].map(|name| scene.old(name, name.as_bytes()));
    let ids = [&old, &linked, &changed].map(|path| scene.accessed(told(path, dev), access::READ));
    scene.settle();
    scene.link(&linked, &scene.path("second"));
    fs::write(&changed, b"other").unwrap();
    let fresh = scene.path("fresh");
    fs::write(&fresh, b"fresh").unwrap();
    let fresh = scene.accessed_at_age(told(&fresh, dev), access::READ, 2_000_000);
    let findings = scene.finish();
    assert_eq!(known(&findings, ids[0]), stable(b"old"));
    assert_eq!(known(&findings, ids[1]), stable(b"linked"));
    assert_eq!(known(&findings, ids[2]), raced(b"changed", "CHANGED"));
    assert_eq!(known(&findings, fresh), raced(b"fresh", "FRESH_CTIME"));
}

#[test]
fn ext4() {
    let image = Image::make(&["mkfs.ext4", "-q"], 32);
    lives(&image.root(), None);
}

#[test]
fn ext4_with_small_inodes_counts_seconds() {
    let image = Image::make(&["mkfs.ext4", "-q", "-I", "128"], 32);
    let mut scene = Scene::below(&image.root());
    let path = scene.old("input", b"text");
    assert_eq!(seen(&path).ctime_nsec, 0);
    let young = scene.read_at_age(&path, 900_000_000);
    sleep(Duration::from_millis(2100));
    let settled = scene.old("other", b"text");
    sleep(Duration::from_millis(2100));
    let settled = scene.read(&settled);
    let findings = scene.finish();
    assert_eq!(known(&findings, young), raced(b"text", "FRESH_CTIME"));
    assert_eq!(known(&findings, settled), stable(b"text"));
}

#[test]
fn xfs() {
    let image = Image::make(&["mkfs.xfs", "-q"], 320);
    lives(&image.root(), None);
}

#[test]
fn btrfs_and_a_superblock_that_stat_does_not_show() {
    let image = Image::make(&["mkfs.btrfs", "-q"], 128);
    lives(&image.root(), Some(0x2f));
}

#[test]
fn btrfs_subvolumes_with_the_same_inode_numbers_are_not_taken_for_one() {
    let image = Image::make(&["mkfs.btrfs", "-q"], 128);
    let [a, b] = ["a", "b"].map(|name| image.root().join(name));
    for subvolume in [&a, &b] {
        run(Command::new("btrfs").args(["subvolume", "create"]).arg(subvolume));
    }
    let (made, other) = (a.join("file"), b.join("file"));
    fs::write(&made, b"made").unwrap();
    fs::write(&other, b"not ").unwrap();
    assert_eq!(seen(&made).ino, seen(&other).ino);
    sleep(Duration::from_millis(12));
    let mut scene = Scene::new();
    let created = File { writers: 1, ..told(&made, Some(0x2f)) };
    scene.accessed(created.clone(), access::WRITE | access::CREATED);
    // The same superblock, inode number and, as a clock tick would have it, version.
    let read = File { path: other.into_os_string().into_encoded_bytes(), writers: 0, ..created };
    let twin = scene.accessed(File { size: 9, ..read.clone() }, access::READ);
    let read = scene.accessed(read, access::READ);
    let findings = scene.finish();
    assert_eq!(known(&findings, twin), absent("CHANGED"));
    // Of what stands at its own path, if of anything.
    assert!([stable(b"not "), absent("CHANGED")].contains(&known(&findings, read)));
}

#[test]
fn tmpfs_is_never_stable() {
    let shm = Path::new("/dev/shm");
    assert_eq!(seen(&shm.join(".")).fs_magic, 0x0102_1994, "this test needs a tmpfs at /dev/shm");
    let mut scene = Scene::below(shm);
    let old = scene.old("old", b"text");
    let read = scene.read(&old);
    let made = scene.write(&scene.path("out"), b"text");
    let gone = scene.write(&scene.path("gone"), b"text");
    fs::remove_file(scene.path("gone")).unwrap();
    let findings = scene.finish();
    assert_eq!(known(&findings, read), raced(b"text", "TMPFS_SHARED"));
    assert_eq!(known(&findings, made), Known { product: true, ..raced(b"text", "TMPFS_SHARED") });
    assert_eq!(known(&findings, gone), ephemeral("MADE_AND_GONE"));
}

/// A process in a mount namespace of its own, with a tmpfs that nobody else sees.
struct Inmate {
    process: Child,
    dir: tempfile::TempDir,
}

impl Inmate {
    fn start() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test needs root: it makes a mount namespace");
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs none \"$0\" && printf text >\"$0/input\" && touch \"$0/ready\" && \
                      exec sleep 60 >/dev/null";
        let mut unshare = Command::new("unshare");
        let process = unshare.args(["-m", "sh", "-c", script]).arg(dir.path()).spawn().unwrap();
        let inmate = Self { process, dir };
        for _ in 0..500 {
            if inmate.inside("ready").exists() {
                return inmate;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("the mount namespace was not made");
    }

    /// A path of ours to a file that only the process sees.
    fn inside(&self, name: &str) -> PathBuf {
        let hidden = self.dir.path().join(name);
        Path::new(&format!("/proc/{}/root", self.process.id())).join(hidden.strip_prefix("/").unwrap())
    }

    fn told(&self, name: &str) -> File {
        use std::os::unix::fs::MetadataExt;
        let namespace = fs::metadata(format!("/proc/{}/ns/mnt", self.process.id())).unwrap().ino();
        let path = self.dir.path().join(name).into_os_string().into_encoded_bytes();
        File { path, mnt_ns: namespace, fs_magic: 0x0102_1994, ..seen(&self.inside(name)) }
    }

    fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Inmate {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_mount_namespace_is_kept_when_its_last_process_has_ended() {
    let mut inmate = Inmate::start();
    sleep(Duration::from_millis(20));
    let mut scene = Scene::new();
    let file = File { id: 1, ..inmate.told("input") };
    scene.content.accessed(1, &file, 0, now(access::READ, 0), inmate.process.id());
    inmate.end();
    assert_eq!(scene.ends(1), raced(b"text", "TMPFS_SHARED"));
}

#[test]
fn a_mount_namespace_first_seen_when_its_process_has_ended() {
    let mut inmate = Inmate::start();
    let mut scene = Scene::new();
    let file = File { id: 1, ..inmate.told("input") };
    inmate.end();
    scene.content.accessed(1, &file, 0, now(access::READ, 0), inmate.process.id());
    assert_eq!(scene.ends(1), absent("NAMESPACE_GONE"));
}
