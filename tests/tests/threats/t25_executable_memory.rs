//! 25: memory that becomes executable is a program that no file has.

use std::os::unix::fs::MetadataExt as _;

use tests::Scratch;

use crate::calls::{run, told};

#[test]
fn memory_made_executable_is_told() {
    let scratch = Scratch::new();
    let record = run(
        &scratch,
        "memory = must(call(9, 0, 4096, 3, 0x22, -1, 0))\nmust(call(10, memory, 4096, 5))\nprint(memory)",
    );
    record.must_be_complete_on_the_weakest();
    let acts = told(&record, "mprotect");
    assert!(acts.iter().any(|act| act.arguments[1..3] == [4096, 5]), "{acts:?}");
    record.sees("act", "mprotect");
}

#[test]
fn memory_that_is_executable_from_the_start_is_told() {
    let scratch = Scratch::new();
    let record = run(&scratch, "must(call(9, 0, 12288, 7, 0x22, -1, 0))");
    record.must_be_complete_on_the_weakest();
    let acts = told(&record, "mmap");
    assert!(acts.iter().any(|act| act.arguments[1..3] == [12288, 7]), "{acts:?}");
    record.sees("act", "mmap of memory to execute");
}

#[test]
fn a_file_mapped_to_execute_or_to_write_for_all_is_told_with_its_inode() {
    let scratch = Scratch::new();
    let file = scratch.write("file", "x".repeat(4096));
    let ino = file.metadata().unwrap().ino();
    let record = run(
        &scratch,
        "fd = os.open('file', os.O_RDWR)\nmust(call(9, 0, 4096, 5, 2, fd, 0))\nmust(call(9, 0, 4096, 3, 1, fd, 0))",
    );
    record.must_be_complete_on_the_weakest();
    let maps = told(&record, "mmap");
    let of_file: Vec<_> = maps.iter().filter(|act| act.file.is_some_and(|file| file.1 == ino)).collect();
    assert_eq!(of_file.iter().map(|act| act.arguments[2]).collect::<Vec<_>>(), [5, 3]);
    record.sees("act", "mmap of a file to execute, or to write for all");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    scratch.write("file", "x".repeat(4096));
    let record = run(
        &scratch,
        "fd = os.open('file', os.O_RDWR)\nmust(call(9, 0, 4096, 1, 2, fd, 0))\nmust(call(9, 0, 4096, 3, 0x22, -1, 0))",
    );
    record.must_be_complete_on_the_weakest();
    assert!(told(&record, "mprotect").is_empty());
    assert!(told(&record, "mmap").iter().all(|act| act.arguments[1] != 4096));
}
