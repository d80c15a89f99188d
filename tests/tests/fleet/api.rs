//! What is asked of a collector that has real statements, over HTTPS and by its command.

use std::fs;
use std::process::Command;
use std::thread;

use sha2::{Digest as _, Sha256};
use tests::collector::names;
use tests::{binary, ended};

use crate::asking::{Asked, joined, put, until};
use crate::node::{NODE, Node, here};

#[test]
fn what_a_run_read_wrote_and_talked_to_is_found() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut asked = Asked::new(&node, "");
    joined(&mut asked, &mut node);
    let content = format!("content of {}\n", std::process::id());
    fs::write(node.scratch.join("input"), &content).expect("written");
    let digest = attestation::hex::encode(&Sha256::digest(&content));
    let mut run = Command::new(binary());
    run.args(["run", "--key", "key", "--chain", "chain", "-o", "run", "--config=agent.toml", "--", "sh", "-c"]);
    run.arg("cat input > output").current_dir(node.scratch.path());
    ended(&run.output().expect("testimony runs"), 0);
    let lost = put(&node, "lost-events");
    node.wait(|state| state["delivered"] == 2);
    let found =
        until("the run is in the index", || Some(asked.items("/v1/statements")).filter(|found| found.len() == 2));
    let statement = found.iter().find(|row| row["payloadSha256"] != lost.as_str()).expect("the run");
    assert_eq!(
        (&statement["sender"], &statement["kind"], &statement["number"]),
        (&NODE.into(), &"run".into(), &1.into())
    );
    // What read it, and what wrote the same content.
    let read = asked.items(&format!("/v1/files?sha256={digest}&access=read"));
    let input = node.scratch.join("input");
    assert!(
        read.iter()
            .any(|row| row["path"] == input.to_str().expect("text")
                && row["payloadSha256"] == statement["payloadSha256"]),
        "{read:?}"
    );
    let wrote = asked.items(&format!("/v1/files?sha256={digest}&access=write"));
    assert!(
        wrote.iter().all(|row| row["path"].as_str().expect("a path").ends_with("/output")) && !wrote.is_empty(),
        "{wrote:?}"
    );
    assert!(
        asked
            .items(&format!(
                "/v1/statements?subject={digest}&verdict={}",
                if statement["complete"] == true { "complete" } else { "incomplete" }
            ))
            .len()
            == 1
    );
    // Golden ones talked to this address.
    let talked = asked.items("/v1/contacts?peer=192.0.2.7");
    assert_eq!(
        talked.iter().map(|row| (&row["port"], &row["payloadSha256"])).collect::<Vec<_>>(),
        [(&443.into(), &lost.as_str().into())]
    );
    assert_eq!(asked.items("/v1/gaps?code=LOST_EVENTS").len(), 1);
    assert_eq!(asked.items(&format!("/v1/statements?spiffeId={NODE}&limit=1")).len(), 1);
    assert_eq!(asked.items("/v1/chains").len(), 2);
    assert_eq!(asked.items("/v1/hosts").len(), 2);
    assert_eq!(asked.items("/v1/images").len(), 0);
    // The command says the same, and so it does of an index that was made again.
    let command = asked.collector.lines(&["query", "--json", "files", &digest, "--access", "read"]);
    assert_eq!(command, read);
    let human = String::from_utf8(asked.collector.ask(&["query", "contacts", "192.0.2.7"]).stdout).expect("text");
    assert!(human.contains("192.0.2.7 port 443") && human.contains("INCOMPLETE"), "{human}");
    assert!(ended(&asked.collector.ask(&["reindex"]), 1).contains("another collector uses this store"));
    assert!(asked.collector.stop());
    assert!(ended(&asked.collector.ask(&["reindex"]), 0).is_empty());
    assert_eq!(asked.collector.lines(&["query", "--json", "files", &digest, "--access", "read"]), read);
    fs::remove_file(asked.collector.folder.join("state/index.db")).expect("removed");
    assert!(ended(&asked.collector.ask(&["query", "hosts"]), 1).contains("there is no index yet"));
    asked.collector.start();
    until("the index is made again", || Some(asked.items("/v1/statements")).filter(|found| found.len() == 2));
}

