//! 32: a file that makes whoever hashes it wait, act or never end.

use std::fs::File;
use std::time::{Duration, Instant};

use proto::evidence::Class;
use tests::Scratch;

use crate::calls::run;

/// A FIFO that nobody writes would be waited for for ever; a terabyte of zeros is read for hours.
const HASHED_MAX: Duration = Duration::from_secs(60);
const TERABYTE: u64 = 1 << 40;

#[test]
fn nothing_is_opened_that_is_no_file_and_nothing_read_without_end() {
    let scratch = Scratch::new();
    let sparse = scratch.join("sparse");
    File::create(&sparse).and_then(|file| file.set_len(TERABYTE)).expect("the file system has holes");
    let began = Instant::now();
    let record = run(
        &scratch,
        "os.mkfifo('fifo')\nos.open('fifo', os.O_RDONLY | os.O_NONBLOCK)\nos.open('sparse', os.O_RDONLY)\nos.open('.', os.O_RDONLY)",
    );
    assert!(began.elapsed() < HASHED_MAX, "{:?}", began.elapsed());
    record.must_be_complete_on_the_weakest();
    record.must_not_answer_for(&scratch.join("fifo"), &["NOT_REGULAR"]);
    record.must_not_answer_for(&sparse, &["TOO_LARGE"]);
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let file = scratch.write("file", "content");
    std::thread::sleep(Duration::from_millis(100));
    let record = run(&scratch, "open('file').read()");
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.file(&file).class, Class::Stable);
}
