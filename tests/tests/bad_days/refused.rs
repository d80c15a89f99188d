//! What is refused is refused before the command starts, with 125 and one sentence.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::{Ran, Run, Scratch, need};

const NOBODY: u32 = 65534;

fn touch(scratch: &Scratch) -> Run {
    Run::new(scratch, ["touch", "the-command-ran"])
}

/// 125, a sentence in a line of `testimony`'s own, and the command not run.
fn refused(scratch: &Scratch, ran: &Ran) -> String {
    assert_eq!(ran.code(), 125, "{}", ran.stderr);
    assert!(!scratch.join("the-command-ran").exists(), "the command was run");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let [line] = lines.as_slice() else { panic!("not one line: {}", ran.stderr) };
    assert!(line.starts_with("testimony: "), "{line}");
    (*line).to_owned()
}

/// Nothing that a person would have to clean up.
fn nothing_left(ran: &Ran) {
    assert!(!ran.statement().exists(), "a statement was left");
    assert!(!ran.evidence().exists(), "evidence was left");
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("permissions are changed");
}

#[test]
fn without_privileges() {
    let scratch = Scratch::new();
    mode(&scratch.path(), 0o777);
    let uid = NOBODY.to_string();
    let _ = need("setpriv");
    let words = ["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups"];
    let ran = touch(&scratch).copied(&scratch).under(words).go();
    let line = refused(&scratch, &ran);
    assert!(line.contains("privilege") || line.contains("root") || line.contains("CAP_"), "{line}");
    nothing_left(&ran);
}

#[test]
fn a_statement_that_is_there_already() {
    let scratch = Scratch::new();
    let there = scratch.write("out.intoto.jsonl", "somebody's");
    let ran = touch(&scratch).go();
    assert!(refused(&scratch, &ran).contains("out.intoto.jsonl exists already"), "{}", ran.stderr);
    assert_eq!(fs::read(there).expect("it is still there"), b"somebody's");
}

#[test]
fn evidence_that_is_there_already() {
    let scratch = Scratch::new();
    let there = scratch.write("out.evidence/segment", "somebody's");
    let ran = touch(&scratch).go();
    assert!(refused(&scratch, &ran).contains("out.evidence exists already"), "{}", ran.stderr);
    assert_eq!(fs::read(there).expect("it is still there"), b"somebody's");
    assert!(!ran.statement().exists());
}

#[test]
fn a_folder_for_the_output_that_is_not_there() {
    let scratch = Scratch::new();
    let ran = touch(&scratch).output(scratch.join("absent/out")).go();
    assert!(refused(&scratch, &ran).contains("absent"), "{}", ran.stderr);
}

#[test]
fn a_folder_that_takes_no_files() {
    let scratch = Scratch::new();
    let ran = touch(&scratch).output("/proc/self/out").go();
    assert!(refused(&scratch, &ran).contains("/proc/self/out"), "{}", ran.stderr);
}

#[test]
fn an_output_without_a_name() {
    let scratch = Scratch::new();
    let ran = touch(&scratch).output("..").go();
    let _ = refused(&scratch, &ran);
}

#[test]
fn a_key_that_others_may_read() {
    let scratch = Scratch::new();
    assert_eq!(Run::new(&scratch, ["true"]).output(scratch.join("first")).go().code(), 0);
    mode(&scratch.join("signing.key"), 0o644);
    let ran = touch(&scratch).go();
    assert!(refused(&scratch, &ran).contains("chmod 600"), "{}", ran.stderr);
    nothing_left(&ran);
}

#[test]
fn a_key_that_is_none() {
    let scratch = Scratch::new();
    for (name, content) in [("garbage", b"\x00\xff\x1b[2J".as_slice()), ("empty", b""), ("long", &[b'-'; 100_000])] {
        let key = scratch.write(name, content);
        mode(&key, 0o600);
        let ran = touch(&scratch).key(&key).go();
        assert!(refused(&scratch, &ran).contains(name), "{}", ran.stderr);
        assert!(!ran.stderr.contains('\x1b'), "what a file says reached the terminal");
        nothing_left(&ran);
    }
    let ran = touch(&scratch).key(scratch.folder("folder")).go();
    let _ = refused(&scratch, &ran);
}

#[test]
fn a_ring_that_is_no_power_of_two() {
    let scratch = Scratch::new();
    let ran = touch(&scratch).option("--ring-bytes=5000").go();
    let _ = refused(&scratch, &ran);
    nothing_left(&ran);
}

#[test]
fn a_key_is_made_on_first_use_and_kept() {
    let scratch = Scratch::new();
    let key = scratch.join("new/folder/key");
    let first = Run::new(&scratch, ["true"]).key(&key).output(scratch.join("first")).go();
    let _ = first.complete();
    let pem = fs::read(&key).expect("a key was made");
    assert_eq!(fs::metadata(&key).expect("it is there").permissions().mode() & 0o7777, 0o600);
    let _ = Run::new(&scratch, ["true"]).key(&key).output(scratch.join("second")).go().complete();
    assert_eq!(fs::read(&key).expect("it is there"), pem);
}