#[test]
fn who_may_ask_is_known_by_certificate_or_token_and_nobody_else_is_told_anything() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut asked = Asked::new(&node, "");
    joined(&mut asked, &mut node);
    let payload = put(&node, "complete");
    node.wait(|state| state["delivered"] == 1);
    until("it is in the index", || Some(asked.items("/v1/statements")).filter(|found| found.len() == 1));
    let folder = asked.collector.folder.path();
    let certificate = |who: &str, id: &str| {
        let _ = asked.collector.authority.tls(&folder, who, &names(id, ""));
        ["--cert", "--key"]
            .into_iter()
            .zip(["certificate", "key"])
            .flat_map(|(word, file)| {
                [word.to_owned(), folder.join(format!("{who}-{file}.pem")).to_str().expect("text").to_owned()]
            })
            .collect::<Vec<String>>()
    };
    let status =
        |path: &str, words: &[String]| asked.ask(path, &words.iter().map(String::as_str).collect::<Vec<_>>()).0;
    let token = |token: &str| vec!["-H".to_owned(), format!("Authorization: Bearer {token}")];
    let (auditor, node_too) = (certificate("auditor", "spiffe://example.org/auditor/one"), certificate("other", NODE));
    let envelope = format!("/v1/statements/{payload}/envelope");
    let [facts, statements, metrics] = asked.tokens.clone().map(|word| token(&word));
    for (words, wanted) in [
        (&auditor, [200, 403, 403]),
        (&node_too, [401, 401, 401]),
        (&facts, [200, 403, 403]),
        (&statements, [403, 200, 403]),
        (&metrics, [403, 403, 200]),
        (&token("wrong"), [401, 401, 401]),
        (&Vec::new(), [401, 401, 401]),
        // A certificate does not make a wrong token good.
        (&[auditor.clone(), token("wrong")].concat(), [401, 401, 401]),
    ] {
        let said = ["/v1/statements", &envelope, "/metrics"].map(|path| status(path, words));
        assert_eq!(said, wanted, "{words:?}");
    }
    // One that another authority made ends the handshake.
    let stranger = tests::collector::Authority::new();
    let _ = stranger.tls(&folder, "stranger", &names("spiffe://example.org/auditor/one", ""));
    let files = ["certificate", "key"]
        .map(|file| folder.join(format!("stranger-{file}.pem")).to_str().expect("text").to_owned());
    assert_eq!(asked.ask("/v1/statements", &["--cert", &files[0], "--key", &files[1]]).0, 0);
    let by = token(&asked.tokens[1]).pop().expect("a header");
    let (_, body) = asked.ask(&envelope, &["-H", &by]);
    assert_eq!(body.as_bytes(), fs::read(tests::root().join("tests/golden/v1/complete.intoto.jsonl")).expect("a file"));
    // The local page is on this host alone, and the configuration has no word of a token.
    assert!(asked.page().contains("testimony_collector_statements_total"));
    let configuration = fs::read_to_string(asked.collector.config()).expect("a file");
    assert!(asked.tokens.iter().all(|token| !configuration.contains(token)));
}

#[test]
fn who_asks_without_end_stops_nobody_who_is_kept() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut asked = Asked::new(&node, "");
    joined(&mut asked, &mut node);
    let (by, asked) = (format!("Authorization: Bearer {}", asked.tokens[0]), asked);
    let said = thread::scope(|scope| {
        let ask = || {
            (0..20)
                .map(|_| asked.ask("/v1/statements?limit=1000&verdict=incomplete", &["-H", &by]).0)
                .collect::<Vec<_>>()
        };
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        for name in ["complete", "dns", "unix", "acts"] {
            put(&node, name);
        }
        node.wait(|state| state["delivered"] == 4);
        asking.into_iter().flat_map(|asking| asking.join().expect("it asks")).collect::<Vec<_>>()
    });
    assert!(said.iter().all(|status| [200, 429].contains(status)) && said.contains(&200), "{said:?}");
    // What nobody could mean.
    let long = "x".repeat(20_000);
    for (path, words, wanted) in [
        (format!("/v1/statements?host={long}"), vec![], 400),
        ("/v1/statements?host=%27%20OR%201=1;--".to_owned(), vec![], 200),
        ("/v1/statements/..%2f..%2fcollector.db".to_owned(), vec![], 400),
        ("/v1/statements".to_owned(), vec!["-X", "DELETE"], 405),
        ("/v1/statements".to_owned(), vec!["-d", &long], 405),
    ] {
        let words = [&["-H", by.as_str()], &words[..]].concat();
        let status = asked.ask(&path, &words).0;
        // A body is not read: who sends one may be cut off before it has the answer.
        let cut = status == 0 && words.contains(&long.as_str());
        assert!(status == wanted || cut, "{}: {status}", &path[..60.min(path.len())]);
    }
    let head = format!("X: {}", "x".repeat(100_000));
    assert!([0, 400, 431].contains(&asked.ask("/v1/statements", &["-H", &by, "-H", &head]).0));
    assert_eq!(asked.items("/v1/statements?host=%27%20OR%201=1;--").len(), 0);
}
