//! Unix sockets: by name and by who is at the other end, of the session or not.

use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process;

use proto::evidence::{Peer as OtherEnd, network::Operation};
use tests::{Peer, Record, Run, Scratch, python};

const AF_UNIX: u32 = 1;

fn acts(record: &Record, operation: Operation) -> Vec<Peer> {
    let acts = record.peers().into_iter();
    acts.filter(|peer| peer.act.operation() == operation && peer.act.family == AF_UNIX).collect()
}

fn ends(acts: &[Peer]) -> Vec<OtherEnd> {
    acts.iter().filter_map(|peer| peer.act.peer).collect()
}

fn ran(scratch: &Scratch, script: &str) -> Record {
    Run::new(scratch, python(script)).go().complete()
}

#[test]
fn who_listens_outside_is_told() {
    let scratch = Scratch::new();
    let _outside = UnixListener::bind(scratch.join("s")).unwrap();
    let record = ran(&scratch, "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('s')");
    let connects = acts(&record, Operation::Connect);
    assert_eq!(connects.len(), if record.sees_before("connect") { 2 } else { 1 }, "{connects:?}");
    assert!(connects.iter().all(|connect| connect.act.remote.ends_with(b"s") && connect.act.result == 0));
    assert_eq!(ends(&connects), [OtherEnd { pid: process::id(), uid: 0, outside: true }]);
}

#[test]
fn the_user_at_the_other_end_is_the_one_who_listened() {
    let scratch = Scratch::new();
    let record = ran(
        &scratch,
        r#"
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("s")
os.seteuid(65534)
listener.listen()
os.seteuid(0)
socket.socket(socket.AF_UNIX).connect("s")
os.seteuid(65533)
theirs = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
os.seteuid(0)
theirs.bind("d")
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect("d")
"#,
    );
    let pid = record.root().pid;
    let (connects, sends) = (acts(&record, Operation::Connect), acts(&record, Operation::Send));
    let listened = OtherEnd { pid, uid: 65_534, outside: false };
    assert_eq!(ends(&[connects, sends].concat()), [listened, OtherEnd { pid: 0, uid: 65_533, outside: true }]);
}

#[test]
fn both_ends_of_a_connection_within_the_session_are_told() {
    let scratch = Scratch::new();
    let record = ran(
        &scratch,
        r#"
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("s")
listener.listen()
if os.fork() == 0:
    own = socket.socket(socket.AF_UNIX)
    own.connect("s")
    assert own.recv(1) == b"x"
    os._exit(0)
peer, _ = listener.accept()
peer.send(b"x")
os.wait()
"#,
    );
    let (server, client) = (record.root().pid, record.children(record.root())[0].pid);
    let (connects, accepts) = (acts(&record, Operation::Connect), acts(&record, Operation::Accept));
    assert_eq!(ends(&connects), [OtherEnd { pid: server, uid: 0, outside: false }]);
    assert_eq!(ends(&accepts), [OtherEnd { pid: client, uid: 0, outside: false }]);
    assert!(connects.iter().all(|connect| connect.pid == client) && accepts.iter().all(|accept| accept.pid == server));
}

#[test]
fn one_who_listened_and_is_gone_is_not_taken_for_the_session_s() {
    let scratch = Scratch::new();
    // The descriptor lives on in a child; the kernel remembers who called listen.
    let record = ran(
        &scratch,
        r#"
import os, socket
if os.fork() == 0:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("s")
    listener.listen()
    if os.fork() == 0:
        peer, _ = listener.accept()
        os._exit(0)
    os._exit(0)
os.wait()
socket.socket(socket.AF_UNIX).connect("s")
"#,
    );
    let ends = ends(&acts(&record, Operation::Connect));
    assert_eq!(ends.iter().map(|end| end.outside).collect::<Vec<_>>(), [true]);
}

