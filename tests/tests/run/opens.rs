//! Opens: which access, which path, which inode.

use std::os::unix::fs::MetadataExt;

use tests::{Run, Scratch, python};

const READ: u32 = 1;
const WRITE: u32 = 2;
const CREATED: u32 = 8;
const TRUNCATED: u32 = 16;
const PATH_ONLY: u32 = 32;

#[test]
fn every_kind_of_access_has_its_bits() {
    let scratch = Scratch::new();
    let script = r#"
import os
def opened(name, flags): os.close(os.open(name, flags))
opened("new", os.O_CREAT | os.O_WRONLY)
opened("excl", os.O_CREAT | os.O_EXCL | os.O_RDWR)
opened("old", os.O_RDONLY)
opened("old", os.O_CREAT | os.O_WRONLY)
opened("old", os.O_RDWR)
opened("old", os.O_WRONLY | os.O_APPEND)
opened("cut", os.O_WRONLY | os.O_TRUNC)
opened("named", os.O_PATH)
opened("folder", os.O_RDONLY | os.O_DIRECTORY)
try: opened("absent", os.O_RDONLY)
except OSError: pass
"#;
    scratch.write("old", "content");
    scratch.write("cut", "content");
    scratch.write("named", "content");
    scratch.folder("folder");
    let record = Run::new(&scratch, python(script)).go().complete();
    let base = scratch.path();
    let opens = record.opens();
    let of = |name: &str| -> Vec<(u32, u64)> {
        let path = base.join(name).into_os_string().into_encoded_bytes();
        opens.iter().filter(|open| open.file.path == path).map(|open| (open.access, open.count)).collect()
    };
    assert_eq!(of("new"), [(WRITE | CREATED, 1)]);
    assert_eq!(of("excl"), [(READ | WRITE | CREATED, 1)]);
    let old: u32 = of("old").iter().fold(0, |all, open| all | open.0);
    let old_count: u64 = of("old").iter().map(|open| open.1).sum();
    assert_eq!((old, old_count), (READ | WRITE, 4));
    assert_eq!(of("cut"), [(WRITE | TRUNCATED, 1)]);
    // Such a descriptor names a file and opens none: nothing is asked before it is made.
    let named: &[(u32, u64)] = if record.sees_before("open") { &[] } else { &[(PATH_ONLY, 1)] };
    assert_eq!(of("named"), named);
    assert_eq!(of("folder"), [(READ, 1)]);
    assert_eq!(of("absent"), []);
}

#[test]
fn a_file_is_told_with_what_the_kernel_knows_of_it() {
    let scratch = Scratch::new();
    let path = scratch.write("input", "some content");
    let metadata = std::fs::metadata(&path).unwrap();
    let record = Run::new(&scratch, ["/bin/cat", "input"]).go().complete();
    let file = record.file(&path);
    assert_eq!((file.ino, file.size_bytes, file.mode), (metadata.ino(), 12, metadata.mode()));
    assert_eq!((file.ctime_sec, i64::from(file.ctime_nsec)), (metadata.ctime(), metadata.ctime_nsec()));
    assert!(!file.deleted && file.mnt_ns != 0);
}

#[test]
fn a_path_through_links_is_the_file_s_own() {
    let scratch = Scratch::new();
    let real = scratch.write("real/file", "x");
    std::os::unix::fs::symlink("real", scratch.join("link")).unwrap();
    std::os::unix::fs::symlink("../link/file", scratch.join("real/again")).unwrap();
    let record = Run::new(&scratch, ["/bin/cat", "link/../link/again"]).go().complete();
    assert_eq!(record.file(&real).accesses, 1);
}

#[test]
fn a_pipe_opened_again_is_named_as_what_it_is() {
    let scratch = Scratch::new();
    let script = r#"
import os
read, write = os.pipe()
os.close(os.open(f"/proc/self/fd/{read}", os.O_RDONLY))
print(os.fstat(read).st_ino)
"#;
    let ran = Run::new(&scratch, python(script)).go();
    let number = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    let record = ran.complete();
    let pipe = record.file(std::path::Path::new(&format!("/pipe:[{number}]")));
    assert_eq!((pipe.access, pipe.sha256), (1, None));
    assert!(record.files(std::path::Path::new("/")).is_empty(), "nobody opened the root");
}

#[test]
fn a_file_opened_after_its_removal_is_marked() {
    let scratch = Scratch::new();
    let script = r#"
import os
f = os.open("gone", os.O_CREAT | os.O_RDWR)
os.unlink("gone")
os.close(os.open(f"/proc/self/fd/{f}", os.O_RDONLY))
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    let files = record.files(&scratch.join("gone"));
    assert_eq!(files.iter().filter(|file| file.deleted).count(), 1, "{files:?}");
    assert!(files.iter().any(|file| file.deleted && file.access == 1));
}

#[test]
fn a_repeat_is_never_folded_into_another_path() {
    let scratch = Scratch::new();
    scratch.write("above/folder/file", "content");
    scratch.write("other", "content");
    let script = r#"
import os
def opened(name, times):
    for _ in range(times): os.close(os.open(name, os.O_RDONLY))
opened("above/folder/file", 10)
os.rename("other", "another")
opened("above/folder/file", 10)
os.rename("above", "below")
opened("below/folder/file", 10)
os.rename("below/folder", "below/map")
opened("below/map/file", 10)
os.rename("below/map", "below/folder")
os.rename("below", "above")
opened("above/folder/file", 10)
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    let accesses = |name: &str| -> u64 { record.files(&scratch.join(name)).iter().map(|file| file.accesses).sum() };
    assert_eq!(accesses("above/folder/file"), 30);
    assert_eq!(accesses("below/folder/file"), 10);
    assert_eq!(accesses("below/map/file"), 10);
    assert_eq!(record.files(&scratch.join("above/folder/file")).len(), 1, "a version has one row for each path");
    let [attempted, delivered, coalesced, lost] = record.numbers("open");
    assert_eq!((attempted, lost), (delivered + coalesced, 0));
    assert!(coalesced >= 47, "only the three paths were told: {coalesced} of {attempted} folded");
}
