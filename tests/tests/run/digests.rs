//! Classes of digests: what is stable is right, and what could have changed is never called stable.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use attestation::trace::FileVersion;
use proto::evidence::Class;
use sha2::{Digest, Sha256};
use tests::{Record, Run, Scratch, Started, binary, python};

fn sha256(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

#[test]
fn a_quiet_input_is_stable_with_its_digest() {
    let scratch = Scratch::new();
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let input = scratch.write("input", &content);
    let record = Run::new(&scratch, ["/bin/cat", "input"]).go().complete();
    let file = record.file(&input);
    assert_eq!((file.class, file.reason), (Class::Stable, ""));
    assert_eq!(file.sha256, Some(&sha256(&content)));
    assert!(!file.product);
}

#[test]
fn a_tracer_within_a_chroot_finds_the_files_by_their_whole_paths() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "x");
    let [root, key, out] = ["root", "signing.key", "out"].map(|name| scratch.join(name));
    fs::create_dir(&root).unwrap();
    let start = "mount --rbind / \"$1\" && exec chroot \"$1\" \"$0\" run --key \"$2\" -o \"$3\" -- /bin/cat \"$4\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", start]).arg(binary()).args([&root, &key, &out, &input]);
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let [statement, evidence, public] =
        ["out.intoto.jsonl", "out.evidence", "signing.key.pub"].map(|name| scratch.join(name));
    let record = Record::read(&statement, &evidence, &public);
    let below = root.join(input.strip_prefix("/").unwrap());
    assert_eq!((record.file(&below).class, record.file(&below).reason), (Class::Stable, ""));
}

#[test]
fn an_empty_input_is_stable() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "");
    let record = Run::new(&scratch, ["/bin/cat", "input"]).go().complete();
    assert_eq!((record.file(&input).class, record.file(&input).sha256), (Class::Stable, Some(&sha256(b""))));
}

#[test]
fn the_command_s_own_binary_has_its_digest() {
    let scratch = Scratch::new();
    let record = Run::new(&scratch, ["/bin/true"]).go().complete();
    let binary = record.trace.files().find(|file| file.index == record.command().binary_file).unwrap();
    assert!([Class::Stable, Class::Kernel].contains(&binary.class), "{binary:?}");
    assert_eq!(binary.sha256, Some(&sha256(&fs::read("/bin/true").unwrap())));
}

#[test]
fn a_product_is_a_subject_with_its_digest() {
    let scratch = Scratch::new();
    let script = "open('part', 'w').write('the product')\nimport os\nos.rename('part', 'product')";
    let record = Run::new(&scratch, python(script)).go().complete();
    let digest: String = sha256(b"the product").iter().map(|byte| format!("{byte:02x}")).collect();
    let subjects: Vec<_> = record.claims.subjects.iter().map(|(name, digest)| (Path::new(name), digest)).collect();
    let product = scratch.join("product");
    let [(name, seen)] = subjects.as_slice() else { panic!("{subjects:?}") };
    assert!(product.ends_with(name) && name.ends_with("product"), "{}", name.display());
    assert_eq!(**seen, digest);
    assert!(record.file(&scratch.join("part")).product);
}

#[test]
fn a_temporary_file_is_ephemeral() {
    let scratch = Scratch::new();
    let script = r#"
import os
open("temporary", "w").write("soon gone")
open("temporary").read()
os.unlink("temporary")
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    let files = record.files(&scratch.join("temporary"));
    assert!(!files.is_empty());
    assert!(files.iter().all(|file| file.class == Class::Ephemeral && file.sha256.is_none()), "{files:?}");
    assert!(files.iter().all(|file| !file.product));
}

#[test]
fn a_file_that_the_session_rewrites_is_ephemeral_until_its_last_version() {
    let scratch = Scratch::new();
    let script = r#"
import time
for content in ("one", "two"):
    open("file", "w").write(content)
    time.sleep(0.5)
    open("file").read()
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    let files = record.files(&scratch.join("file"));
    let read: Vec<_> = files.iter().filter(|file| file.access & 1 != 0).collect();
    let [first, last] = read.as_slice() else { panic!("{files:?}") };
    assert_eq!((first.class, last.class), (Class::Ephemeral, Class::Stable), "{last:?}");
    assert_eq!(last.sha256, Some(&sha256(b"two")));
}