/// Datagrams by each of the calls that can name their receiver.
const SEND: &str = r#"
import ctypes, os, socket, struct
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for _ in range(3): s.sendto(b"x", "s")
s.sendmsg([b"x"], [], 0, "s")
libc = ctypes.CDLL(None, use_errno=True)
name = ctypes.create_string_buffer(struct.pack("<H", 1) + b"s\0")
data = ctypes.create_string_buffer(b"x")
part = ctypes.create_string_buffer(struct.pack("<2Q", ctypes.addressof(data), 1))
header = struct.pack("<QIIQQQQIIQ", ctypes.addressof(name), 4, 0, ctypes.addressof(part), 1, 0, 0, 0, 0, 0)
message = ctypes.create_string_buffer(header)
assert libc.sendmmsg(s.fileno(), message, 1, 0) == 1
"#;

#[test]
fn a_datagram_names_its_receiver() {
    let scratch = Scratch::new();
    let receiver = UnixDatagram::bind(scratch.join("s")).unwrap();
    let record = ran(&scratch, SEND);
    for _ in 0..5 {
        receiver.recv(&mut [0]).unwrap();
    }
    let sends = acts(&record, Operation::Send);
    assert_eq!(sends.iter().map(|send| send.count).sum::<u64>(), 5, "{sends:?}");
    assert!(sends.iter().all(|send| send.act.remote.ends_with(b"s")), "{sends:?}");
    let ends = ends(&sends);
    if record.sees_before("unix-send") {
        // Repeats are folded; the kernel remembers no process of such a socket, but whose it is.
        assert_eq!(ends, [OtherEnd { pid: 0, uid: 0, outside: true }]);
    } else {
        assert_eq!(ends, []);
    }
}

/// A socket that was made with its other end, and then connected elsewhere: the kernel still remembers with whom it was made.
#[test]
fn a_socket_for_datagrams_is_not_taken_for_connected_to_its_maker() {
    let scratch = Scratch::new();
    let _outside = UnixDatagram::bind(scratch.join("s")).unwrap();
    let record = ran(
        &scratch,
        "import socket\none, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\none.connect('s')",
    );
    let acts = [acts(&record, Operation::Connect), acts(&record, Operation::Send)].concat();
    assert_eq!(ends(&acts), [OtherEnd { pid: 0, uid: 0, outside: true }], "{acts:?}");
}

/// Several at once, of which the first goes to the other end of a pair and only the second has a name.
const MIXED: &str = r#"
import ctypes, socket, struct
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
libc = ctypes.CDLL(None, use_errno=True)
name = ctypes.create_string_buffer(struct.pack("<H", 1) + b"s\0")
data = ctypes.create_string_buffer(b"x")
part = ctypes.create_string_buffer(struct.pack("<2Q", ctypes.addressof(data), 1))
header = lambda name, bytes: struct.pack("<QIIQQQQIIQ", name, bytes, 0, ctypes.addressof(part), 1, 0, 0, 0, 0, 0)
messages = ctypes.create_string_buffer(header(0, 0) + header(ctypes.addressof(name), 4))
assert libc.sendmmsg(one.fileno(), messages, 2, 0) == 2
"#;

#[test]
fn the_second_of_several_datagrams_is_not_hidden_by_the_first() {
    let scratch = Scratch::new();
    let _outside = UnixDatagram::bind(scratch.join("s")).unwrap();
    let record = Run::new(&scratch, python(MIXED)).go().record();
    if record.sees_before("unix-send") {
        record.must_be_complete();
        assert!(acts(&record, Operation::Send).iter().any(|send| send.act.remote.ends_with(b"s")));
    } else {
        record.must_lack("TRUNCATED_EVENT");
    }
}

#[test]
fn a_name_that_is_given_to_a_socket_over_the_network_is_none_of_them() {
    let scratch = Scratch::new();
    let record = ran(
        &scratch,
        r#"
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", receiver.getsockname())
"#,
    );
    assert!(record.claims.hooks.iter().any(|hook| hook.observation == "unix-send"));
    assert_eq!(record.numbers("unix-send"), [0; 4]);
}
