//! What is lost is counted: a ring that is too small, a disk that is full.

use std::path::PathBuf;
use std::process::Command;

use tests::{Run, Scratch, need, python};

/// Makes and removes files with names that do not compress.
fn flood(files: u32) -> String {
    format!(
        r#"
import os
for _ in range({files}):
    name = os.urandom(40).hex()
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    os.unlink(name)
"#
    )
}

#[test]
fn a_ring_too_small_for_a_flood_loses_events_and_counts_each() {
    let scratch = Scratch::new();
    // The agent sleeps meanwhile: awake, it may be quick enough even for this ring.
    let agent = "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\n";
    let script = format!("{agent}{}os.kill(os.getppid(), signal.SIGCONT)\nprint('done')", flood(3000));
    let ran = Run::new(&scratch, python(&script)).option("--ring-bytes=4096").go();
    assert_eq!((ran.code(), ran.stdout.as_slice()), (0, b"done\n".as_slice()), "{}", ran.stderr);
    let record = ran.record();
    record.must_lack("LOST_EVENTS");
    record.must_balance();
    let lost: u64 = record.claims.hooks.iter().map(|hook| hook.lost).sum();
    assert!(lost > 0 && !record.claims.lossless);
    let [attempted, ..] = record.numbers("unlink");
    // With what the agent removed itself, and what was lost of that.
    assert!((3000..3100).contains(&attempted), "every removal has its number, seen or lost: {attempted}");
}

#[test]
fn the_same_flood_in_an_ordinary_ring_is_whole() {
    let scratch = Scratch::new();
    let record = Run::new(&scratch, python(&flood(3000))).go().complete();
    assert_eq!(record.numbers("unlink"), [3000, 3000, 0, 0]);
}

/// A small file system in memory, gone with the test.
struct Small(PathBuf);

impl Small {
    fn mount(scratch: &Scratch, bytes: u32) -> Self {
        let path = scratch.folder("small");
        let _ = need("mount");
        let options = format!("size={bytes},mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).status();
        assert!(mounted.is_ok_and(|status| status.success()), "no tmpfs could be mounted on {}", path.display());
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Fills the disk, then goes on.
const FILL: &str = r#"
import os
fill = os.open("small/fill", os.O_CREAT | os.O_WRONLY)
try:
    while os.write(fill, bytes(65536)): pass
except OSError: pass
"#;

#[test]
fn a_full_disk_ends_completeness_and_nothing_else() {
    let scratch = Scratch::new();
    let small = Small::mount(&scratch, 24 << 20);
    let script = format!("{FILL}{}open('last', 'w').close()\nprint('done')", flood(6000));
    let ran = Run::new(&scratch, python(&script)).output(small.0.join("out")).go();
    assert_eq!((ran.code(), ran.stdout.as_slice()), (0, b"done\n".as_slice()), "{}", ran.stderr);
    assert!(scratch.join("last").exists(), "the command was to go on");
    let record = ran.record();
    record.must_lack("EVIDENCE_NOT_WRITTEN");
    assert_eq!(record.trace.execs(record.root()).count(), 1, "what came before is there");
    assert!(record.root().end.is_none(), "what came after is not");
    let [attempted, delivered, ..] = record.numbers("unlink");
    assert!((6000..6100).contains(&attempted) && delivered < 6000, "the statement says how much is missing");
}

#[test]
fn a_disk_with_room_is_its_twin() {
    let scratch = Scratch::new();
    let small = Small::mount(&scratch, 64 << 20);
    let script = format!("{}open('last', 'w').close()", flood(6000));
    let record = Run::new(&scratch, python(&script)).output(small.0.join("out")).go().complete();
    assert_eq!(record.numbers("unlink"), [6000, 6000, 0, 0]);
}

#[test]
fn a_disk_too_small_from_the_start_refuses() {
    let scratch = Scratch::new();
    let small = Small::mount(&scratch, 1 << 20);
    let ran = Run::new(&scratch, ["touch", "the-command-ran"]).output(small.0.join("out")).go();
    assert_eq!(ran.code(), 125, "{}", ran.stderr);
    assert!(!scratch.join("the-command-ran").exists());
}
