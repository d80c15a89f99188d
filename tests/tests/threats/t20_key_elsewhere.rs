//! 20: whoever has the key signs elsewhere, in the host's name.

use std::fs;
use std::process::Command;

use tests::{Scratch, binary};

use crate::calls::{script, session, succeeded};

#[test]
fn a_key_file_binds_no_host_and_the_statement_says_so() {
    let (here, elsewhere) = (Scratch::new(), Scratch::new());
    let key = elsewhere.join("stolen.key");
    let made = Command::new(binary()).arg("keygen").arg("-o").arg(&key).status().expect("it starts");
    assert!(made.success());
    for (from, to) in [("stolen.key", "signing.key"), ("stolen.key.pub", "signing.key.pub")] {
        fs::copy(elsewhere.join(from), here.join(to)).expect("the key is copied");
    }
    let first = succeeded(session(&here, script("pass")).go());
    let other = succeeded(session(&elsewhere, script("pass")).key(&key).go());
    assert_eq!(first.trace.opened().host_id, other.trace.opened().host_id, "one host, or another: nothing tells");
    for record in [&first, &other] {
        record.must_be_complete_on_the_weakest();
        record.must_say("SIGNER_NOT_BOUND");
    }
}
