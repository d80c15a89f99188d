//! Alerts of a real collector: told within ten seconds, once, and neither lost nor repeated in silence by a restart.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{binary, ended};

use crate::asking::{Asked, Webhook, joined, lines, put, until};
use crate::node::{NODE, Node, here};

/// How long an alert may take.
const LATE: Duration = Duration::from_secs(10);

fn of<'a>(lines: &'a [Value], code: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["code"] == code).collect()
}

#[test]
fn what_is_wrong_is_told_within_ten_seconds_by_each_way_once() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let (mut webhook, section) = Webhook::new(node.scratch.path());
    let syslog = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    syslog.set_read_timeout(Some(LATE)).expect("a limit");
    let file = node.scratch.join("alerts");
    let more = format!(
        "[alerts]\nperiod = \"1h\"\nsilent_after = \"20s\"\nfile = {file:?}\n{section}[alerts.syslog]\nudp = \"{}\"\n",
        syslog.local_addr().expect("an address")
    );
    let mut asked = Asked::new(&node, &more);
    webhook.start();
    joined(&mut asked, &mut node);
    let told = |code: &str| until(code, || of(&lines(&file), code).first().map(|line| (*line).clone()));
    // Of statements that are kept.
    let began = Instant::now();
    let lost = put(&node, "lost-events");
    let alert = told("LOST_EVENTS");
    assert!(began.elapsed() < LATE);
    assert_eq!(
        (&alert["count"], &alert["payloadSha256"], &alert["peer"]),
        (&3.into(), &lost.as_str().into(), &NODE.into())
    );
    assert_eq!(told("INCOMPLETE")["host"], alert["host"]);
    // Another one with the same number, of the same signer, host and boot.
    put(&node, "dns");
    assert_eq!(told("CHAIN_FORKED")["host"], alert["host"]);
    // A number that is not sent.
    node.run("one");
    ended(&node.testimony(&["run", "--key", "key", "--chain", "chain", "-o", "two", "--", "true"]), 0);
    node.run("three");
    node.wait(|state| state["delivered"] == 4);
    let began = Instant::now();
    let missing = told("STATEMENTS_MISSING");
    assert!(began.elapsed() < LATE && missing["says"].as_str().expect("words").contains("numbers 2 to 2"), "{missing}");
    // What is refused, again and again.
    ended(&node.testimony(&["keygen", "-o", "other"]), 0);
    let began = Instant::now();
    for name in ["bad1", "bad2", "bad3"] {
        let words =
            ["run", "--key", "other", "--chain", "other-chain", "-o", name, "--config=agent.toml", "--", "true"];
        ended(&node.testimony(&words), 0);
    }
    node.wait(|state| state["deferred"] == 3);
    let refused = told("SIGNATURE_INVALID");
    assert!(began.elapsed() < LATE + Duration::from_secs(10));
    assert!(
        refused["session"].is_string() && refused["payloadSha256"].is_string() && refused["host"].is_null(),
        "{refused}"
    );
    assert_eq!(of(&lines(&file), "SIGNATURE_INVALID").len(), 1);
    // Nothing of the golden host since.
    told("HOST_SILENT");
    let wanted = lines(&file).len();
    until("the webhook has them all", || (webhook.told().len() >= wanted).then_some(()));
    assert_eq!((webhook.shown().as_str(), &webhook.told()[..wanted]), ("Bearer open", &lines(&file)[..wanted]));
    let mut bytes = [0; 4096];
    let count = syslog.recv(&mut bytes).expect("a message");
    let message = String::from_utf8_lossy(&bytes[..count]).into_owned();
    assert!(message.starts_with("<116>1 20") && message.contains(" LOST_EVENTS [testimony@"), "{message}");
    let ids: Vec<u64> = lines(&file).iter().map(|line| line["id"].as_u64().expect("a number")).collect();
    assert!(ids.is_sorted_by(|left, right| left + 1 == *right), "{ids:?}");
    // By the API, the newest first, and each code is explained.
    assert_eq!(
        asked.items("/v1/alerts?limit=1000").iter().rev().take(wanted).collect::<Vec<_>>(),
        lines(&file).iter().take(wanted).collect::<Vec<_>>()
    );
    for line in lines(&file) {
        assert!(attestation::codes::find(line["code"].as_str().expect("a code")).is_some(), "{line}");
    }
    assert!(binary().is_file());
}

