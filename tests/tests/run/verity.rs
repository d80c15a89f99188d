//! fs-verity: what the kernel answers for is of class `kernel`, and nothing else is.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use attestation::trace::FileVersion;
use proto::evidence::Class;
use proto::evidence::measure::{Algorithm, Means};
use sha2::{Digest, Sha256};
use tests::{Run, Scratch, Volume, kernel, python};

/// Whether ext4 knows fs-verity here.
const FEATURE: &str = "/sys/fs/ext4/features/verity";
const BLOCK_BYTES: usize = 4096;

/// What `fsverity enable` does, by the algorithm of this number; the exit status is the kernel's answer.
const ENABLE: &str = r#"
import fcntl, os, struct, sys
argument = struct.pack("<IIIIQIIQ11Q", 1, int(sys.argv[2]), 4096, 0, 0, 0, 0, 0, *[0] * 11)
try:
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x40806685, argument)
except OSError as refused:
    sys.exit(refused.errno)
"#;

/// An ext4 that can have fs-verity; none on a host whose kernel has not, which the guests' have.
fn volume() -> Option<Volume> {
    if Path::new(FEATURE).exists() {
        return Some(Volume::image(&["mkfs.ext4", "-q", "-b", "4096", "-O", "verity"], 64));
    }
    assert_eq!(kernel(), "host", "a guest's kernel has fs-verity");
    println!("{FEATURE} is not there: this holds in the guests");
    None
}

fn enable(path: &Path, algorithm: Algorithm) -> i32 {
    let number = (algorithm as i32).to_string();
    let enabled = Command::new("python3").args(["-c", ENABLE]).arg(path).arg(number).status().expect("python3 starts");
    enabled.code().expect("it exits")
}

#[track_caller]
fn seal(path: &Path, algorithm: Algorithm) {
    assert_eq!(enable(path, algorithm), 0, "{}: the kernel's answer", path.display());
}

