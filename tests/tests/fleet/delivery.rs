//! Statements wait in the spool, are delivered, verified again and receipted, whatever is killed on the way; and what is not taken,
//! from whom.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rcgen::SanType;
use serde_json::Value;
use tests::collector::{Authority, names};
use tests::{binary, ended, tool, verifier};

use crate::node::{NODE, Node, collector, here, kept};

#[test]
fn what_waited_is_delivered_in_order_and_receipted_and_the_receipt_is_good_offline() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = collector(&node);
    node.join(&collector);
    let all: Vec<String> = (0..4).map(|number| format!("run{number}")).collect();
    all.iter().for_each(|name| drop(node.run(name)));
    assert_eq!(node.state()["waiting"], 4);
    collector.start();
    node.start();
    node.wait(|state| state["delivered"] == 4 && state["waiting"] == 0);
    assert_eq!(kept(&collector), node.payloads(&all));
    let listed = collector.lines(&["statements", "--from", "3"]);
    assert_eq!((listed.len(), &listed[0]["place"], &listed[0]["peer"]), (1, &Value::from(3), &Value::from(NODE)));
    let chains = collector.lines(&["chains"]);
    assert_eq!(
        (chains.len(), &chains[0]["statements"], &chains[0]["first"], &chains[0]["last"]),
        (1, &Value::from(4), &Value::from(1), &Value::from(4))
    );
    assert_eq!(
        (&chains[0]["missing"], &chains[0]["contradicts"]),
        (&Value::from(Vec::<u8>::new()), &Value::from(Vec::<u8>::new()))
    );
    // Everything off: the receipt and the log's key say when it was signed.
    node.kill();
    collector.kill();
    for name in &all {
        let statement = format!("{name}.intoto.jsonl");
        let receipt = node.testimony(&["spool", "receipt", "--config", "agent.toml", &statement]);
        assert!(receipt.status.success(), "{}", String::from_utf8_lossy(&receipt.stderr));
        fs::write(node.scratch.join("receipt"), receipt.stdout).expect("written");
        let check = |statement: &str| {
            let verify = ["--json", "--key", "key.pub", "--log-key", "log.vkey", "--receipt", "receipt", statement];
            let said =
                Command::new(verifier()).args(verify).current_dir(node.scratch.path()).output().expect("it runs");
            let verdict: Value = serde_json::from_slice(&said.stdout).expect("JSON");
            tests::check(&verdict, "time").expect("the check").0
        };
        assert_eq!(check(&statement), "proven");
        // Another one's receipt says nothing of it.
        let other = if name == "run0" { "run1.intoto.jsonl" } else { "run0.intoto.jsonl" };
        assert_ne!(check(other), "proven");
    }
}

