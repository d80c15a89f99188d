//! SPIRE, a collector and two nodes, each in a network of its own: links are cut, each part is killed in turn, and in the end the
//! collector's account of statements is that of the nodes.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tests::collector::{Collector, NOBODY};
use tests::{Network, Spire};

use crate::node::{Node, here, kept};

const AGENT: &str = "spiffe://example.org/testimony/agent";
const COLLECTOR: &str = "spiffe://example.org/testimony/collector";
/// How long something stays as it was made.
const A_WHILE: Duration = Duration::from_millis(700);

/// All parts, and what the nodes swore to so far.
struct Fleet {
    spire: Spire,
    network: Arc<Network>,
    collector: Collector,
    nodes: [Node; 2],
    sworn: [Vec<String>; 2],
}

impl Fleet {
    fn new() -> Self {
        let spire = Spire::start("1h");
        spire.register(AGENT);
        spire.register_user(COLLECTOR, NOBODY);
        let mut nodes = [Node::new(), Node::new()];
        let keys = nodes.each_ref().map(|node| node.scratch.join("key.pub"));
        let trust = format!("[peers]\nspiffe_ids = [{AGENT:?}]\n[trust]\nkeys = {keys:?}\n");
        let network = Arc::new(Network::new());
        let collector = Collector::by_spire_in(&network, spire.socket(), &trust);
        let tls = format!("[tls]\nworkload_api = \"unix:{}\"\n", spire.socket().display());
        for (node, number) in nodes.iter_mut().zip(0..) {
            let own = Network::new();
            network.link(&own, number);
            node.network = Some(own);
            let expected = format!("spiffe_id = {COLLECTOR:?}\n");
            node.configure_for(&format!("10.77.{number}.1"), collector.port, &tls, &expected);
        }
        Self { spire, network, collector, nodes, sworn: [Vec::new(), Vec::new()] }
    }

    /// Each node swears to one more, whatever else is the matter.
    fn swear(&mut self) {
        for (node, sworn) in self.nodes.iter().zip(&mut self.sworn) {
            let name = format!("run{}", sworn.len());
            node.run(&name);
            sworn.push(name);
        }
        sleep(A_WHILE);
    }

    /// The one node has delivered all, the other is behind.
    fn is_behind(&self, which: usize) {
        let other = 1 - which;
        self.nodes[other].wait(|state| state["delivered"] == self.sworn[other].len());
        let state = self.nodes[which].state();
        assert!(state["waiting"].as_u64() >= Some(1), "{state}");
    }

    fn all_delivered(&self) {
        for (node, sworn) in self.nodes.iter().zip(&self.sworn) {
            node.wait(|state| {
                state["delivered"] == sworn.len() && state["put"] == sworn.len() && state["waiting"] == 0
            });
        }
    }
}

#[test]
fn cut_off_and_killed_in_turn_the_accounts_agree_in_the_end() {
    if !here() {
        return;
    }
    let mut fleet = Fleet::new();
    fleet.collector.start();
    fleet.nodes.iter_mut().for_each(Node::start);
    fleet.swear();
    fleet.all_delivered();
    for which in [0, 1] {
        let link = u8::try_from(which).expect("a number");
        fleet.network.cut(link);
        fleet.swear();
        fleet.is_behind(which);
        // The collector does not live through it; who is cut off neither.
        fleet.collector.kill();
        fleet.nodes[which].kill();
        fleet.swear();
        fleet.collector.start();
        fleet.nodes[which].start();
        fleet.swear();
        fleet.is_behind(which);
        fleet.network.mend(link);
        fleet.all_delivered();
    }
    // Nobody says who is who; connections that stand go on, and those that are made anew wait.
    fleet.spire.stop_agent();
    fleet.swear();
    fleet.collector.kill();
    fleet.nodes.iter_mut().for_each(Node::kill);
    fleet.swear();
    fleet.nodes.iter_mut().for_each(Node::start);
    fleet.spire.start_agent(None);
    fleet.collector.start();
    fleet.swear();
    fleet.all_delivered();
    let account = kept(&fleet.collector);
    for (node, sworn) in fleet.nodes.iter().zip(&fleet.sworn) {
        let own = node.payloads(sworn);
        let kept: Vec<&String> = account.iter().filter(|payload| own.contains(payload)).collect();
        assert_eq!(kept, own.iter().collect::<Vec<_>>(), "each once, in its order");
    }
    assert_eq!(account.len(), fleet.sworn.iter().map(Vec::len).sum::<usize>());
    for chain in fleet.collector.lines(&["chains"]) {
        let none = Value::from(Vec::<u8>::new());
        assert_eq!((&chain["missing"], &chain["contradicts"]), (&none, &none), "{chain}");
    }
}