fn sha256(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

/// The digest of a file by fs-verity, from its definition: of a descriptor with the root of the tree over whole blocks.
fn measure(content: &[u8]) -> [u8; 32] {
    let hash = |block: &[u8]| {
        let mut whole = block.to_vec();
        whole.resize(BLOCK_BYTES, 0);
        sha256(&whole)
    };
    let mut level: Vec<[u8; 32]> = content.chunks(BLOCK_BYTES).map(hash).collect();
    while level.len() > 1 {
        level = level.chunks(BLOCK_BYTES / 32).map(|hashes| hash(&hashes.concat())).collect();
    }
    let mut descriptor = vec![1, 1, 12, 0, 0, 0, 0, 0];
    descriptor.extend((content.len() as u64).to_le_bytes());
    descriptor.extend(level.first().copied().unwrap_or_default());
    descriptor.resize(256, 0);
    sha256(&descriptor)
}

/// By which algorithm fs-verity measured it, and what.
fn measured(file: &FileVersion<'_>) -> Option<(Algorithm, Vec<u8>)> {
    let measure = file.measure?;
    assert_eq!(measure.by(), Means::FsVerity);
    Some((measure.algorithm(), measure.digest.clone()))
}

fn content(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn a_sealed_file_is_kernel_with_its_measure_and_its_twin_is_stable() {
    let Some(volume) = volume() else { return };
    let scratch = Scratch::new();
    let (sealed, twin, empty) = (volume.root().join("sealed"), volume.root().join("twin"), volume.root().join("empty"));
    let content = content(3_000_000);
    fs::write(&sealed, &content).unwrap();
    fs::write(&twin, &content).unwrap();
    fs::write(&empty, "").unwrap();
    seal(&sealed, Algorithm::Sha256);
    seal(&empty, Algorithm::Sha256);
    sleep(Duration::from_secs(1));
    let ran = Run::new(&scratch, [Path::new("/bin/cat"), &sealed, &twin, &empty]).go();
    let record = ran.complete();
    let file = record.file(&sealed);
    assert_eq!((file.class, file.reason, file.sha256), (Class::Kernel, "", Some(&sha256(&content))));
    assert_eq!(measured(&file), Some((Algorithm::Sha256, measure(&content).to_vec())));
    let file = record.file(&twin);
    assert_eq!((file.class, file.reason, file.sha256), (Class::Stable, "", Some(&sha256(&content))));
    assert_eq!(measured(&file), None);
    let file = record.file(&empty);
    assert_eq!((file.class, measured(&file)), (Class::Kernel, Some((Algorithm::Sha256, measure(b"").to_vec()))));
    assert!(record.claims.digest_classes[0] >= 2, "{:?}", record.claims.digest_classes);
}

#[test]
fn a_sealed_program_is_kernel_by_the_algorithm_of_its_tree() {
    let Some(volume) = volume() else { return };
    let scratch = Scratch::new();
    let program = volume.root().join("program");
    fs::copy("/bin/true", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // Debian's kernel 6.1 has that algorithm as a module, which guests do not load.
    let answer = enable(&program, Algorithm::Sha512);
    let (algorithm, bytes) = if answer == ENOPKG { (Algorithm::Sha256, 32) } else { (Algorithm::Sha512, 64) };
    if algorithm == Algorithm::Sha256 {
        seal(&program, algorithm);
    }
    let record = Run::new(&scratch, [&program]).go().complete();
    let binary = record.file(&program);
    assert_eq!((binary.class, binary.sha256), (Class::Kernel, Some(&sha256(&fs::read("/bin/true").unwrap()))));
    let (by, digest) = measured(&binary).unwrap();
    assert_eq!((by, digest.len(), answer == 0), (algorithm, bytes, algorithm == Algorithm::Sha512));
}

/// Errno of an algorithm that the kernel lacks.
const ENOPKG: i32 = 65;

/// Reads a first part of what it is given, waits for the test, reads the rest.
const SLOW_READER: &str = r#"
import os, sys, time
f = os.open(sys.argv[1], os.O_RDONLY)
os.read(f, 4)
open("opened", "w").close()
while not os.path.exists("go"): time.sleep(0.01)
os.read(f, 4096)
"#;

fn slow_reader(input: &Path) -> Vec<OsString> {
    let mut command: Vec<OsString> = python(SLOW_READER).into_iter().map(OsString::from).collect();
    command.push(input.into());
    command
}

/// Errno of a file that somebody has open for writing.
const ETXTBSY: i32 = 26;

#[test]
fn a_file_sealed_only_after_it_was_opened_is_not_kernel_whoever_wrote_it_between() {
    let Some(volume) = volume() else { return };
    let scratch = Scratch::new();
    for busy in [false, true] {
        let _ = fs::remove_file(scratch.join("go"));
        let _ = fs::remove_file(scratch.join("opened"));
        let input = volume.root().join(if busy { "busy" } else { "quiet" });
        fs::write(&input, "12345678").unwrap();
        sleep(Duration::from_secs(1));
        let writer = busy.then(|| fs::OpenOptions::new().write(true).open(&input).unwrap());
        let name = scratch.join(if busy { "with" } else { "without" });
        let mut run = Run::new(&scratch, slow_reader(&input)).output(name).start();
        run.wait_for(&scratch.join("opened"));
        if let Some(writer) = writer {
            assert_eq!(enable(&input, Algorithm::Sha256), ETXTBSY);
            drop(writer);
            fs::write(&input, "abcdefgh").unwrap();
        }
        seal(&input, Algorithm::Sha256);
        scratch.write("go", "");
        let record = run.wait().complete();
        for file in record.files(&input) {
            assert!(file.class != Class::Kernel && measured(&file).is_none(), "{file:?}");
            assert!(!busy || file.class != Class::Stable, "{file:?}");
        }
    }
}

#[test]
fn another_file_in_a_sealed_one_s_place_has_no_part_in_its_digest() {
    let Some(volume) = volume() else { return };
    let scratch = Scratch::new();
    let (input, other) = (volume.root().join("input"), volume.root().join("other"));
    fs::write(&input, "12345678").unwrap();
    seal(&input, Algorithm::Sha256);
    let mut run = Run::new(&scratch, slow_reader(&input)).start();
    run.wait_for(&scratch.join("opened"));
    // Meanwhile it is hashed, which its times do not delay.
    sleep(Duration::from_secs(5));
    fs::write(&other, "abcdefgh").unwrap();
    seal(&other, Algorithm::Sha256);
    fs::rename(&other, &input).unwrap();
    scratch.write("go", "");
    let record = run.wait().complete();
    let file = record.file(&input);
    assert_eq!((file.class, file.sha256), (Class::Kernel, Some(&sha256(b"12345678"))));
    assert_eq!(measured(&file), Some((Algorithm::Sha256, measure(b"12345678").to_vec())));
}
