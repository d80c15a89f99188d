//! 10: a descriptor that is received was opened by somebody else.

use std::os::unix::fs::MetadataExt as _;

use tests::Scratch;

use crate::{
    bystander::Bystander,
    calls::{one, run, told},
};

const SENDER: &str = r#"
import socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("sender")
listener.listen()
print("here", flush=True)
peer, _ = listener.accept()
secret = os.open("secret", os.O_RDONLY)
socket.send_fds(peer, [b"x"], [secret])
sys.stdin.readline()
"#;

#[test]
fn a_descriptor_from_outside_is_told_and_ends_completeness() {
    let scratch = Scratch::new();
    let secret = scratch.write("secret", "content");
    let _sender = Bystander::start(&scratch, SENDER);
    let record = run(
        &scratch,
        r#"
import socket
own = socket.socket(socket.AF_UNIX)
own.connect("sender")
data, descriptors, flags, address = socket.recv_fds(own, 1, 4)
assert os.read(descriptors[0], 7) == b"content"
"#,
    );
    assert!(record.files(&secret).is_empty(), "nothing of the session opened it");
    record.must_lack("DESCRIPTOR_RECEIVED");
    let act = one(&record, "recvmsg");
    assert!(act.outside);
    assert_eq!(act.file.map(|(_, ino)| ino), Some(secret.metadata().unwrap().ino()));
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let secret = scratch.write("secret", "content");
    // The same within the session: whoever opened the file is in the record.
    let record = run(
        &scratch,
        r#"
import socket
one, other = socket.socketpair()
if os.fork() == 0:
    socket.send_fds(one, [b"x"], [os.open("secret", os.O_RDONLY)])
    os._exit(0)
data, descriptors, flags, address = socket.recv_fds(other, 1, 4)
assert os.read(descriptors[0], 7) == b"content"
os.wait()
"#,
    );
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.file(&secret).accesses, 1);
    assert!(told(&record, "recvmsg").iter().all(|act| !act.outside));
}
