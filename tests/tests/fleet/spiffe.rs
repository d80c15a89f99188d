//! Two nodes' statements by SPIRE's identities, from the signature to the connection, to a collector without any rights.

use std::process::Command;

use serde_json::Value;
use tests::collector::{Collector, NOBODY};
use tests::{Spire, binary, ended};

use crate::node::{Node, here, kept};

const AGENT: &str = "spiffe://example.org/testimony/agent";
const COLLECTOR: &str = "spiffe://example.org/testimony/collector";

#[test]
fn identities_of_spire_sign_connect_and_are_held_by_a_collector_without_rights() {
    if !here() {
        return;
    }
    let mut spire = Spire::start("1h");
    spire.register(AGENT);
    spire.register_user(COLLECTOR, NOBODY);
    let mut nodes = [Node::new(), Node::new()];
    let trust = format!("[peers]\nspiffe_ids = [{AGENT:?}]\n[trust]\nworkload_api = true\nspiffe_ids = [{AGENT:?}]\n");
    let mut collector = Collector::by_spire(spire.socket(), &trust);
    collector.start();
    let (api, expected) = (format!("unix:{}", spire.socket().display()), format!("spiffe_id = {COLLECTOR:?}\n"));
    let run = |node: &Node, name: &str| {
        let mut run = Command::new(binary());
        run.args(["run", "--signer", "spiffe", "--chain", "chain", "-o", name, "--config=agent.toml", "--", "true"]);
        run.env("SPIFFE_ENDPOINT_SOCKET", &api).current_dir(node.scratch.path());
        ended(&run.output().expect("testimony runs"), 0);
    };
    for node in &mut nodes {
        node.configure(collector.port, &format!("[tls]\nworkload_api = {api:?}\n"), &expected);
        run(node, "one");
        node.start();
        node.wait(|state| state["delivered"] == 1);
    }
    // Another authority, which the collector hears of as it goes on.
    spire.rotate_authority();
    spire.rotate(AGENT);
    for node in &nodes {
        run(node, "four");
        node.wait(|state| state["delivered"] == 2);
    }
    // Rotated, and gone: connections that stand go on, and what was signed before is delivered.
    spire.rotate(AGENT);
    for node in &nodes {
        run(node, "two");
        node.wait(|state| state["delivered"] == 3);
    }
    nodes.iter().for_each(|node| run(node, "three"));
    spire.stop_agent();
    collector.kill();
    spire.start_agent(None);
    collector.start();
    for node in &nodes {
        node.wait(|state| state["delivered"] == 4 && state["put"] == 4);
    }
    assert_eq!(kept(&collector).len(), 8);
    for line in collector.lines(&["statements"]) {
        assert_eq!((&line["peer"], &line["signer"]), (&Value::from(AGENT), &Value::from(AGENT)));
    }
}