/// Reads a first part, waits for the test, reads the rest.
const SLOW_READER: &str = r#"
import os, time
f = os.open("input", os.O_RDONLY)
os.read(f, 4)
open("opened", "w").close()
while not os.path.exists("go"): time.sleep(0.01)
os.read(f, 4)
"#;

fn slow_read(scratch: &Scratch, meddle: impl FnOnce(&mut Started)) -> Record {
    let mut run = Run::new(scratch, python(SLOW_READER)).start();
    run.wait_for(&scratch.join("opened"));
    meddle(&mut run);
    scratch.write("go", "");
    run.wait().complete()
}

#[test]
fn a_file_read_slowly_with_nobody_near_is_stable() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "12345678");
    let record = slow_read(&scratch, |_| {});
    assert_eq!(record.file(&input).class, Class::Stable);
}

#[test]
fn a_file_rewritten_from_outside_while_it_is_read_is_not_stable() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "12345678");
    let record = slow_read(&scratch, |_| {
        fs::write(&input, "abcdefgh").unwrap();
    });
    not_stable(&record, &input);
}

#[test]
fn a_file_rewritten_and_put_back_while_it_is_read_is_not_stable() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "12345678");
    let record = slow_read(&scratch, |_| {
        fs::write(&input, "abcdefgh").unwrap();
        fs::write(&input, "12345678").unwrap();
    });
    not_stable(&record, &input);
}

#[test]
fn a_file_with_a_writer_before_the_session_is_not_stable() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "12345678");
    let writer = fs::OpenOptions::new().write(true).open(&input).unwrap();
    let record = slow_read(&scratch, |_| {});
    drop(writer);
    not_stable(&record, &input);
}

fn not_stable(record: &Record, path: &Path) {
    for file in record.files(path) {
        assert!(![Class::Stable, Class::Kernel].contains(&file.class), "{file:?}");
        assert!(!file.reason.is_empty(), "{file:?}");
    }
}

/// A file system gives the number of a removed file to the next one: what others then write is not the session's file.
#[test]
fn a_temporary_file_whose_inode_number_another_gets_stays_ephemeral() {
    let scratch = Scratch::new();
    let script = r#"
import os, time
number = open("number", "w")
with open("temporary", "w") as file: file.write("soon gone")
print(os.stat("temporary").st_ino, file=number, flush=True)
open("temporary").read()
os.unlink("temporary")
os.rename("number", "removed")
while not os.path.exists("go"): time.sleep(0.01)
"#;
    let mut run = Run::new(&scratch, python(script)).start();
    run.wait_for(&scratch.join("removed"));
    let number: u64 = fs::read_to_string(scratch.join("removed")).unwrap().trim().parse().unwrap();
    let taken =
        (0..200).any(|other| fs::metadata(scratch.write(format!("other-{other}"), "x")).unwrap().ino() == number);
    scratch.write("go", "");
    let record = run.wait().complete();
    println!("the number was given again: {taken}");
    let files = record.files(&scratch.join("temporary"));
    assert!(!files.is_empty() && files.iter().all(|file| file.class == Class::Ephemeral), "{files:?}");
}

#[test]
fn a_removed_file_does_not_get_the_digest_of_the_next_one_with_its_inode_number() {
    let scratch = Scratch::new();
    let script = r#"
import os
numbers = []
for name in ("one", "two", "three"):
    with open(name, "w") as file: file.write(name)
    numbers.append(os.stat(name).st_ino)
    if name != "three": os.unlink(name)
print("the number was given again:", len(set(numbers)) < 3)
"#;
    let ran = Run::new(&scratch, python(script)).go();
    let record = ran.complete();
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    for name in ["one", "two"] {
        let files = record.files(&scratch.join(name));
        let gone = |file: &FileVersion<'_>| file.class == Class::Ephemeral && file.sha256.is_none() && !file.product;
        assert!(!files.is_empty() && files.iter().all(gone), "{name}: {files:?}");
    }
    let files = record.files(&scratch.join("three"));
    assert!(files.iter().any(|file| file.sha256 == Some(&sha256(b"three")) && file.product), "{files:?}");
    assert_eq!(record.claims.subjects.len(), 1);
}

