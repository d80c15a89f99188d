//! A file system without room: an error says so, nothing is lost, and it goes on when there is room.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, mount};
use spool::{Error, Item, Kind, Spool};

use super::limits;

const MOUNTED: &str = "SPOOL_MOUNTED";
const DISK_BYTES: u64 = 8 << 20;

/// Runs the test of this name once more, in a mount namespace of its own; `true` there.
fn is_apart(name: &str) -> bool {
    if std::env::var_os(MOUNTED).is_some() {
        return true;
    }
    assert!(rustix::process::geteuid().is_root(), "needs root, to mount a file system of its own that can be filled");
    let test = std::env::current_exe().unwrap();
    let mut apart = Command::new("unshare");
    apart.args(["--mount", "--propagation", "private", "--"]).arg(test).env(MOUNTED, "1");
    let status = apart.args(["--exact", &format!("full_disk::{name}"), "--nocapture"]).status();
    assert!(status.expect("needs unshare of util-linux").success(), "the test failed in its mount namespace");
    false
}

/// A small file system, and the spool's folder on it.
fn disk(options: &str) -> (tempfile::TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    let options = std::ffi::CString::new(options).unwrap();
    mount("tmpfs", above.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())).unwrap();
    let folder = above.path().join("spool");
    (above, folder)
}

/// Takes all room but so many pages.
fn fill(disk: &Path, pages: usize) {
    let mut file = fs::File::create(disk.join("filler")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let full = file.metadata().unwrap().len();
    file.set_len(full.saturating_sub(pages as u64 * 4096)).unwrap();
}

fn empty(disk: &Path) {
    fs::remove_file(disk.join("filler")).unwrap();
}

fn put(spool: &mut Spool, number: u64) -> Result<u64, Error> {
    let mut sha256 = [0; 32];
    sha256[..8].copy_from_slice(&number.to_be_bytes());
    let envelope = sha256.repeat(500);
    let item = Item { kind: Kind::Quote, name: "", sha256, envelope: &envelope, evidence: None, made_s: 1 };
    spool.put(&item, 1)
}

fn numbers(spool: &Spool) -> Vec<u64> {
    spool.waiting(0, u64::MAX).unwrap().iter().map(|held| held.number).collect()
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    if !is_apart("a_full_disk_is_said_and_loses_nothing") {
        return;
    }
    let (disk, folder) = disk(&format!("size={DISK_BYTES}"));
    let mut spool = Spool::open(&folder, limits(64 << 20)).unwrap();
    let (mut waiting, mut next, mut full) = (Vec::new(), 0, [0; 4]);
    for pages in 0..60 {
        fill(disk.path(), pages);
        // Puts until none fits; then answers, as far as they go.
        loop {
            match put(&mut spool, next + 1) {
                Ok(number) => waiting.push(number),
                Err(Error::DiskFull) => break,
                Err(error) => panic!("{pages}: {error:?}"),
            }
            next += 1;
        }
        full[0] += 1;
        for refuses in [false, true] {
            let Some(number) = waiting.first().copied() else { continue };
            let done = if refuses { spool.refuse(number, "", "", 1) } else { spool.acknowledge(number, b"r", 1) };
            match done {
                Ok(()) => drop(waiting.remove(0)),
                Err(Error::DiskFull) => full[1 + usize::from(refuses)] += 1,
                Err(error) => panic!("{pages}: {error:?}"),
            }
        }
        assert_eq!(numbers(&spool), waiting, "{pages}");
        match Spool::open(&folder, limits(64 << 20)) {
            Ok(other) => assert_eq!(numbers(&other), waiting),
            Err(error) => panic!("{pages}: {error:?}"),
        }
        if pages % 5 == 0 {
            // Whoever opens it alone needs room for the log and the memory that processes share.
            drop(spool);
            spool = loop {
                match Spool::open(&folder, limits(64 << 20)) {
                    Ok(spool) => break spool,
                    Err(Error::DiskFull) => empty(disk.path()),
                    Err(error) => panic!("{pages}: {error:?}"),
                }
                full[3] += 1;
            };
        }
        if disk.path().join("filler").exists() {
            empty(disk.path());
        }
        // The same spool goes on.
        waiting.push(put(&mut spool, next + 1).unwrap_or_else(|error| panic!("{pages}: {error:?}")));
        next += 1;
        while waiting.len() > 100 {
            spool.acknowledge(waiting.remove(0), b"r", 1).unwrap();
        }
        spool.tidy(1).unwrap();
        assert_eq!(numbers(&spool), waiting, "{pages}");
    }
    println!("full for puts, receipts, refusals, opening: {full:?}; {next} put");
    assert!(full[0] > 0 && full[1] > 0 && full[2] > 0);
}

#[test]
fn a_disk_that_has_no_names_left_is_full_too() {
    if !is_apart("a_disk_that_has_no_names_left_is_full_too") {
        return;
    }
    for names in 0..5 {
        // The file system itself has one.
        let (_disk, folder) = disk(&format!("size={DISK_BYTES},nr_inodes={}", names + 1));
        let opened = Spool::open(&folder, limits(64 << 20)).map(|_| ());
        // Folder, database, log, shared memory.
        match opened {
            Ok(()) => assert_eq!(names, 4),
            Err(Error::DiskFull) => assert!(names < 4),
            Err(error) => panic!("{names}: {error:?}"),
        }
    }
}
