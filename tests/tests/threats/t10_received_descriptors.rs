//! 10: a descriptor that is received was opened by somebody else.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use tests::{Bystander, Record, Scratch, binary, need_root};

use crate::calls::{one, run, told};

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

/// Receives by `recvmmsg`, of which only the first message could be looked at.
const MANY: &str = r#"
import socket, struct
own = socket.socket(socket.AF_UNIX)
own.connect("sender")
data, control = ctypes.create_string_buffer(1), ctypes.create_string_buffer(64)
part = ctypes.create_string_buffer(struct.pack("<2Q", ctypes.addressof(data), 1))
header = struct.pack("<QIIQQQQIIQ", 0, 0, 0, ctypes.addressof(part), 1, ctypes.addressof(control), 64, 0, 0, 0)
message = ctypes.create_string_buffer(header)
assert must(call(299, own.fileno() | 1 << 40, message, 1, 0, 0)) == 1
assert os.read(struct.unpack_from("<i", control, 16)[0], 7) == b"content"
"#;

/// Receives into a header that the kernel cannot write to: the descriptor is there, and the call has failed.
const UNWRITABLE: &str = r#"
import socket, struct
own = socket.socket(socket.AF_UNIX)
own.connect("sender")
page = must(call(9, 0, 4096, 3, 0x22, -1, 0))
data, control = ctypes.create_string_buffer(1), ctypes.create_string_buffer(64)
part = ctypes.create_string_buffer(struct.pack("<2Q", ctypes.addressof(data), 1))
header = struct.pack("<QIIQQQQII", 0, 0, 0, ctypes.addressof(part), 1, ctypes.addressof(control), 64, 0, 0)
ctypes.memmove(page, header, len(header))
must(call(10, page, 4096, 1))
assert call(47, own.fileno(), page, 0) == -14
assert os.read(struct.unpack_from("<i", control, 16)[0], 7) == b"content"
"#;

#[test]
fn a_descriptor_received_in_an_odd_way_ends_completeness() {
    for script in [MANY, UNWRITABLE] {
        let scratch = Scratch::new();
        scratch.write("secret", "content");
        let _sender = Bystander::start(&scratch, SENDER);
        run(&scratch, script).must_lack("DESCRIPTOR_RECEIVED");
    }
}

/// Sends when it is told to.
const SLOW_SENDER: &str = r#"
import socket, time
listener = socket.socket(socket.AF_UNIX)
listener.bind("sender")
listener.listen()
print("here", flush=True)
peer, _ = listener.accept()
secret = os.open("secret", os.O_RDONLY)
while not os.path.exists("go"): time.sleep(0.01)
socket.send_fds(peer, [b"x"], [secret])
sys.stdin.readline()
"#;

/// The descriptor of the socket is another's when the call is over.
const REPLACED: &str = r#"
import socket, threading, time
own = socket.socket(socket.AF_UNIX)
own.connect("sender")
received = []
thread = threading.Thread(target=lambda: received.extend(socket.recv_fds(own, 1, 4)[1]))
thread.start()
time.sleep(0.3)
one, other = socket.socketpair()
os.dup2(one.fileno(), own.fileno())
open("go", "w").close()
thread.join()
assert os.read(received[0], 7) == b"content"
"#;

#[test]
fn a_socket_that_is_replaced_meanwhile_hides_no_sender() {
    let scratch = Scratch::new();
    scratch.write("secret", "content");
    let _sender = Bystander::start(&scratch, SLOW_SENDER);
    run(&scratch, REPLACED).must_lack("DESCRIPTOR_RECEIVED");
}

/// Sends to whom it is asked to, by a name.
const SENDER_TO_A_NAME: &str = r#"
import array, socket, time
own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
own.bind("theirs")
secret = os.open("secret", os.O_RDONLY)
print("here", flush=True)
while not os.path.exists("ready"): time.sleep(0.01)
rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [secret]))
own.sendmsg([b"x"], [rights], 0, "mine")
sys.stdin.readline()
"#;

#[test]
fn a_socket_that_has_a_name_hides_no_sender() {
    let scratch = Scratch::new();
    scratch.write("secret", "content");
    let _sender = Bystander::start(&scratch, SENDER_TO_A_NAME);
    let record = run(
        &scratch,
        r#"
import socket
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.settimeout(30)
one.bind("mine")
one.connect("theirs")
open("ready", "w").close()
data, descriptors, flags, address = socket.recv_fds(one, 1, 4)
assert os.read(descriptors[0], 7) == b"content"
"#,
    );
    record.must_lack("DESCRIPTOR_RECEIVED");
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

/// A session that a shell starts, after it has closed what it was given and done something.
fn started(scratch: &Scratch, before: &str) -> Record {
    need_root();
    let start = format!(
        "for given in /proc/self/fd/*; do given=${{given##*/}}; [ $given -le 2 ] || eval \"exec $given>&-\"; done\n{before}\n\
         exec \"$0\" run --key signing.key -o out -- /bin/true"
    );
    let ran = Command::new("/bin/bash").args(["-c", &start]).arg(binary()).current_dir(scratch.path()).output();
    let ran = ran.expect("it starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let [statement, evidence, key] =
        ["out.intoto.jsonl", "out.evidence", "signing.key.pub"].map(|name| scratch.join(name));
    Record::read(&statement, &evidence, &key)
}

#[test]
fn a_descriptor_that_the_command_was_given_is_listed() {
    let scratch = Scratch::new();
    let given = scratch.write("given", "by who started it");
    let record = started(&scratch, "exec 7< given");
    record.must_say("INHERITED_DESCRIPTORS");
    record.sees("session", "descriptors that the command was given, each with its file");
    let inherited = &record.trace.opened().inherited;
    let seventh = inherited.iter().find(|one| one.descriptor == 7).expect("it is listed");
    assert_eq!((seventh.access.as_str(), seventh.r#type.as_str()), ("read", "regular"));
    assert_eq!(seventh.ino, given.metadata().expect("it is there").ino());
    assert_eq!(seventh.path, given.clone().into_os_string().into_encoded_bytes());
    assert!(record.files(&given).is_empty(), "nothing of the session opened it");
}

#[test]
fn twin_of_what_was_given() {
    let scratch = Scratch::new();
    let record = started(&scratch, ":");
    record.must_be_complete_on_the_weakest();
    assert!(!record.says("INHERITED_DESCRIPTORS"));
    let given: Vec<u32> = record.trace.opened().inherited.iter().map(|one| one.descriptor).collect();
    assert_eq!(given, [0, 1, 2]);
}
