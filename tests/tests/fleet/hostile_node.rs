//! A node that may send, and does everything with that: it pads what others signed, reads no answers, opens what it can, and claims more
//! than it sends. Another node goes on beside it.

use std::fs;

use bytes::Bytes;
use collector_api::answer::Outcome;
use collector_api::{Accepted, Answer, EnrolmentRequest, Submission};
use prost::Message as _;
use serde_json::{Value, json};
use tests::collector::Collector;
use tonic::Code;

use crate::node::{Node, collector, here, kept, trust};
use crate::peer::{Peer, runtime, soon};

/// The receipt of an answer, and whether the statement was there already.
fn receipt(answer: &Answer) -> (String, bool) {
    match &answer.outcome {
        Some(Outcome::Accepted(Accepted { receipt, repeated })) => {
            (String::from_utf8(receipt.clone()).expect("text"), *repeated)
        }
        other => panic!("{other:?}"),
    }
}

fn envelope(node: &Node, name: &str) -> Vec<u8> {
    fs::read(node.scratch.join(format!("{name}.intoto.jsonl"))).expect("an envelope")
}

/// A message of gRPC, as it stands in a stream.
fn message(submission: &Submission) -> Bytes {
    let bytes = submission.encode_to_vec();
    let length = u32::try_from(bytes.len()).expect("short");
    [&[0][..], &length.to_be_bytes(), &bytes].concat().into()
}

fn submit() -> http::Request<()> {
    let uri = "https://localhost/testimony.collector.v1.Collector/Submit";
    let request = http::Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    request.body(()).expect("a request")
}

#[test]
fn a_statement_is_kept_once_however_it_is_padded_and_by_whom() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = collector(&node);
    node.join(&collector);
    collector.start();
    node.run("one");
    let own = envelope(&node, "one");
    let parsed: Value = serde_json::from_slice(&own).expect("JSON");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut parsed = parsed.clone();
        change(&mut parsed);
        parsed.to_string().into_bytes()
    };
    let junk = json!({ "keyid": "junk", "sig": "AAAA" });
    let before = with(&|envelope| envelope["signatures"].as_array_mut().expect("signatures").insert(0, junk.clone()));
    let twice = with(&|envelope| {
        let signatures = envelope["signatures"].as_array_mut().expect("signatures");
        signatures.push(signatures[0].clone());
    });
    let field = with(&|envelope| envelope["unknown"] = json!("x".repeat(1000)));
    let spaces = [&b"   "[..], &own, b"\n\n"].concat();
    // Whoever saw it is first, with something else beside its signature.
    let thief = Peer::new(&collector, "thief");
    let all = vec![before, twice, field, spaces, own.clone(), own];
    let count = all.len();
    let answers = runtime().block_on(soon(thief.submit(all))).expect("answers");
    let receipts: Vec<(String, bool)> = answers.iter().filter_map(taken).collect();
    assert!(receipts.len() >= 4 && answers.len() == count, "{answers:?}");
    assert!(receipts.iter().all(|(receipt, _)| *receipt == receipts[0].0), "{receipts:?}");
    assert_eq!(receipts.iter().filter(|(_, repeated)| !repeated).count(), 1);
    assert_eq!(kept(&collector).len(), 1);
    // The node that signed it gets the same receipt, which is good for what it sent.
    node.start();
    node.wait(|state| state["delivered"] == 1);
    assert_eq!(kept(&collector).len(), 1);
    let said = node.testimony(&["spool", "receipt", "--config", "agent.toml", "one.intoto.jsonl"]);
    assert_eq!(String::from_utf8(said.stdout).expect("text"), receipts[0].0);
    fs::write(node.scratch.join("receipt"), &receipts[0].0).expect("written");
    let verify = ["--key", "key.pub", "--log-key", "log.vkey", "--receipt", "receipt", "one.intoto.jsonl"];
    let mut verifier = std::process::Command::new(tests::verifier());
    tests::ended(&verifier.args(verify).current_dir(node.scratch.path()).output().expect("it runs"), 0);
}

/// What was taken; a field that no envelope has may be refused.
fn taken(answer: &Answer) -> Option<(String, bool)> {
    matches!(answer.outcome, Some(Outcome::Accepted(_))).then(|| receipt(answer))
}

