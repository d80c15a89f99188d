//! What is refused, for now or for good: nothing behind it waits for it, and it comes when the collector has learnt better.

use std::fs;

use tests::ended;

use crate::node::{Node, here, kept, trust};

#[test]
fn what_is_not_trusted_yet_is_kept_holds_up_nobody_and_is_taken_when_the_trust_changed() {
    if !here() {
        return;
    }
    let (mut node, stranger) = (Node::new(), Node::new());
    ended(&node.testimony(&["keygen", "-o", "other"]), 0);
    // The key file that is trusted, which changes below.
    let key = node.scratch.join("trusted.pub");
    fs::copy(stranger.scratch.join("key.pub"), &key).expect("copied");
    let own = format!("{:?}, {key:?}", node.scratch.join("key.pub"));
    let trust = trust(&node).replace(&format!("{:?}", node.scratch.join("key.pub")), &own);
    let mut collector = tests::collector::Collector::new(&format!("{trust}reread = \"1s\"\n"));
    node.join(&collector);
    let words = ["run", "--key", "other", "--chain", "chain", "-o", "one", "--config=agent.toml", "--", "true"];
    ended(&node.testimony(&words), 0);
    node.run("two");
    collector.start();
    node.start();
    node.wait(|state| state["deferred"] == 1 && state["delivered"] == 1 && state["waiting"] == 1);
    node.wait_for_log("the collector refuses statement 1 for now: ");
    let shown = |what: &str| node.spool(&[what], 0);
    let deferred = shown("deferred");
    assert!(deferred.contains("one.intoto.jsonl") && deferred.contains("SIGNATURE_INVALID"), "{deferred}");
    assert!(shown("state").contains("1 of them the collector does not take for now"), "{}", shown("state"));
    // A file that is none leaves what was read before, and is said.
    fs::write(&key, "no key").expect("written");
    collector.until_it_says("what is trusted stays as it was read before: --key");
    node.run("three");
    node.wait(|state| state["delivered"] == 2);
    fs::copy(node.scratch.join("other.pub"), &key).expect("copied");
    collector.until_it_says("what is trusted was read anew");
    let said = node.spool(&["retry", "1"], 0);
    assert!(said.contains("1 wait to be sent again"), "{said}");
    node.wait(|state| state["delivered"] == 3 && state["waiting"] == 0 && state["refused"] == 0);
    assert_eq!(kept(&collector).len(), 3);
    // Nothing of that is there to be put back.
    let said = node.spool(&["retry", "1"], 1);
    assert!(said.contains("no item 1 of the spool was refused or put off"), "{said}");
}
