//! 22: a verification that never ran looks like one that found nothing.

use std::path::Path;
use std::process::Command;

use tests::{Scratch, held, verifier};

use crate::calls::{script, session, succeeded};

/// Exit status, and what is said on both ways.
fn verify(statement: &Path, options: &[&str]) -> (Option<i32>, String) {
    let ran = Command::new(verifier()).args(options).arg(statement).output().expect("it starts");
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn without_a_key_nothing_is_called_proven() {
    let scratch = Scratch::new();
    let ran = session(&scratch, script("pass")).go();
    let statement = ran.statement();
    succeeded(ran).must_be_complete_on_the_weakest();
    for options in [&[][..], &["--accept-incomplete"]] {
        let (status, said) = verify(&statement, options);
        assert!(status != Some(0) && !said.contains("proven"), "{said}");
    }
    // Of nothing at all.
    let (status, said) =
        verify(&scratch.join("nothing"), &["--key", &scratch.join("signing.key.pub").to_string_lossy()]);
    assert!(status != Some(0) && !said.contains("proven"), "{said}");
    held("without a key, or without a statement, a verifier proves nothing and ends with a fault");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let ran = session(&scratch, script("pass")).go();
    let statement = ran.statement();
    succeeded(ran).must_be_complete_on_the_weakest();
    let key = scratch.join("signing.key.pub");
    let (status, said) = verify(&statement, &["--accept-incomplete", "--key", &key.to_string_lossy()]);
    assert_eq!(status, Some(0), "{said}");
    for check in ["signature", "trace"] {
        assert!(said.lines().any(|line| line.contains(check) && line.contains("proven")), "{check}: {said}");
    }
}