/// What an outsider writes into a file with the number of the session's own is not explained by the session.
#[test]
fn an_outsider_s_file_with_a_reused_inode_number_is_not_the_session_s() {
    let scratch = Scratch::new();
    let script = r#"
import os, time
number = open("number", "w")
with open("temporary", "w") as file: file.write("soon gone")
print(os.stat("temporary").st_ino, file=number, flush=True)
os.unlink("temporary")
os.rename("number", "removed")
while not os.path.exists("go"): time.sleep(0.01)
open("temporary").read()
"#;
    let mut run = Run::new(&scratch, python(script)).start();
    run.wait_for(&scratch.join("removed"));
    scratch.write("temporary", "an outsider's");
    std::thread::sleep(std::time::Duration::from_millis(50));
    scratch.write("go", "");
    let record = run.wait().complete();
    let files = record.files(&scratch.join("temporary"));
    let read: Vec<_> = files.iter().filter(|file| file.access & 1 != 0).collect();
    let [read] = read.as_slice() else { panic!("{files:?}") };
    assert_ne!(read.class, Class::Ephemeral, "{read:?}");
    assert!(read.sha256.is_none_or(|digest| *digest == sha256(b"an outsider's")), "{read:?}");
    let made: Vec<_> = files.iter().filter(|file| file.access & 8 != 0).collect();
    assert!(made.iter().all(|file| file.sha256.is_none() && !file.product), "{made:?}");
}

#[test]
fn what_has_no_content_is_absent_with_the_reason() {
    let scratch = Scratch::new();
    let script = "import os\nfor name in ('/dev/null', '/proc/self/status', '.'): os.open(name, os.O_RDONLY)";
    let record = Run::new(&scratch, python(script)).go().complete();
    let base = scratch.path();
    let class = |path: &Path| {
        let files = record.files(path);
        let file = files.first().unwrap_or_else(|| panic!("{} is not in the record", path.display()));
        (file.class, file.reason.to_owned())
    };
    assert_eq!(class(Path::new("/dev/null")), (Class::Absent, "NOT_REGULAR".to_owned()));
    assert_eq!(class(&base), (Class::Absent, "NOT_REGULAR".to_owned()));
    let status = format!("/proc/{}/status", record.root().pid);
    assert_eq!(class(Path::new(&status)), (Class::Absent, "PSEUDO_FILE".to_owned()));
}

#[test]
fn a_file_over_the_limit_is_absent_and_one_at_the_limit_is_not() {
    let scratch = Scratch::new();
    let (at, over) = (scratch.write("at", [7; 4096]), scratch.write("over", [7; 4097]));
    let record = Run::new(&scratch, ["/bin/cat", "at", "over"]).option("--file-bytes-max=4096").go().complete();
    assert_eq!((record.file(&at).class, record.file(&at).reason), (Class::Stable, ""));
    assert_eq!((record.file(&over).class, record.file(&over).reason), (Class::Absent, "TOO_LARGE"));
}

#[test]
fn products_are_what_the_patterns_say() {
    let scratch = Scratch::new();
    scratch.write("old", "before");
    scratch.write("untouched", "before");
    let script = "mkdir out; echo a >out/tool; echo b >out/tool.o; echo c >note; echo d >old; cat untouched >/dev/null";
    let products = |run: Run| -> Vec<String> {
        let record = run.go().complete();
        let mut names: Vec<String> = record
            .trace
            .products()
            .map(|(path, _)| String::from_utf8_lossy(path).rsplit('/').next().unwrap_or_default().to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    let run = || Run::new(&scratch, ["/bin/sh", "-c", script]).directory(scratch.path());
    assert_eq!(products(run()), ["note", "tool", "tool.o"]);
    fs::remove_dir_all(scratch.join("out")).unwrap();
    let named = run().option("--product").option("out/tool").option("--product").option("old");
    assert_eq!(products(named.output(scratch.join("again"))), ["old", "tool"]);
    fs::remove_dir_all(scratch.join("out")).unwrap();
    let none = run().option("--product").option("untouched");
    assert!(products(none.output(scratch.join("none"))).is_empty());
}
