//! Programs that ran: what, with which arguments, where, as whom.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;

use sha2::{Digest, Sha256};
use tests::{Run, Scratch, compile, need};

const ARGV_BYTES: usize = 200 * 1024;
const READ: u32 = 1;
const EXEC: u32 = 4;

#[test]
fn arguments_are_kept_byte_for_byte() {
    let scratch = Scratch::new();
    let argv: [&[u8]; 8] =
        [b"/bin/true", b"line\nbreak", b"not \xff\xfe UTF-8", b"", b"\x1b[2J\x07", b"a b\t'\"\\", b"", b"\xc3\xa4"];
    let record = Run::new(&scratch, argv.map(OsStr::from_bytes)).go().complete();
    assert_eq!(record.command().argv().collect::<Vec<_>>(), argv);
    assert_eq!(record.command().filename, b"/bin/true");
    assert_eq!(record.command().directory, scratch.path().as_os_str().as_bytes());
    let opened: Vec<&[u8]> = record.trace.opened().command.iter().map(Vec::as_slice).collect();
    assert_eq!(opened, argv);
}

#[test]
fn an_argument_vector_of_200_kib_is_whole() {
    let scratch = Scratch::new();
    let mut argv = vec![OsString::from("/bin/true")];
    for word in 0..2_u8 {
        let letters = (b'a'..=b'z').cycle().skip(usize::from(word)).step_by(7);
        argv.push(OsString::from_vec(letters.take(ARGV_BYTES / 2).collect()));
    }
    let record = Run::new(&scratch, &argv).go().complete();
    let seen: Vec<&[u8]> = record.command().argv().collect();
    assert_eq!(seen.iter().map(|word| word.len()).collect::<Vec<_>>(), [9, ARGV_BYTES / 2, ARGV_BYTES / 2]);
    assert!(seen.iter().zip(&argv).all(|(seen, given)| *seen == given.as_bytes()), "the arguments differ");
}

#[test]
fn no_argument_but_the_name_is_one_word() {
    let scratch = Scratch::new();
    let record = Run::new(&scratch, ["/bin/true"]).go().complete();
    assert_eq!(record.command().argv().collect::<Vec<_>>(), [b"/bin/true"]);
}

#[test]
fn credentials_are_those_of_the_new_program() {
    let scratch = Scratch::new();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65533", "--clear-groups", "/bin/true"];
    let _ = need("setpriv");
    let record = Run::new(&scratch, nobody).go().complete();
    let execs: Vec<_> = record.trace.execs(record.root()).collect();
    let [before, after] = execs.as_slice() else { panic!("{} programs instead of two", execs.len()) };
    assert_eq!((before.ids, after.ids), ([0; 4], [65534, 65533, 65534, 65533]));
    assert!(before.cap_effective != 0 && after.cap_effective == 0);
    assert_eq!(before.namespaces, after.namespaces);
    assert!(before.namespaces.iter().all(|namespace| *namespace != 0));
}

#[test]
fn a_script_names_itself_and_its_interpreter() {
    let scratch = Scratch::new();
    let script = scratch.write("script", "#!/bin/sh -e\nexit 0\n");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let record = Run::new(&scratch, [&script]).go().complete();
    let exec = record.command();
    let script = script.as_os_str().as_bytes();
    assert_eq!((exec.filename, exec.interpreter), (script, b"/bin/sh".as_slice()));
    assert_eq!(exec.argv().collect::<Vec<_>>(), [b"/bin/sh", b"-e".as_slice(), script]);
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(exec.binary, shell.as_os_str().as_bytes());
    // The kernel's own opening of the script ends within execve, where the end of an open does not see it.
    let kernel_s: &[u32] = if record.sees_before("open") { &[READ | EXEC] } else { &[] };
    let read = record.opens().into_iter().filter(|open| open.file.path == script).map(|open| open.access);
    assert_eq!(read.collect::<Vec<_>>(), [kernel_s, &[READ]].concat(), "the shell reads the script once");
}

#[test]
fn an_exec_from_a_thread_is_the_process_s() {
    let scratch = Scratch::new();
    let source = r#"
        #include <pthread.h>
        #include <unistd.h>
        static void *other(void *unused) { execl("/bin/true", "from-a-thread", (char *)0); return unused; }
        int main(void) {
            pthread_t thread;
            pthread_create(&thread, 0, other, 0);
            pthread_join(thread, 0);
            return 1;
        }"#;
    let program = compile(&scratch, "threaded", source, &["-pthread"]);
    let record = Run::new(&scratch, [&program]).go().complete();
    assert_eq!(record.trace.processes().len(), 1);
    let execs: Vec<_> = record.trace.execs(record.root()).collect();
    assert_eq!(
        execs.iter().map(|exec| exec.filename).collect::<Vec<_>>(),
        [program.as_os_str().as_bytes(), b"/bin/true"]
    );
    assert_eq!(record.command().argv().collect::<Vec<_>>(), [b"from-a-thread"]);
    assert_eq!(record.root().end.map(|end| end.status), Some(0));
}

#[test]
fn a_program_that_was_removed_is_still_known() {
    let scratch = Scratch::new();
    let program = scratch.join("copy");
    std::fs::copy("/bin/true", &program).unwrap();
    let script = format!("exec 3<'{0}'; rm '{0}'; exec /proc/self/fd/3", program.display());
    let record = Run::new(&scratch, ["/bin/sh", "-c", &script]).go().complete();
    let exec = record.command();
    assert_eq!(exec.filename, b"/proc/self/fd/3");
    let file = record.trace.files().find(|file| file.index == exec.binary_file).unwrap();
    assert_eq!((file.path, file.deleted), (program.as_os_str().as_bytes(), true));
}

/// The kernel opens it itself, within execve.
#[test]
fn the_dynamic_loader_of_a_program_is_known() {
    let scratch = Scratch::new();
    let readelf = std::process::Command::new(need("readelf")).args(["-p", ".interp", "/bin/true"]).output().unwrap();
    let said = String::from_utf8_lossy(&readelf.stdout).into_owned();
    let loader = said.split_whitespace().find(|word| word.starts_with('/')).unwrap_or_else(|| panic!("{said}"));
    let loader = std::fs::canonicalize(loader).unwrap();
    let content = std::fs::read(&loader).unwrap();
    let record = Run::new(&scratch, ["/bin/true"]).go().complete();
    let opened: Vec<_> =
        record.opens().into_iter().filter(|open| open.file.path == loader.as_os_str().as_bytes()).collect();
    assert!(opened.iter().any(|open| open.access == READ | EXEC && open.pid == record.root().pid), "{opened:?}");
    assert_eq!(record.file(&loader).sha256, Some(&Sha256::digest(&content).into()));
}

#[test]
fn a_program_without_a_loader_opens_none() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "static", "int main(void) { return 0; }", &["-static"]);
    let record = Run::new(&scratch, [&program]).go().complete();
    let program = program.as_os_str().as_bytes();
    let opened = record.opens().into_iter().filter(|open| open.access & EXEC != 0 && open.pid == record.root().pid);
    assert!(opened.map(|open| open.file.path).all(|path| path == program));
}
