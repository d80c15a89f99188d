//! Services that answer nonsense, nothing, or without end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::ended;
use tests::workload_api::{Answer, WorkloadApi};

use crate::bench::{Bench, Impostor};
use crate::here;

/// Bytes that a service without end may get rid of: what is read of an answer, and what sockets hold.
const SENT_BYTES_MAX: u64 = 16 << 20;
/// It answers everybody with a gigabyte, and keeps a count of what it got rid of.
const ENDLESS: &str = "
import os, socket
s = socket.create_server(('127.0.0.1', PORT))
sent = 0
while True:
    c, _ = s.accept()
    if not c.recv(65536):
        continue
    try:
        c.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\n')
        for _ in range(1 << 14):
            c.sendall(b' ' * 65536)
            sent += 65536
    except OSError:
        pass
    with open('count', 'w') as f:
        f.write(str(sent))
    os.rename('count', 'sent')
";

#[test]
fn services_that_answer_nonsense_or_nothing_are_not_waited_for() {
    if !here() {
        return;
    }
    const SILENT: &str = "import socket,time;s=socket.create_server(('127.0.0.1',PORT));time.sleep(600)";
    let mut bench = Bench::new();
    for (service, port) in [("certificates", "4002"), ("log", "4004"), ("stamps", "4007")] {
        bench.sigstore.stop(service);
        // A web server that knows nothing of it.
        let nonsense = ["-m", "http.server", port, "--bind", "127.0.0.1"];
        let impostor = Impostor::start(&bench, &nonsense, port);
        let said = ended(&bench.run(&format!("nonsense-{service}"), &[]), 0);
        assert!(said.contains("there is no keyless signature") && said.contains("COMPLETE"), "{service}: {said}");
        drop(impostor);
        if service == "stamps" {
            let silent = SILENT.replace("PORT", port);
            let _impostor = Impostor::start(&bench, &["-c", &silent], port);
            let began = Instant::now();
            let said = ended(&bench.run("silent", &[]), 0);
            assert!(said.contains("there is no keyless signature") && said.contains("COMPLETE"), "{said}");
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        }
        bench.sigstore.again(service);
    }
}

/// What it got rid of, once it has seen that nobody reads on.
fn count(file: &Path) -> u64 {
    let began = Instant::now();
    loop {
        match fs::read_to_string(file).ok().and_then(|text| text.parse().ok()) {
            Some(sent) => {
                fs::remove_file(file).expect("removed");
                return sent;
            }
            None => assert!(began.elapsed() < Duration::from_secs(20), "it writes on, and somebody reads"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_service_that_answers_without_end_is_read_to_a_limit() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    for (service, port, limit) in
        [("certificates", "4002", 256 << 10), ("log", "4004", 256 << 10), ("stamps", "4007", 32 << 10)]
    {
        bench.sigstore.stop(service);
        let endless = Impostor::start(&bench, &["-c", &ENDLESS.replace("PORT", port)], port);
        let began = Instant::now();
        let said = ended(&bench.run(service, &[]), 0);
        assert!(said.contains("there is no keyless signature") && said.contains("COMPLETE"), "{service}: {said}");
        assert!(said.contains(&format!("is over {limit} bytes")), "{service}: {said}");
        assert!(began.elapsed() < Duration::from_secs(20), "{service}: {:?}", began.elapsed());
        assert!(!bench.scratch.join(format!("{service}.sigstore.json")).exists());
        let sent = count(&bench.sigstore.path("sent"));
        assert!(sent < SENT_BYTES_MAX, "{service}: {sent} bytes were taken");
        drop(endless);
        bench.sigstore.again(service);
    }
    // Who gives the token, too, before the command.
    let workload = WorkloadApi::start(Answer::Bytes(vec![0; 8 << 20]));
    let began = Instant::now();
    let mut run = bench.command("token", &[]);
    run.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", workload.socket().display()));
    let said = ended(&run.output().expect("testimony runs"), 125);
    assert!(said.contains("there is no token to sign with") && said.contains("too large"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
