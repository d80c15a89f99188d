//! 12: a program that no file has.

use tests::Scratch;

use crate::calls::{one, run, text, told};

#[test]
fn a_program_in_memory_is_told_where_it_is_made_and_where_it_runs() {
    let scratch = Scratch::new();
    let record = run(
        &scratch,
        r#"
fd = os.memfd_create("hidden", 0)
os.write(fd, open("/bin/true", "rb").read())
os.execv(f"/proc/self/fd/{fd}", ["innocent"])
"#,
    );
    record.must_be_complete_on_the_weakest();
    assert_eq!(text(&one(&record, "memfd_create")), b"hidden");
    let last = record.command();
    assert!(last.binary.windows(6).any(|part| part == b"hidden"), "{}", String::from_utf8_lossy(last.binary));
    record.sees("exec", "of a file in memory");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(&scratch, "os.execv('/bin/true', ['innocent'])");
    record.must_be_complete_on_the_weakest();
    assert!(told(&record, "memfd_create").is_empty());
}
