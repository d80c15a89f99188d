//! 37: acts that fail tell whether something is there.

use std::net::TcpListener;

use tests::Scratch;

use crate::calls::run;

/// A port that nobody listens at.
fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

#[test]
fn a_refused_connection_is_told() {
    let scratch = Scratch::new();
    let port = closed();
    let record =
        run(&scratch, &format!("import socket\nassert socket.socket().connect_ex(('127.0.0.1', {port})) == 111"));
    record.must_be_complete_on_the_weakest();
    assert!(record.trace.contacts().any(|(contact, _)| contact.port == u32::from(port)));
    record.sees("connect-attempt", "a refused connection");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(&scratch, "import socket\nsocket.socket().close()");
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.trace.contacts().count(), 0);
}
