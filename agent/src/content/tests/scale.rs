//! How much the room takes: printed, and the memory held to its limit.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use agent_ebpf::access;
use proto::evidence::{Class, File};
use rustix::time::{ClockId, clock_gettime};

use super::scene::{Scene, now, quick, seen};
use crate::content::{Content, Limits};

/// The room's part of the agent's memory for 100,000 files, bytes.
const MEMORY_BYTES_MAX: usize = 40 << 20;

/// Files that are there, as the kernel reports them.
fn files(dir: &Path, count: usize) -> Vec<File> {
    let paths = (0..count).map(|n| dir.join(format!("d{}/file-with-a-name-{n}", n / 500)));
    for (n, path) in paths.clone().enumerate() {
        if n % 500 == 0 {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        fs::write(&path, format!("{n}").repeat(16)).unwrap();
    }
    sleep(Duration::from_millis(20));
    paths.map(|path| seen(&path)).collect()
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    status.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Accesses all, and says what each call cost this thread on the average.
fn access_all(content: &mut Content, files: &[File]) -> Duration {
    content.pump();
    let start = own_time();
    for (id, file) in files.iter().enumerate() {
        content.accessed(id as u64, file, 0, now(access::READ, 0), std::process::id());
    }
    (own_time() - start) / u32::try_from(files.len()).unwrap()
}

/// CPU time of this thread.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn wait_until_hashed(content: &mut Content, count: usize) -> Duration {
    let start = Instant::now();
    while content.hashed() < count {
        assert!(start.elapsed() < Duration::from_secs(60), "hashed {} of {count}", content.hashed());
        content.pump();
        sleep(Duration::from_micros(200));
    }
    start.elapsed()
}

fn measure(count: usize) {
    let mut scene = Scene::with(Limits { watches_max: 32_768, ..quick() }, None);
    let files = files(&scene.path(""), count);
    let before = resident_bytes();
    let each = access_all(&mut scene.content, &files);
    let hashing = wait_until_hashed(&mut scene.content, count);
    let running = resident_bytes().saturating_sub(before);
    let again = own_time();
    for id in 0..count {
        scene.content.accessed_again(id as u64, now(access::READ, 0));
    }
    let again = (own_time() - again) / u32::try_from(count).unwrap();
    let start = Instant::now();
    let findings = scene.content.finish(false).unwrap();
    let last = start.elapsed();
    let ended = resident_bytes().saturating_sub(before);
    let stable = findings.filter(|finding| finding.digest.class == i32::from(Class::Stable)).count();
    println!(
        "{count} files: {each:?} an access, {again:?} a repeat, hashed {hashing:?} after the last access, last pass {last:?}, \
         with findings {:?}, memory {running} then {ended} bytes",
        start.elapsed()
    );
    assert_eq!(stable, count);
    if count >= 100_000 {
        assert!(ended < MEMORY_BYTES_MAX, "{ended} bytes");
    }
}

#[test]
fn three_thousand_files() {
    measure(3_000);
}

#[test]
#[ignore = "makes 100,000 files; run alone, with --nocapture"]
fn a_hundred_thousand_files() {
    measure(100_000);
}
