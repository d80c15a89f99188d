//! An oracle that nobody here wrote: real commands run with strace inside the session, and every program, open,
//! connection, rename and removal of the one must be in the other, with multiplicity, in both directions.

mod compare;
mod content;
mod lexer;
mod strace;

use std::ffi::OsString;
use std::io::Write;

use compare::Comparison;
use tests::work::{self, Work};
use tests::{Run, Scratch, need};

/// System calls that are compared, and those that say who made whom and where a process is.
const CALLS: &str = "execve,execveat,open,openat,openat2,creat,open_by_handle_at,connect,rename,renameat,renameat2,\
                     unlink,unlinkat,rmdir,chdir,fchdir,clone,clone3,fork,vfork";

/// Runs the command under strace in a session, compares, and says how it went.
fn judge(name: &str, scratch: &Scratch, work: Work) {
    let log = scratch.join("strace.txt");
    let mut command: Vec<OsString> = vec![need("strace").into()];
    command.extend(["-f", "-y", "--seccomp-bpf", "-s", "65535", "-e"].map(OsString::from));
    command.push(format!("trace={CALLS}").into());
    command.push("-o".into());
    command.push(log.clone().into());
    command.extend(work.command);
    let mut run = Run::new(scratch, command).directory(&work.folder);
    for (name, value) in work.environment {
        run = run.variable(name, value);
    }
    let ran = run.option("--grace=30").go();
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let record = ran.record();
    let seen = strace::read(&log, &work.folder);
    let comparison = Comparison::of(&seen, &record, &work.folder);
    let shares = content::Shares::of(&record);
    // The harness keeps to itself what a test that passes prints; these figures are to be seen.
    let said = format!("{name}: {comparison}; {shares}; {} level\n", record.claims.coverage_level);
    let _ = std::io::stdout().write_all(said.as_bytes());
    record.must_be_complete();
    comparison.must_agree();
    shares.must_be_explained();
}

#[test]
fn gcc_of_a_small_program() {
    let scratch = Scratch::new();
    let work = work::gcc(&scratch);
    judge("gcc", &scratch, work);
}

#[test]
fn make_of_a_c_library() {
    let scratch = Scratch::new();
    let work = work::make(&scratch);
    judge("make", &scratch, work);
}

#[test]
fn cargo_build_of_three_crates() {
    let scratch = Scratch::new();
    let work = work::cargo(&scratch);
    judge("cargo build", &scratch, work);
}

#[test]
fn a_python_script_that_imports_and_connects() {
    let scratch = Scratch::new();
    let server = work::Server::start();
    let work = work::python(&scratch, server.port());
    judge("python", &scratch, work);
}

#[test]
fn git_clone_of_a_local_repository() {
    let scratch = Scratch::new();
    let work = work::git(&scratch);
    judge("git clone", &scratch, work);
}

#[test]
fn an_autotools_configure() {
    let scratch = Scratch::new();
    let work = work::configure(&scratch);
    judge("./configure", &scratch, work);
}
