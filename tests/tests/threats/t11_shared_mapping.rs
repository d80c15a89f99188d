//! 11: a file is written through a mapping whose descriptor was closed long ago.

use attestation::trace::FileVersion;
use proto::evidence::Class;
use tests::{Bystander, Scratch};

use crate::calls::{run, script, session, succeeded};

/// Maps a file for all to write, and lets go of the descriptor.
const MAP: &str = r#"
import mmap
with open("file", "r+b") as file: mapped = mmap.mmap(file.fileno(), 0)
"#;

#[test]
fn what_a_mapping_outside_can_still_write_is_not_answered_for() {
    let scratch = Scratch::new();
    let file = scratch.write("file", "x".repeat(4096));
    let mut writer = Bystander::start(
        &scratch,
        &format!(
            "{MAP}print('here', flush=True)\nsys.stdin.readline()\nmapped[0] = 121\nprint('written', flush=True)\nsys.stdin.readline()"
        ),
    );
    let command = script(
        "import time\nopen('file').read()\nopen('here', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\nopen('file').read()",
    );
    let mut running = session(&scratch, command).start();
    running.wait_for(&scratch.join("here"));
    writer.tell("write");
    assert_eq!(writer.hear(), "written");
    scratch.write("go", "");
    let record = succeeded(running.wait());
    record.must_be_complete_on_the_weakest();
    record.must_not_answer_for(&file, &["NO_LEASE", "MAPPED_FOR_WRITING", "CHANGED", "WRITER_OPEN", "OUTSIDE_WRITER"]);
}

#[test]
fn one_of_the_session_s_own_is_told() {
    let scratch = Scratch::new();
    scratch.write("file", "x".repeat(4096));
    let record = run(&scratch, &format!("{MAP}mapped[0] = 121"));
    record.must_be_complete_on_the_weakest();
    assert!(record.trace.acts().any(|act| act.call == "mmap" && act.arguments[2] == 3 && act.file.is_some()));
    record.sees("act", "mmap of a file for all to write");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let file = scratch.write("file", "x".repeat(4096));
    std::thread::sleep(std::time::Duration::from_millis(100));
    let record = run(&scratch, "open('file').read()");
    record.must_be_complete_on_the_weakest();
    let files: Vec<FileVersion<'_>> = record.files(&file);
    assert!(files.iter().all(|file| file.class == Class::Stable), "{files:?}");
}
