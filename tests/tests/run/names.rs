//! Names made, moved and removed, with the exact paths, however the program named them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proto::evidence::name_change::Operation;
use tests::{Named, Record, Run, Scratch, python};

/// Path as the kernel resolves it, path as it was given: they differ where `..` was given.
type Expected<'a> = (Operation, &'a str, &'a str);

fn run(scratch: &Scratch, acts: &str) -> Record {
    let script = format!("import os, ctypes\n{acts}");
    Run::new(scratch, python(&script)).go().complete()
}

/// Finds exactly these changes, in order. A name that was taken from the program's memory is compared as it was given.
fn expect(record: &Record, scratch: &Scratch, expected: &[(Expected<'_>, Option<(&str, &str)>)]) {
    let base = scratch.path();
    let absolute = |name: &str| {
        let name = if name.starts_with('/') { name.into() } else { base.join(name) };
        name.into_os_string().into_encoded_bytes()
    };
    let names: Vec<Named> = record.names();
    let found: Vec<_> = names.iter().map(|name| (name.operation, text(&name.path), text(&name.target))).collect();
    assert_eq!(names.len(), expected.len(), "{found:#?}");
    for (name, ((operation, resolved, given), second)) in names.iter().zip(expected) {
        let choose = |resolved: &str, given: &str| absolute(if name.as_given { given } else { resolved });
        let target = match second {
            None => Vec::new(),
            Some((text, _)) if *operation == Operation::Symlink => text.as_bytes().to_vec(),
            Some((resolved, given)) => choose(resolved, given),
        };
        assert_eq!(name.operation, *operation);
        assert_eq!(text(&name.path), text(&choose(resolved, given)));
        assert_eq!(text(&name.target), text(&target));
        assert_eq!((name.result, name.pid), (0, record.root().pid));
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn same(operation: Operation, path: &str) -> Expected<'_> {
    (operation, path, path)
}

#[test]
fn names_relative_to_the_working_directory() {
    let scratch = Scratch::new();
    let acts = r#"
os.mkdir("d")
os.close(os.open("a", os.O_CREAT | os.O_WRONLY))
os.rename("a", "./d//b")
os.link("d/b", "c")
os.symlink("../some/text", "d/s")
os.unlink("d/s")
os.remove("d/b")
os.unlink("c")
os.rmdir("d")
"#;
    let record = run(&scratch, acts);
    let expected = [
        (same(Operation::Mkdir, "d"), None),
        (same(Operation::Rename, "a"), Some(("d/b", "d/b"))),
        (same(Operation::Link, "d/b"), Some(("c", "c"))),
        (same(Operation::Symlink, "d/s"), Some(("../some/text", ""))),
        (same(Operation::Unlink, "d/s"), None),
        (same(Operation::Unlink, "d/b"), None),
        (same(Operation::Unlink, "c"), None),
        (same(Operation::Rmdir, "d"), None),
    ];
    expect(&record, &scratch, &expected);
}

#[test]
fn names_relative_to_a_descriptor() {
    let scratch = Scratch::new();
    let acts = r#"
os.mkdir("d"); os.mkdir("e")
d, e = os.open("d", os.O_RDONLY), os.open("e", os.O_PATH)
os.mkdir("m", dir_fd=d)
os.close(os.open("a", os.O_CREAT | os.O_WRONLY, dir_fd=d))
os.rename("a", "b", src_dir_fd=d, dst_dir_fd=e)
os.link("b", "m/c", src_dir_fd=e, dst_dir_fd=d)
os.symlink("text", "s", dir_fd=e)
os.unlink("s", dir_fd=e)
os.unlink("m/c", dir_fd=d)
os.rmdir("m", dir_fd=d)
"#;
    let record = run(&scratch, acts);
    let expected = [
        (same(Operation::Mkdir, "d"), None),
        (same(Operation::Mkdir, "e"), None),
        (same(Operation::Mkdir, "d/m"), None),
        (same(Operation::Rename, "d/a"), Some(("e/b", "e/b"))),
        (same(Operation::Link, "e/b"), Some(("d/m/c", "d/m/c"))),
        (same(Operation::Symlink, "e/s"), Some(("text", ""))),
        (same(Operation::Unlink, "e/s"), None),
        (same(Operation::Unlink, "d/m/c"), None),
        (same(Operation::Rmdir, "d/m"), None),
    ];
    expect(&record, &scratch, &expected);
}

#[test]
fn names_with_parents_in_them_and_absolute_ones() {
    let scratch = Scratch::new();
    let top = scratch.join("top");
    let acts = format!(
        r#"
os.makedirs("d/e")
os.chdir("d/e")
os.mkdir("../f")
os.close(os.open("../f/a", os.O_CREAT | os.O_WRONLY))
os.rename("../f/a", "../../b")
os.rename("../../b", {top:?})
os.unlink({top:?})
os.rmdir("../../d/f")
"#
    );
    let record = run(&scratch, &acts);
    let top = top.to_str().unwrap();
    let expected = [
        (same(Operation::Mkdir, "d"), None),
        (same(Operation::Mkdir, "d/e"), None),
        ((Operation::Mkdir, "d/f", "d/e/../f"), None),
        ((Operation::Rename, "d/f/a", "d/e/../f/a"), Some(("b", "d/e/../../b"))),
        ((Operation::Rename, "b", "d/e/../../b"), Some((top, top))),
        (same(Operation::Unlink, top), None),
        ((Operation::Rmdir, "d/f", "d/e/../../d/f"), None),
    ];
    expect(&record, &scratch, &expected);
}

#[test]
fn two_names_exchanged_are_an_exchange() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.write("one", "1"), scratch.write("two", "2"));
    let acts = "assert ctypes.CDLL(None).renameat2(-100, b'one', -100, b'two', 2) == 0";
    let record = run(&scratch, acts);
    expect(&record, &scratch, &[(same(Operation::Exchange, "one"), Some(("two", "two")))]);
    assert_eq!((std::fs::read(one).unwrap(), std::fs::read(two).unwrap()), (b"2".to_vec(), b"1".to_vec()));
}

#[test]
fn names_are_bytes() {
    let scratch = Scratch::new();
    let acts = r#"
names = [b"new\nline", b"\xff\xfe", b"\x1b[2J\x07", b"a" * 255, b" ", b"\\", b"\xc3\xa4"]
for name in names:
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    os.rename(name, b"_" + name[:254])
    os.unlink(b"_" + name[:254])
"#;
    let record = run(&scratch, acts);
    let names: [&[u8]; 7] = [b"new\nline", b"\xff\xfe", b"\x1b[2J\x07", &[b'a'; 255], b" ", b"\\", b"\xc3\xa4"];
    let in_base = |name: &[u8]| scratch.join(OsStr::from_bytes(name)).into_os_string().into_encoded_bytes();
    let seen = record.names();
    assert_eq!(seen.len(), 2 * names.len());
    for (name, acts) in names.iter().zip(seen.chunks(2)) {
        let moved = [b"_", &name[..name.len().min(254)]].concat();
        assert_eq!((&acts[0].path, &acts[0].target), (&in_base(name), &in_base(&moved)));
        assert_eq!(acts[1].path, in_base(&moved));
        assert_eq!(record.file(Path::new(OsStr::from_bytes(&in_base(name)))).access, 2 | 8);
    }
}

#[test]
fn paths_beyond_path_max_are_whole() {
    let scratch = Scratch::new();
    let acts = r#"
name = b"n" * 250
for _ in range(20):
    os.mkdir(name)
    os.chdir(name)
os.close(os.open("deep", os.O_CREAT | os.O_WRONLY))
os.rename("deep", "deeper")
os.unlink("deeper")
for _ in range(20):
    os.chdir("..")
    os.rmdir(name)
"#;
    let record = run(&scratch, acts);
    let mut folder = scratch.path();
    folder.extend(std::iter::repeat_n("n".repeat(250), 20));
    assert!(folder.as_os_str().len() > 4096);
    let seen = record.names();
    let at = |name: &str| folder.join(name).into_os_string().into_encoded_bytes();
    assert_eq!(seen.len(), 42);
    assert_eq!((&seen[20].path, &seen[20].target), (&at("deep"), &at("deeper")));
    assert_eq!(seen[21].path, at("deeper"));
    assert_eq!(record.file(&folder.join("deep")).access, 2 | 8);
}

#[test]
fn a_refused_change_is_no_change() {
    let scratch = Scratch::new();
    let acts = r#"
for act in (lambda: os.unlink("absent"), lambda: os.rename("absent", "b"), lambda: os.mkdir("d"), lambda: os.rmdir("e")):
    try: act()
    except OSError: continue
    raise SystemExit("it was not refused")
"#;
    scratch.folder("d");
    scratch.write("e/full", "");
    let record = run(&scratch, acts);
    let happened: Vec<_> = record.names().into_iter().filter(|name| name.as_given).collect();
    assert_eq!(happened, []);
}

#[test]
fn truncation_by_descriptor_is_complete_and_by_name_says_how_it_was_seen() {
    let scratch = Scratch::new();
    scratch.write("one", "12345");
    let by_descriptor = "f = os.open('one', os.O_WRONLY)\nos.ftruncate(f, 2)";
    let record = run(&scratch, by_descriptor);
    expect(&record, &scratch, &[(same(Operation::Truncate, "one"), None)]);

    let other = Scratch::new();
    other.write("two", "12345");
    let record = Run::new(&other, python("import os\nos.truncate('two', 2)")).go().record();
    let [name] = record.names().try_into().expect("one truncation");
    assert_eq!(name.path, other.join("two").into_os_string().into_encoded_bytes());
    if name.as_given {
        record.must_lack("WEAK_HOOK");
    } else {
        record.must_be_complete();
    }
}
