//! The strong path judges the weak: both trace the same command at once, the weakest hooks in a session around that of
//! the strongest. What one of them has alone is printed as a table by cause, and a difference without a cause that
//! stands in docs/threats.md fails.
//!
//! It needs a kernel that grants LSM programs, and so runs in guests.

mod acts;
mod causes;
mod table;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;

use acts::Acts;
use table::Table;
use tests::work::{self, Work};
use tests::{Record, Run, Scratch, binary, root};

/// Numbers of the rows of docs/threats.md.
fn threats() -> BTreeSet<u8> {
    let path = root().join("docs/threats.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let numbers = text.lines().filter_map(|line| line.strip_prefix("### Row ")?.parse().ok());
    numbers.collect()
}

/// Runs the command in a session of the strongest hooks within one of the weakest, and compares.
fn judge(name: &str, scratch: &Scratch, work: Work) {
    let inner = scratch.folder("strong");
    let mut command: Vec<OsString> = vec![binary().into(), "run".into(), "--grace=60".into(), "--key".into()];
    command.extend([inner.join("signing.key").into(), "-o".into(), inner.join("out").into(), "--".into()]);
    command.extend(work.command);
    let mut run = Run::new(scratch, command).directory(&work.folder);
    for (name, value) in work.environment {
        run = run.variable(name, value);
    }
    let ran = run.option("--weakest-hooks").option("--grace=60").go();
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let (strong, weak) = (strong_record(&inner), ran.record());
    strong.must_be_complete();
    assert_eq!(strong.claims.coverage_level, "object", "this kernel does not grant the strongest hooks");
    // The inner session's own tracer is a process of the outer one.
    // Its process of known acts, another, cuts a file by its name.
    weak.must_be_complete_but_for(&["BPF_USED", "WEAK_HOOK"]);
    assert_eq!(weak.claims.coverage_level, "returned-object");
    let pids: BTreeSet<u32> = strong.trace.processes().iter().map(|process| process.pid).collect();
    let table = Table::of(Acts::of(&strong, &pids), Acts::of(&weak, &pids), &causes::Scene::of(&strong, &weak));
    // The harness keeps to itself what a test that passes prints; this is to be seen.
    let _ = std::io::stdout().write_all(format!("{name}: {table}").as_bytes());
    table.must_be_explained(&threats());
}

fn strong_record(folder: &Path) -> Record {
    let of = |name: &str| folder.join(name);
    Record::read(&of("out.intoto.jsonl"), &of("out.evidence"), &of("signing.key.pub"))
}

#[test]
fn gcc() {
    let scratch = Scratch::new();
    let work = work::gcc(&scratch);
    judge("gcc", &scratch, work);
}

#[test]
fn make() {
    let scratch = Scratch::new();
    let work = work::make(&scratch);
    judge("make", &scratch, work);
}

#[test]
fn a_python_program() {
    let scratch = Scratch::new();
    let server = work::Server::start();
    let work = work::python(&scratch, server.port());
    judge("python", &scratch, work);
}

#[test]
fn a_build_of_three_crates() {
    let scratch = Scratch::new();
    let work = work::cargo(&scratch);
    judge("cargo build", &scratch, work);
}
