//! 8: the work is done out of the session's sight: in another cgroup, or by a daemon.

use attestation::trace::{Contact, Peer};
use proto::evidence::network::Operation;
use tests::{Bystander, Scratch};

use crate::calls::{run, script, session, succeeded};

/// Says `cgroup()`, where the process is, and `root()`, where cgroup v2 is mounted.
const CGROUP: &str = r#"
def root(): return next(line.split()[1] for line in open("/proc/self/mounts") if line.split()[2] == "cgroup2")
def cgroup(): return root() + next(line[3:].strip() for line in open("/proc/self/cgroup") if line.startswith("0::"))
"#;

#[test]
fn a_process_that_leaves_the_cgroup_is_followed() {
    let scratch = Scratch::new();
    scratch.write("input", "x");
    let record = run(
        &scratch,
        &format!(
            "{CGROUP}\nassert 'testimony' in cgroup()\nopen(root() + '/cgroup.procs', 'w').write('0')\n\
             if os.fork() == 0:\n    open('input').read()\n    os._exit(0)\nos.wait()"
        ),
    );
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.accesses(&scratch.join("input")), 1);
    record.sees("open", "by a child of one that left the session's cgroup");
}

#[test]
fn one_from_outside_that_joins_ends_completeness() {
    let scratch = Scratch::new();
    let mut outside = Bystander::start(
        &scratch,
        "print('here', flush=True)\nopen(sys.stdin.readline().strip() + '/cgroup.procs', 'w').write('0')\nprint('in', flush=True)",
    );
    let command = script(&format!(
        "{CGROUP}\nimport time\nopen('new', 'w').write(cgroup())\nos.rename('new', 'cgroup')\n\
         while not os.path.exists('go'): time.sleep(0.01)"
    ));
    let mut running = session(&scratch, command).start();
    running.wait_for(&scratch.join("cgroup"));
    outside.tell(&std::fs::read_to_string(scratch.join("cgroup")).expect("told"));
    assert_eq!(outside.hear(), "in");
    drop(outside);
    scratch.write("go", "");
    succeeded(running.wait()).must_lack("JOINED_PROCESS");
}

#[test]
fn a_daemon_that_is_asked_is_told() {
    let scratch = Scratch::new();
    let done = scratch.join("done");
    let daemon = Bystander::start(
        &scratch,
        r#"
import socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("daemon")
listener.listen()
print("here", flush=True)
peer, _ = listener.accept()
peer.recv(1)
open("done", "w").write("by a daemon")
peer.send(b"x")
sys.stdin.readline()
"#,
    );
    let record = run(
        &scratch,
        "import socket\nown = socket.socket(socket.AF_UNIX)\nown.connect('daemon')\nown.send(b'x')\nassert own.recv(1) == b'x'",
    );
    record.must_be_complete_on_the_weakest();
    assert!(done.exists() && record.files(&done).is_empty(), "the daemon's work is not the session's");
    let to_daemon = |(contact, name): &(&Contact, &[u8])| contact.family == 1 && name.ends_with(b"daemon");
    let ends: Vec<Peer> = record.trace.contacts().filter(to_daemon).filter_map(|(contact, _)| contact.peer).collect();
    assert_eq!(ends, [Peer { pid: daemon.pid(), uid: 0, outside: true }]);
    record.sees("connect", "to the socket of a daemon, with its process and user, as one from outside");
}

#[test]
fn a_daemon_that_is_sent_a_message_is_told() {
    let scratch = Scratch::new();
    let _daemon = Bystander::start(
        &scratch,
        r#"
import socket
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind("daemon")
print("here", flush=True)
sys.stdin.readline()
"#,
    );
    let record =
        run(&scratch, "import socket\nsocket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'do it', 'daemon')");
    record.must_be_complete_on_the_weakest();
    let mut told = record.trace.contacts().filter(|(contact, _)| contact.operation == Operation::Send);
    assert!(told.any(|(contact, name)| contact.family == 1 && name.ends_with(b"daemon")));
    record.sees("unix-send", "a datagram to the socket of a daemon");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    scratch.write("input", "x");
    let record = run(&scratch, "if os.fork() == 0:\n    open('input').read()\n    os._exit(0)\nos.wait()");
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.accesses(&scratch.join("input")), 1);
}
