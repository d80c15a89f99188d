//! 16: a file changes and its times do not: within one tick of the clock, or by a writer that is set to go on later.
//! `tests/tests/races` does this a million times; here is once.

use proto::evidence::Class;
use tests::{Bystander, Scratch};

use crate::calls::{run, script, session, succeeded};

/// How many files the writer makes.
const FILES: usize = 50;

#[test]
fn files_as_young_as_their_reader_are_not_answered_for() {
    let scratch = Scratch::new();
    let mut writer = Bystander::start(
        &scratch,
        &format!(
            "print('here', flush=True)\nsys.stdin.readline()\nfor at in range({FILES}):\n    out = os.open('next', os.O_CREAT | os.O_WRONLY)\n    \
             os.write(out, b'one')\n    os.close(out)\n    os.rename('next', f'young{{at}}')\n    \
             while not os.path.exists(f'read{{at}}'): pass\nprint('written', flush=True)"
        ),
    );
    let command = script(&format!(
        "open('here', 'w').close()\nfor at in range({FILES}):\n    while not os.path.exists(f'young{{at}}'): pass\n    \
         open(f'young{{at}}').read()\n    open(f'read{{at}}', 'w').close()"
    ));
    let mut running = session(&scratch, command).start();
    running.wait_for(&scratch.join("here"));
    writer.tell("go");
    assert_eq!(writer.hear(), "written");
    let record = succeeded(running.wait());
    record.must_be_complete_on_the_weakest();
    // One whose reader was not given the processor in time is old enough.
    let young = (0..FILES).map(|at| scratch.join(format!("young{at}")));
    let young: Vec<_> =
        young.filter(|path| record.files(path).first().is_some_and(|file| file.class == Class::Raced)).collect();
    assert!(!young.is_empty(), "none of {FILES} was read in time");
    young.iter().for_each(|path| record.must_not_answer_for(path, &["FRESH_CTIME", "WRITER_OPEN", "NO_LEASE"]));
}

#[test]
fn a_writer_that_holds_the_file_open_is_not_answered_for() {
    let scratch = Scratch::new();
    let file = scratch.write("file", "one");
    let _writer = Bystander::start(
        &scratch,
        "held = os.open('file', os.O_RDWR)\nprint('here', flush=True)\nsys.stdin.readline()",
    );
    let record = run(&scratch, "open('file').read()");
    record.must_be_complete_on_the_weakest();
    record.must_not_answer_for(&file, &["WRITER_OPEN"]);
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let file = scratch.write("file", "one");
    std::thread::sleep(std::time::Duration::from_millis(100));
    let record = run(&scratch, "open('file').read()");
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.file(&file).class, Class::Stable);
}
