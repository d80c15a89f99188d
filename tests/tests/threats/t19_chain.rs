//! 19: a statement is dropped, replayed, or another put in its place.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tests::{Scratch, held, verifier};

use crate::calls::{script, session, succeeded};

/// A host whose statements are numbered in a folder.
struct Host(Scratch);

impl Host {
    fn run(&self, name: &str) -> PathBuf {
        let chain = format!("--chain={}", self.0.join("chain").display());
        let ran = session(&self.0, script("pass")).output(self.0.join(name)).option(chain).go();
        let statement = ran.statement();
        succeeded(ran).must_be_complete_on_the_weakest();
        statement
    }

    /// Exit status, and what a verifier says of these together.
    fn verify(&self, statements: &[&PathBuf]) -> (Option<i32>, String) {
        let key = self.0.join("signing.key.pub");
        let mut verify = Command::new(verifier());
        let ran = verify.args(["--accept-incomplete", "--key"]).arg(key).args(statements).output().expect("it starts");
        (ran.status.code(), String::from_utf8_lossy(&ran.stdout).into_owned())
    }
}

#[test]
fn what_is_missing_from_a_chain_is_named_and_a_fork_refused() {
    let host = Host(Scratch::new());
    let [one, two, three] = ["one", "two", "three"].map(|name| host.run(name));
    let (status, said) = host.verify(&[&three, &one]);
    assert!(status == Some(0) && said.contains("not given: 2"), "{said}");
    // Whoever holds the key lets the chain begin anew, and has another second statement.
    fs::remove_dir_all(host.0.join("chain")).expect("the chain");
    let [_, other] = ["again", "other"].map(|name| host.run(name));
    let (status, said) = host.verify(&[&one, &two, &three, &other]);
    assert!(status == Some(1) && said.contains("CHAIN_FORKED"), "{said}");
    held("of several statements a verifier names the missing numbers, and refuses two with one number");
}

#[test]
fn twin() {
    let host = Host(Scratch::new());
    let all = ["one", "two", "three"].map(|name| host.run(name));
    let (status, said) = host.verify(&all.each_ref());
    assert!(status == Some(0) && said.contains("numbers 1 to 3"), "{said}");
}
