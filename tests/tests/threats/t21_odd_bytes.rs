//! 21: bytes that end a line, a string or a terminal's patience.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use tests::{Run, Scratch, binary, held};

use crate::calls::{run, succeeded};

/// A name with a newline, an escape that clears a terminal, a mark that turns the writing around, and bytes that are no UTF-8.
const NAME: &[u8] = b"a\nb\x1b[2J\xe2\x80\xae\xff\xfe\\";

#[test]
fn names_and_arguments_are_kept_byte_for_byte_and_shown_escaped() {
    let scratch = Scratch::new();
    let file = scratch.join(OsStr::from_bytes(NAME));
    std::fs::write(&file, "x").expect("the file system takes any bytes");
    let words = [OsStr::new("/bin/cat"), OsStr::from_bytes(NAME)];
    let ran = Run::new(&scratch, words).go();
    let statement = ran.statement();
    let record = succeeded(ran);
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.accesses(&file), 1);
    assert_eq!(record.command().argv().last(), Some(NAME));
    record.sees("open", "of a file of any name, byte for byte");
    let shown = Command::new(binary()).arg("show").arg(&statement).output().expect("it starts");
    let text = String::from_utf8(shown.stdout).expect("escaped");
    assert!(text.contains("a\\x0ab\\x1b[2J\\xe2\\x80\\xae\\xff\\xfe\\\\"), "{text}");
    assert!(text.chars().all(|shown| shown == '\n' || !shown.is_control()), "{text}");
    held("what is shown has no control character but its own ends of lines");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let file = scratch.write("plain", "x");
    let record = run(&scratch, "open('plain').read()");
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.accesses(&file), 1);
}
