//! IMA: a program that it measured at its exec is of class `kernel`, and what it only remembers is not relied on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use attestation::trace::FileVersion;
use proto::evidence::Class;
use proto::evidence::measure::{Algorithm, Means};
use sha2::{Digest, Sha256};
use tests::{Run, Scratch, kernel};

/// What IMA measured since boot. Guests have it measure every exec.
const MEASUREMENTS: &str = "/sys/kernel/security/ima/ascii_runtime_measurements";

fn measures() -> bool {
    if Path::new(MEASUREMENTS).exists() {
        return true;
    }
    assert_eq!(kernel(), "host", "a guest's kernel has IMA");
    println!("{MEASUREMENTS} is not there: this holds in the guests");
    false
}

fn program(scratch: &Scratch, name: &str) -> PathBuf {
    let program = scratch.join(name);
    fs::copy("/bin/true", &program).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    sleep(Duration::from_millis(500));
    program
}

fn sha256(path: &Path) -> [u8; 32] {
    Sha256::digest(fs::read(path).expect("a program")).into()
}

/// What stands in a file's entry as measured by IMA.
fn measured<'a>(file: &FileVersion<'a>) -> Option<&'a [u8]> {
    let measure = file.measure?;
    assert_eq!((measure.by(), measure.algorithm()), (Means::Ima, Algorithm::Sha256));
    Some(&measure.digest)
}

#[test]
fn a_program_that_was_executed_is_kernel_and_one_that_was_read_too_is_stable() {
    if !measures() {
        return;
    }
    let scratch = Scratch::new();
    let (executed, twin) = (program(&scratch, "executed"), program(&scratch, "twin"));
    let script = "./executed && ./executed && ./twin && cat twin";
    let record = Run::new(&scratch, ["/bin/sh", "-c", script]).go().complete();
    let (file, content) = (record.file(&executed), sha256(&executed));
    assert_eq!((file.class, file.reason, file.sha256), (Class::Kernel, "", Some(&content)));
    assert_eq!(measured(&file), Some(&content[..]));
    let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = fs::read_to_string(MEASUREMENTS).unwrap();
    let line = format!("sha256:{hex} {}", executed.display());
    assert!(list.contains(&line), "IMA's own list lacks it: {line}");
    let file = record.file(&twin);
    assert_eq!((file.class, file.sha256, measured(&file)), (Class::Stable, Some(&content), None));
}

#[test]
fn what_ima_remembers_of_a_program_that_was_cut_since_is_not_relied_on() {
    if !measures() {
        return;
    }
    let scratch = Scratch::new();
    let program = program(&scratch, "program");
    let before = sha256(&program);
    assert!(Command::new(&program).status().unwrap().success());
    // By its name: no writer closes it, which is when IMA looks whether it has to forget.
    let cut = "import os, sys; os.truncate(sys.argv[1], os.stat(sys.argv[1]).st_size + 4096)";
    assert!(Command::new("python3").args(["-c", cut]).arg(&program).status().unwrap().success());
    sleep(Duration::from_secs(1));
    let record = Run::new(&scratch, [&program]).go().complete();
    let (file, content) = (record.file(&program), sha256(&program));
    assert_ne!(content, before);
    assert_eq!(file.sha256, Some(&content), "{file:?}");
    match measured(&file) {
        Some(measure) => assert_eq!((file.class, measure), (Class::Kernel, &content[..])),
        None => assert_eq!((file.class, file.reason), (Class::Raced, "MEASURES_DIFFER")),
    }
    println!("{}: IMA noticed: {}", kernel(), file.class == Class::Kernel);
}
