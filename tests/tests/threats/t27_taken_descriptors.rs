//! 27: descriptors that are taken from a process, by one that is not its relative.

use std::os::unix::fs::MetadataExt as _;

use tests::{Bystander, Scratch};

use crate::calls::{one, run, script, session, succeeded};

const TAKE: &str = "taken = must(call(438, must(call(434, pid, 0)), fd, 0))";

#[test]
fn a_descriptor_taken_from_a_bystander_ends_completeness() {
    let scratch = Scratch::new();
    let secret = scratch.write("secret", "content");
    let mut bystander = Bystander::start(
        &scratch,
        "print('here', flush=True)\nprint(os.open('secret', os.O_RDONLY), flush=True)\nsys.stdin.readline()",
    );
    let fd = bystander.hear();
    let record =
        run(&scratch, &format!("pid, fd = {}, {fd}\n{TAKE}\nassert os.read(taken, 7) == b'content'", bystander.pid()));
    record.must_lack("DESCRIPTOR_RECEIVED");
    let act = one(&record, "pidfd_getfd");
    assert!(act.outside);
    assert_eq!(act.file.map(|(_, ino)| ino), Some(secret.metadata().unwrap().ino()));
}

#[test]
fn a_descriptor_taken_by_a_bystander_ends_completeness() {
    let scratch = Scratch::new();
    let mut taker = Bystander::start(
        &scratch,
        &format!(
            "print('here', flush=True)\npid, fd = map(int, sys.stdin.readline().split())\n{TAKE}\nprint('taken', flush=True)"
        ),
    );
    let command = script(
        "import time\nfd = os.open('file', os.O_RDWR | os.O_CREAT)\nopen('pid.new', 'w').write(f'{os.getpid()} {fd}')\nos.rename('pid.new', 'pid')\nwhile not os.path.exists('go'): time.sleep(0.01)",
    );
    let mut run = session(&scratch, command).start();
    run.wait_for(&scratch.join("pid"));
    taker.tell(&std::fs::read_to_string(scratch.join("pid")).unwrap());
    taker.hear();
    scratch.write("go", "");
    succeeded(run.wait()).must_lack("REACHED_FROM_OUTSIDE");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    scratch.write("secret", "content");
    let record = run(
        &scratch,
        &format!(
            r#"
import signal
fd = os.open("secret", os.O_RDONLY)
pid = os.fork()
if pid == 0: signal.pause()
{TAKE}
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
"#
        ),
    );
    record.must_be_complete_on_the_weakest();
    assert!(!one(&record, "pidfd_getfd").outside);
}