#[test]
fn another_programs_word_on_receipts_and_on_a_log_that_only_grows() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = collector(&node);
    node.join(&collector);
    collector.start();
    node.start();
    let file = |name: &str, words: &[&str]| {
        let said = collector.ask(words);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        fs::write(node.scratch.join(name), said.stdout).expect("written");
    };
    let tlog = |words: &[&str]| {
        Command::new(tool("tlog/bin/tlog")).args(words).current_dir(node.scratch.path()).output().expect("it runs")
    };
    let mut receipts = Vec::new();
    for number in 1..=5 {
        let name = format!("run{number}");
        node.run(&name);
        node.wait(|state| state["delivered"] == number);
        file(&format!("checkpoint{number}"), &["checkpoint"]);
        let receipt = node.testimony(&["spool", "receipt", "--config", "agent.toml", &format!("{name}.intoto.jsonl")]);
        fs::write(node.scratch.join("receipt"), &receipt.stdout).expect("written");
        let said = tlog(&["receipt", "log.vkey", "receipt"]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let payload = node.payloads(&[name]).remove(0);
        assert!(String::from_utf8_lossy(&said.stdout).contains(&format!("payload sha256:{payload}\n")));
        receipts.push(receipt.stdout);
    }
    for (old, new) in [(1, 5), (2, 3), (3, 5), (4, 4)] {
        file("proof", &["consistency", &old.to_string(), &new.to_string()]);
        let names = [format!("checkpoint{old}"), format!("checkpoint{new}")];
        let said = tlog(&["consistency", "log.vkey", &names[0], &names[1], "proof"]);
        assert_eq!(
            String::from_utf8_lossy(&said.stdout),
            format!("{old} {new}\n"),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
    // Both programs refuse what was changed.
    let text = String::from_utf8(receipts.swap_remove(2)).expect("text");
    for (from, to) in [("index 2", "index 1"), ("\n3\n", "\n4\n"), ("extra dGV", "extra dGW")] {
        assert!(text.contains(from), "{from}: {text}");
        fs::write(node.scratch.join("receipt"), text.replacen(from, to, 1)).expect("written");
        assert!(!tlog(&["receipt", "log.vkey", "receipt"]).status.success(), "{from}");
    }
    assert!(!collector.ask(&["consistency", "3", "6"]).status.success());
    assert!(!collector.ask(&["consistency", "4", "3"]).status.success());
}

#[test]
fn whoever_is_killed_the_accounts_agree_in_the_end() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = collector(&node);
    node.join(&collector);
    let mut all = Vec::new();
    for round in 0..6 {
        if round % 3 != 1 {
            collector.start();
        }
        if round % 3 != 2 {
            node.start();
        }
        for number in 0..2 {
            let name = format!("run{round}{number}");
            node.run(&name);
            all.push(name);
        }
        sleep(Duration::from_millis(200 * round));
        node.kill();
        collector.kill();
    }
    collector.start();
    node.start();
    node.wait(|state| state["delivered"] == all.len() && state["waiting"] == 0);
    assert_eq!(kept(&collector), node.payloads(&all));
    assert_eq!(node.state()["put"], all.len());
    let chains = collector.lines(&["chains"]);
    assert_eq!(chains[0]["missing"], Value::from(Vec::<u8>::new()), "{chains:?}");
    // Told to stop, both do, the collector while the node's stream is open, and with all that it had.
    assert!(collector.stop());
    collector.start();
    assert_eq!(kept(&collector).len(), all.len());
    let mut agent = node.agent.take().expect("an agent");
    ended(&Command::new("kill").arg(agent.id().to_string()).output().expect("kill runs"), 0);
    assert!(agent.wait().expect("it ends").success());
}

#[test]
fn nobody_sends_to_a_collector_or_is_one_without_the_right_certificate() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = collector(&node);
    node.join(&collector);
    collector.start();
    node.run("one");
    let ours = "spiffe_id = \"spiffe://example.org/collector\"\n";
    let mut attempt = |authority: &Authority, san: &[SanType], expected: &str, says: &str| {
        let tls = authority.tls(&node.scratch.path(), "node", san);
        node.configure(collector.port, &tls, expected);
        let _ = fs::remove_file(node.scratch.join("log"));
        node.start();
        node.wait_for_log(says);
        sleep(Duration::from_millis(300));
        assert_eq!(node.state()["delivered"], 0, "{says}");
        node.kill();
    };
    let waits = "statements wait in the spool";
    attempt(&collector.authority, &names("spiffe://example.org/other", ""), ours, waits);
    attempt(&collector.authority, &names("", "node.example.org"), ours, waits);
    attempt(&Authority::new(), &names(NODE, ""), ours, waits);
    attempt(&collector.authority, &names(NODE, ""), "spiffe_id = \"spiffe://example.org/another\"\n", waits);
    attempt(&collector.authority, &names(NODE, ""), "name = \"another.example.org\"\n", waits);
    assert_eq!(kept(&collector), Vec::<String>::new());
    // By its name it is known as well.
    let tls = collector.authority.tls(&node.scratch.path(), "node", &names(NODE, ""));
    node.configure(collector.port, &tls, "");
    node.start();
    node.wait(|state| state["delivered"] == 1);
}

#[test]
fn another_logs_receipt_is_none_and_nothing_leaves_the_spool_for_it() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = collector(&node);
    node.join(&collector);
    let other = crate::node::collector(&node);
    fs::write(node.scratch.join("log.vkey"), other.ask(&["make-log-key"]).stdout).expect("written");
    collector.start();
    node.run("one");
    node.start();
    node.wait_for_log("receipt for statement 1 does not hold");
    assert_eq!((&node.state()["waiting"], &node.state()["delivered"]), (&Value::from(1), &Value::from(0)));
    node.kill();
    // With the right key it was there already.
    fs::write(node.scratch.join("log.vkey"), collector.ask(&["log-key"]).stdout).expect("written");
    node.start();
    node.wait(|state| state["delivered"] == 1);
    assert_eq!(kept(&collector).len(), 1);
}

