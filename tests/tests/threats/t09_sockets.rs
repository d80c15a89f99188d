//! 9: sockets that neither TCP's nor UDP's hooks know.

use tests::Scratch;

use crate::calls::{run, told};

#[test]
fn a_socket_of_any_family_is_told() {
    let scratch = Scratch::new();
    // AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK, and a raw one of AF_INET; not every kernel has them all.
    let record = run(
        &scratch,
        "for family, kind in (16, 3), (17, 3), (38, 5), (40, 1), (2, 3): print(call(41, family, kind, 1 if family == 2 else 0))",
    );
    record.must_be_complete_on_the_weakest();
    let told = told(&record, "socket");
    let asked: Vec<_> = told.iter().map(|act| (act.arguments[0], act.arguments[1])).collect();
    assert_eq!(asked, [(16, 3), (17, 3), (38, 5), (40, 1), (2, 3)]);
    record.sees("act", "socket");
    assert!(told[0].result >= 0 && told[4].result >= 0, "{told:?}");
}

#[test]
fn a_connection_whose_descriptor_has_more_than_an_int_is_told() {
    let scratch = Scratch::new();
    let record = run(
        &scratch,
        r#"
import socket, struct
listener = socket.socket(socket.AF_UNIX)
listener.bind("listener")
listener.listen()
own = socket.socket(socket.AF_UNIX)
must(call(42, own.fileno() | 1 << 40, struct.pack("<H", 1) + b"listener", 10))
"#,
    );
    record.must_be_complete_on_the_weakest();
    assert!(record.trace.contacts().any(|(contact, name)| contact.family == 1 && name.ends_with(b"listener")));
    record.sees("connect", "to a unix socket, by an odd descriptor");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(&scratch, "pass");
    record.must_be_complete_on_the_weakest();
    assert!(told(&record, "socket").is_empty());
}