#[test]
fn who_opens_all_that_it_can_takes_nothing_of_others() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = Collector::new(&format!("{}[limits]\nconnections_of_one = 2\n", trust(&node)));
    node.join(&collector);
    collector.start();
    let hostile = Peer::new(&collector, "hostile");
    runtime().block_on(async {
        let first = soon(hostile.connect()).await.expect("the first");
        let second = soon(hostile.connect()).await.expect("the second");
        // Who has had an answer is counted; a client may hold a handshake for done before that.
        for mut client in [first.clone(), second.clone()] {
            soon(client.submit(futures_util::stream::empty())).await.expect("an answer");
        }
        let third = soon(async { hostile.connect().await.expect("TLS").submit(futures_util::stream::empty()).await });
        assert!(third.await.is_err(), "a third connection is taken");
        // Streams that send nothing, and end never.
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut client = first.clone();
            let stream = soon(client.submit(futures_util::stream::pending())).await.expect("a stream");
            open.push(stream);
        }
        let more = soon(first.clone().submit(futures_util::stream::pending())).await;
        assert_eq!(more.expect_err("a third stream").code(), Code::ResourceExhausted);
        // Another name is not concerned.
        node.run("one");
        node.start();
        node.wait(|state| state["delivered"] == 1);
        drop(open);
    });
    collector.until_it_says("as many connections as one name may have are open");
}

#[test]
fn who_reads_no_answer_and_ends_no_message_holds_up_nobody_and_takes_no_end_of_memory() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = Collector::new(&format!("{}[limits]\nmemory = \"160MiB\"\n", trust(&node)));
    node.join(&collector);
    collector.start();
    node.run("one");
    let own = envelope(&node, "one");
    let hostile = Peer::new(&collector, "hostile");
    let part = Bytes::from(vec![0; 31 << 20]);
    runtime().block_on(async {
        let mut connections = Vec::new();
        for round in 0..4 {
            // A window of nothing: no answer is ever taken.
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(0).initial_connection_window_size(65_535);
            let (mut requests, connection) = builder.handshake(hostile.tls().await).await.expect("HTTP/2");
            connections.push(tokio::spawn(connection));
            if round == 0 {
                let (_, mut stream) = requests.send_request(submit(), false).expect("a stream");
                // As many statements as there are places for answers, and more.
                let submission = Submission { number: 1, envelope: own.clone(), ..Submission::default() };
                for _ in 0..200 {
                    stream.send_data(message(&submission), false).expect("sent");
                }
                // Never ended, never reset.
                std::mem::forget(stream);
            }
            // The largest message that is taken, without its end, on each stream that is left.
            for _ in usize::from(round == 0)..4 {
                let (_, mut stream) = requests.send_request(submit(), false).expect("a stream");
                let header = [&[0][..], &(32_u32 << 20).to_be_bytes()].concat();
                stream.send_data(header.into(), false).expect("sent");
                stream.send_data(part.clone(), false).expect("sent");
                std::mem::forget(stream);
            }
            std::mem::forget(requests);
        }
        // Until as much is read as will be.
        let mut before = 0;
        while collector.peak_kib() > before {
            before = collector.peak_kib();
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        node.start();
        node.wait(|state| state["delivered"] == 1);
    });
    // Of 15 that were begun, one may be read at a time: another name's part is free.
    let peak = collector.peak_kib();
    assert!(peak < 160 << 10, "{peak} KiB");
    assert_eq!(kept(&collector).len(), 1);
}

#[test]
fn messages_are_taken_to_their_limits() {
    if !here() {
        return;
    }
    let node = Node::new();
    let mut collector = collector(&node);
    node.join(&collector);
    collector.start();
    let peer = Peer::new(&collector, "large");
    runtime().block_on(async {
        let mut client = soon(peer.connect()).await.expect("a connection");
        let mut begin = async |bytes: usize| {
            let request = EnrolmentRequest { request: vec![b'x'; bytes] };
            soon(client.begin_enrolment(request)).await.expect_err("no request").code()
        };
        // Read and found to be none, or not read at all.
        assert_eq!(begin(200 << 10).await, Code::FailedPrecondition);
        assert_eq!(begin(300 << 10).await, Code::OutOfRange);
        assert_eq!(begin(20 << 20).await, Code::OutOfRange);
        let answers = soon(peer.submit(vec![vec![b'x'; 32 << 20], b"x".to_vec()])).await.expect("an answer");
        // After a large one the stream ends, and what was behind it is sent on another.
        assert_eq!(answers.len(), 1);
        assert!(matches!(&answers[0].outcome, Some(Outcome::Refused(refused)) if refused.lasting == 1), "{answers:?}");
        let status = soon(peer.submit(vec![vec![b'x'; (32 << 20) + 5000]])).await.expect_err("too large");
        assert_eq!(status.code(), Code::OutOfRange);
    });
}
