//! Machines that a collector enrols, and whose quotes it demands then.

use std::fs;
use std::process::Output;

use serde_json::Value;
use tests::collector::Collector;
use tests::{Maker, Swtpm, ended};

use crate::node::{NODE, Node, here, kept, trust};

/// A node with a TPM, and a collector that knows its maker.
struct Bench {
    tpm: Swtpm,
    node: Node,
    collector: Collector,
}

impl Bench {
    fn new(enrolment: &str) -> Self {
        let (maker, node) = (Maker::new(), Node::new());
        let tpm = Swtpm::made_by(&maker);
        fs::write(node.scratch.join("makers"), maker.authorities()).expect("written");
        let enrolment = enrolment.replace("MAKERS", &format!("{:?}", node.scratch.join("makers")));
        let mut collector = Collector::new(&format!("{}{enrolment}", trust(&node)));
        node.join(&collector);
        collector.start();
        Self { tpm, node, collector }
    }

    fn join(&self, name: &str) -> Output {
        let words = ["enrol", "join", "--config", "agent.toml", "-o", name, "--tpm-state", "tpm", "--tpm"];
        self.node.testimony(&[&words[..], &[self.tpm.tcti().as_str()]].concat())
    }

    fn sealed(&self, name: &str) {
        let tcti = self.tpm.tcti();
        let words = ["run", "--key", "key", "--chain", "chain", "-o", name, "--config=agent.toml", "--seal-pcr", "12"];
        let tpm = ["--seals", "seals", "--tpm-state", "tpm", "--tpm", &tcti, "--", "true"];
        ended(&self.node.testimony(&[&words[..], &tpm].concat()), 0);
    }
}

#[test]
fn a_machine_is_enrolled_under_its_nodes_name_and_its_quotes_are_demanded() {
    if !here() {
        return;
    }
    let mut bench = Bench::new("quotes_required = true\n[enrolment]\nmakers = [MAKERS]\nbind_spiffe_id = false\n");
    ended(&bench.join("machine"), 0);
    let machine: Value =
        serde_json::from_slice(&fs::read(bench.node.scratch.join("machine")).expect("an enrolment")).expect("JSON");
    let machines = bench.collector.lines(&["machines"]);
    assert_eq!(machines, std::slice::from_ref(&machine));
    assert_eq!(
        (&machine["name"], &machine["spiffeId"], &machine["certified"]),
        (&NODE.into(), &Value::Null, &true.into()),
        "{machine}"
    );
    // One whose quote is the machine's, and one without.
    bench.sealed("sealed");
    bench.node.run("bare");
    bench.node.start();
    bench.node.wait(|state| state["delivered"] == 1 && state["refused"] == 1);
    assert_eq!(kept(&bench.collector), bench.node.payloads(&["sealed".to_owned()]));
    bench.node.wait_for_log("QUOTE_MISSING");
    // Put back, it is refused once more, and counted once.
    let said = bench.node.spool(&["retry", "--all"], 0);
    assert!(said.contains("1 wait to be sent again"), "{said}");
    bench.node.wait(|state| state["refused"] == 1 && state["refusedKept"] == 1);
    // It is known after a restart as well.
    bench.collector.kill();
    bench.collector.start();
    bench.sealed("again");
    bench.node.wait(|state| state["delivered"] == 2);
}

#[test]
fn a_quote_of_another_machine_or_under_another_signer_is_refused() {
    if !here() {
        return;
    }
    let mut bench = Bench::new("[enrolment]\nmakers = [MAKERS]\n");
    // Bound to who signs by its SVID; a key file is not that one.
    ended(&bench.join("machine"), 0);
    bench.sealed("other");
    bench.node.start();
    bench.node.wait(|state| state["deferred"] == 1);
    bench.node.wait_for_log("QUOTE_REFUSED");
    // Another TPM than the one that is enrolled.
    let mut stranger = Bench::new("[enrolment]\nmakers = [MAKERS]\nbind_spiffe_id = false\n");
    ended(&stranger.join("machine"), 0);
    stranger.tpm = Swtpm::start();
    let _ = fs::remove_dir_all(stranger.node.scratch.join("tpm"));
    stranger.sealed("other");
    stranger.node.start();
    stranger.node.wait(|state| state["deferred"] == 1);
    stranger.node.wait_for_log("QUOTE_REFUSED");
}

#[test]
fn machines_that_are_not_to_be_enrolled_are_not() {
    if !here() {
        return;
    }
    let none = Bench::new("");
    let said = ended(&none.join("machine"), 1);
    assert!(
        said.contains("this collector enrols no machines") && !none.node.scratch.join("machine").exists(),
        "{said}"
    );
    // Of another maker.
    let bench = Bench::new("[enrolment]\nmakers = [MAKERS]\n");
    let stranger = Bench { tpm: Swtpm::made_by(&Maker::new()), ..bench };
    let said = ended(&stranger.join("machine"), 1);
    assert!(said.contains("the collector did not enrol this machine"), "{said}");
    assert!(stranger.collector.lines(&["machines"]).is_empty());
    // Believed once, where that is so configured, and said.
    let first = Bench::new("[enrolment]\ntrust_on_first_use = true\n");
    ended(&first.join("machine"), 0);
    assert_eq!(first.collector.lines(&["machines"])[0]["certified"], false);
    // Nobody there.
    let mut gone = Bench::new("");
    gone.collector.kill();
    assert!(ended(&gone.join("machine"), 1).contains("the collector did not enrol this machine"));
}
