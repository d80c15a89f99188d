//! Which hook serves each observation: a checked-in file a kernel says it, and any deviation fails. The oldest kernel of
//! the matrix is refused.

use std::collections::BTreeSet;
use std::fs;

use tests::{Ran, Run, Scratch, kernel, root};

/// The kernel that is too old.
const REFUSED: &str = "5.10";

/// The lines of a file below tests/hooks, comments left out.
fn expected(name: &str) -> Vec<String> {
    let path = root().join("tests/hooks").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn ran(options: &[&str]) -> Ran {
    let scratch = Scratch::new();
    let mut run = Run::new(&scratch, ["sh", "-c", "echo started > started"]);
    for option in options {
        run = run.option(option);
    }
    let ran = run.go();
    let started = scratch.join("started").exists();
    assert_eq!(started, ran.code() == 0, "a command that is not traced is not run: {}", ran.stderr);
    if ran.code() == 0 {
        let record = ran.record();
        if options.contains(&"--weakest-hooks") {
            record.must_be_complete_on_the_weakest();
        } else {
            record.must_be_complete();
        }
        let hooks = record.claims.hooks;
        let told = hooks.iter().map(|hook| format!("{} {} {}", hook.observation, hook.method, hook.level));
        compare(options, &told.collect::<Vec<String>>());
    }
    ran
}

/// On a kernel of the matrix the rows are exactly those of its file; elsewhere every row is one that some file knows.
fn compare(options: &[&str], told: &[String]) {
    let kernel = kernel();
    if options.contains(&"--weakest-hooks") {
        assert_eq!(told, expected("weakest"), "the weakest hooks in kernel {kernel}");
    } else if kernel == "host" {
        let files = ["weakest", "6.1", "6.12", "6.18", "7.3"];
        let known: BTreeSet<String> = files.into_iter().flat_map(expected).collect();
        let strange: Vec<&String> = told.iter().filter(|row| !known.contains(*row)).collect();
        assert!(strange.is_empty(), "no file in tests/hooks knows {strange:?}");
        let acts = usize::from(!told.iter().any(|row| row.starts_with("act ")));
        assert_eq!(told.len() + acts, expected("weakest").len(), "{told:?}");
    } else {
        assert_eq!(told, expected(&kernel), "the hooks in kernel {kernel}");
    }
}

fn refused(ran: &Ran) {
    assert_eq!(ran.code(), 125, "{}", ran.stderr);
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(said.len(), 1, "one sentence: {said:?}");
    assert!(said[0].contains("Testimony needs 6.1 or newer"), "{said:?}");
}

#[test]
fn each_observation_has_the_strongest_hook_that_this_kernel_grants() {
    let ran = ran(&[]);
    if kernel() == REFUSED {
        refused(&ran);
    } else {
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
    }
}

#[test]
fn the_weakest_hooks_serve_on_every_kernel() {
    let ran = ran(&["--weakest-hooks"]);
    if kernel() == REFUSED {
        refused(&ran);
    } else {
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
    }
}