#[test]
fn what_was_dropped_is_said_by_the_next_statement() {
    if !here() {
        return;
    }
    let node = Node::new();
    let collector = collector(&node);
    node.join(&collector);
    node.run("one");
    // Of an age at which the next one drops it.
    let config = fs::read_to_string(node.scratch.join("agent.toml")).expect("a configuration");
    let config = config.replace("[collector]", "age_max = \"8s\"\n[collector]");
    fs::write(node.scratch.join("agent.toml"), config).expect("written");
    sleep(Duration::from_millis(9100));
    node.run("two");
    let state = node.state();
    assert_eq!((&state["dropped"], &state["waiting"]), (&Value::from(1), &Value::from(1)));
    node.run("three");
    node.run("four");
    let says = |name: &str| {
        let shown = node.testimony(&["show", "--gaps", name]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        shown.contains("STATEMENTS_DROPPED") && shown.contains("1 for their age") && shown.contains("1 of spool")
    };
    assert_eq!(["one", "two", "three", "four"].map(says), [false, false, true, false]);
}

#[test]
fn a_service_manager_is_told_that_the_agent_is_ready_lives_and_stops() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    node.join(&collector(&node));
    let manager = UnixDatagram::bind(node.scratch.join("notify")).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    let said = || {
        let mut message = [0; 4096];
        let bytes = manager.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..bytes]).trim_end().to_owned()
    };
    let mut agent = Command::new(binary());
    agent.args(["agent", "--config", "agent.toml"]).current_dir(node.scratch.path()).stderr(Stdio::null());
    agent.env("NOTIFY_SOCKET", node.scratch.join("notify")).env("WATCHDOG_USEC", "200000");
    node.agent = Some(agent.spawn().expect("it starts"));
    assert_eq!([said(), said(), said()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    let mut agent = node.agent.take().expect("an agent");
    ended(&Command::new("kill").arg(agent.id().to_string()).output().expect("kill runs"), 0);
    let last = std::iter::repeat_with(said).find(|message| message != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    assert!(agent.wait().expect("it ends").success());
}

#[test]
fn who_signs_is_chosen_in_the_configuration_unless_it_is_said() {
    if !here() {
        return;
    }
    let node = Node::new();
    node.join(&collector(&node));
    ended(&node.testimony(&["keygen", "-o", "other"]), 0);
    let config = fs::read_to_string(node.scratch.join("agent.toml")).expect("a configuration");
    let sign = format!("[sign]\nsigners = [\"key:{}\"]\n", node.scratch.join("other").display());
    fs::write(node.scratch.join("agent.toml"), sign + &config).expect("written");
    let run = |name: &str, key: &[&str]| {
        let words =
            [&["run", "--config=agent.toml", "--chain", "chain", "-o", name][..], key, &["--", "true"]].concat();
        ended(&node.testimony(&words), 0)
    };
    run("configured", &[]);
    run("said", &["--key", "key"]);
    let by = |key: &str, name: &str| {
        let verify = ["--key", key, &format!("{name}.intoto.jsonl")].map(str::to_owned);
        Command::new(verifier()).args(verify).current_dir(node.scratch.path()).output().expect("it runs").status.code()
    };
    assert_eq!((by("other.pub", "configured"), by("key.pub", "configured")), (Some(0), Some(1)));
    assert_eq!((by("other.pub", "said"), by("key.pub", "said")), (Some(1), Some(0)));
}

#[test]
fn all_faults_of_a_configuration_are_said_at_once_and_nothing_starts() {
    if !here() {
        return;
    }
    let node = Node::new();
    fs::write(node.scratch.join("agent.toml"), "[spool]\nfolder = \"here\"\nbytes = 3\n[collector]\nport = 0\n")
        .expect("written");
    for words in [&["check-config", "agent.toml"][..], &["agent", "--config", "agent.toml"]] {
        let said = ended(&node.testimony(words), 1);
        for wanted in [
            "agent.toml:2: spool.folder",
            "agent.toml:3: spool.bytes",
            "collector.host",
            "agent.toml:5: collector.port",
        ] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
    }
    let collector = collector(&node);
    assert!(collector.ask(&["check-config"]).status.success());
    let said =
        ended(&Command::new(tests::collector::program()).args(["--config", "nowhere"]).output().expect("it runs"), 1);
    assert!(said.contains("nowhere"), "{said}");
}

#[test]
fn a_log_whose_key_is_lost_does_not_go_on_under_another() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = collector(&node);
    node.join(&collector);
    collector.start();
    node.run("one");
    node.start();
    node.wait(|state| state["delivered"] == 1);
    collector.kill();
    fs::remove_file(collector.folder.join("state/log.key")).expect("removed");
    let said = ended(&collector.ask(&[]), 1);
    assert!(said.contains("the log's key is missing"), "{said}");
    assert!(!collector.folder.join("state/log.key").exists());
}
