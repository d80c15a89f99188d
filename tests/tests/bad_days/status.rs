//! The exit status: the command's own, or a shell's for what could not be run, or 121 where nothing could be signed.

use std::os::unix::fs::MetadataExt;

use tests::{Ran, Run, Scratch, python};

fn status(command: &[&str]) -> Ran {
    let scratch = Scratch::new();
    scratch.write("no-program", "#!/bin/sh\nexit 0\n");
    let ran = Run::new(&scratch, command).go();
    if ran.statement().exists() {
        let _ = ran.record();
    }
    ran
}

#[test]
fn a_command_that_is_not_found_is_127() {
    assert_eq!(status(&["no-such-command-anywhere"]).code(), 127);
    assert_eq!(status(&["/no/such/command"]).code(), 127);
}

#[test]
fn a_command_that_cannot_be_executed_is_126() {
    assert_eq!(status(&["./no-program"]).code(), 126);
    assert_eq!(status(&["/usr"]).code(), 126);
}

#[test]
fn every_other_status_is_the_command_s_own() {
    for code in [0, 1, 3, 120, 121, 125, 126, 127, 255] {
        let scratch = Scratch::new();
        let ran = Run::new(&scratch, ["/bin/sh", "-c", &format!("exit {code}")]).go();
        assert_eq!(ran.code(), code);
        let record = ran.record();
        record.must_be_complete();
        assert_eq!(record.trace.closed().map(|closed| closed.root_status), Some(code << 8));
    }
}

#[test]
fn a_signal_is_128_and_its_number() {
    for signal in [1, 9, 11, 15] {
        let ran = status(&["/bin/sh", "-c", &format!("ulimit -c 0; kill -{signal} $$")]);
        assert_eq!(ran.code(), 128 + signal, "{}", ran.stderr);
    }
}

#[test]
fn json_tells_a_command_s_125_from_ours() {
    let scratch = Scratch::new();
    let ran = Run::new(&scratch, ["/bin/sh", "-c", "exit 125"]).option("--json").go();
    assert_eq!(ran.code(), 125);
    let said: serde_json::Value = serde_json::from_str(&ran.stderr).expect("one line of JSON");
    assert_eq!((&said["commandStatus"], &said["complete"]), (&125.into(), &true.into()));
}

#[test]
fn nowhere_to_put_the_statement_at_the_end_is_121() {
    let scratch = Scratch::new();
    scratch.folder("gone");
    let ran = Run::new(&scratch, ["rm", "-r", "gone"]).output(scratch.join("gone/out")).go();
    assert_eq!(ran.code(), 121, "{}", ran.stderr);
    assert!(ran.stderr.lines().last().is_some_and(|line| line.starts_with("testimony: ")), "{}", ran.stderr);
    assert!(!scratch.join("gone").exists());
}

#[test]
fn under_sudo_the_command_is_the_user_s() {
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let script = "import os\nprint(os.getresuid(), os.getresgid())";
    let run = |name: &str| {
        let run = Run::new(&scratch, python(script)).output(scratch.join(name));
        run.variable("SUDO_UID", "65534").variable("SUDO_GID", "65533")
    };
    let ran = run("user").go();
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "(65534, 65534, 65534) (65533, 65533, 65533)");
    let record = ran.complete();
    assert_eq!((record.command().ids, record.command().cap_effective), ([65534, 65533, 65534, 65533], 0));
    for path in [ran.statement(), ran.evidence()] {
        let metadata = std::fs::metadata(&path).expect("it is there");
        assert_eq!((metadata.uid(), metadata.gid()), (65534, 65533), "{}", path.display());
    }
    let ran = run("root").option("--as-root").go();
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "(0, 0, 0) (0, 0, 0)");
    assert_eq!(std::fs::metadata(ran.statement()).expect("it is there").uid(), 0);
}

#[test]
fn under_sudo_no_digest_is_given_of_what_the_user_cannot_read() {
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let secret = scratch.write("secret", "root's");
    let open = scratch.write("open", "everybody's");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    let ran = Run::new(&scratch, ["/bin/cat", "open", "secret"]).variable("SUDO_UID", "65534");
    let ran = ran.variable("SUDO_GID", "65533").go();
    assert_eq!(ran.code(), 1, "cat is refused");
    let record = ran.record();
    record.must_be_complete();
    assert!(record.file(&open).sha256.is_some());
    assert!(record.files(&secret).iter().all(|file| file.sha256.is_none()));
}

#[test]
fn under_sudo_a_command_cannot_turn_the_outputs_into_links() {
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    let victim = scratch.write("victim", "root's");
    let script = "rm -f out.intoto.jsonl.part; ln -s victim out.intoto.jsonl.part; \
                  mv out.evidence moved; mkdir out.evidence; ln -s ../victim out.evidence/link";
    let ran = Run::new(&scratch, ["/bin/sh", "-c", script]).variable("SUDO_UID", "65534");
    let ran = ran.variable("SUDO_GID", "65533").go();
    assert_eq!(ran.code(), 121, "nothing is signed where somebody else's file stands: {}", ran.stderr);
    assert_eq!(std::fs::read(&victim).expect("it is there"), b"root's");
    assert_eq!(std::fs::metadata(&victim).expect("it is there").uid(), 0);
}
