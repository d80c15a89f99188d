//! The second verifier, in Python and from docs/format.md alone, agrees with `testimony-verify` on golden and spoilt files.

use std::process::Command;

/// Runs a command to its end, and fails with what it said.
fn run(command: &mut Command) -> String {
    let said = command.output().unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{command:?} ended with {}:\n{text}", said.status);
    text
}

#[test]
fn the_second_verifier_agrees_with_the_first() {
    let verifier = tests::root().join("tests/verifier");
    let venv = tests::target().join("verifier-venv");
    let python = venv.join("bin/python");
    println!("{}: a virtual environment with what requirements.txt pins, by pip", venv.display());
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let requirements = verifier.join("requirements.txt");
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements));
    let table = run(Command::new(&python)
        .arg(verifier.join("test_verify.py"))
        .env("TESTIMONY_VERIFY_BIN", tests::verifier())
        .env("PYTHONDONTWRITEBYTECODE", "1"));
    println!("{table}");
}