#[test]
fn a_receiver_that_hangs_is_in_nobodys_way_and_a_restart_loses_and_repeats_nothing_in_silence() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let (mut webhook, section) = Webhook::new(node.scratch.path());
    let file = node.scratch.join("alerts");
    let mut asked = Asked::new(&node, &format!("[alerts]\nfile = {file:?}\n{section}"));
    webhook.hang(true);
    webhook.start();
    joined(&mut asked, &mut node);
    put(&node, "lost-events");
    let codes = |lines: &[Value]| {
        lines.iter().map(|line| line["code"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    // The file has them, while the webhook says nothing; and nodes are answered.
    until("the file has both", || (lines(&file).len() == 2).then_some(()));
    put(&node, "complete");
    node.wait(|state| state["delivered"] == 2);
    until("the fork", || codes(&lines(&file)).contains(&"CHAIN_FORKED".to_owned()).then_some(()));
    // Killed while the webhook has the first one.
    asked.collector.kill();
    webhook.hang(false);
    asked.collector.start();
    until("it is said that it was killed", || {
        codes(&lines(&file)).contains(&"COLLECTOR_KILLED".to_owned()).then_some(())
    });
    let wanted = lines(&file);
    let last = |lines: &[Value]| lines.last().and_then(|line| line["id"].as_u64()).unwrap_or_default();
    until("the webhook has them all", || (last(&webhook.told()) >= last(&wanted)).then_some(()));
    let (all, told) = (lines(&file), webhook.told());
    // The file has each: once, or again with a word if the kill came between writing and noting it.
    let ids = |repeated: bool| {
        let of = all.iter().filter(move |line| (line["repeated"] == true) == repeated);
        of.map(|line| line["id"].as_u64().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(ids(false), (1..=last(&all)).collect::<Vec<_>>(), "{all:?}");
    assert!(ids(true).len() <= 1, "{all:?}");
    // What it may have had before says so, and nothing is told twice without that.
    let first: Vec<&Value> = told.iter().filter(|line| line["id"] == 1).collect();
    assert!(first.iter().any(|line| line["repeated"] == true), "{told:?}");
    assert!(told.iter().filter(|line| line["id"] != 1).all(|line| line["repeated"].is_null()), "{told:?}");
    // Stopped in order, there is nothing to be said, and nothing again.
    let before = lines(&file).len();
    assert!(asked.collector.stop());
    asked.collector.start();
    put(&node, "unix");
    node.wait(|state| state["delivered"] == 3);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(lines(&file).len(), before, "{:?}", lines(&file));
}

#[test]
fn what_alerts_cannot_be_told_by_is_said_before_anything_starts() {
    if !here() {
        return;
    }
    let node = Node::new();
    for (more, says) in [
        ("[alerts]\nfile = \"here\"\n", "alerts.file"),
        ("[alerts.webhook]\nurl = \"http://localhost/\"\n", "alerts.webhook.url"),
        (
            "[alerts.webhook]\nurl = \"https://localhost/\"\nauthorities = \"nowhere\"\n",
            "[alerts.webhook] authorities: nowhere",
        ),
        ("[alerts.syslog]\nudp = \"here\"\n", "alerts.syslog.udp"),
        ("[alerts]\nperiods = 1\n", "alerts.periods"),
    ] {
        let asked = Asked::new(&node, more);
        let said = ended(&asked.collector.ask(&["check-config"]), 1);
        assert!(said.contains(says), "{says}: {said}");
    }
}
