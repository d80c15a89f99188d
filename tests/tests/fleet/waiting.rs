//! Statements that nobody can sign when their runs end: they wait, and are signed in order when their signer is back.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tests::collector::Collector;
use tests::workload_api::{self, Answer, WorkloadApi};
use tests::{Spire, binary, ended, verifier};

use crate::node::{Node, here, kept};

pub(crate) const ID: &str = "spiffe://example.org/ci/builder";
/// gRPC's PERMISSION_DENIED: what was given is taken back.
const TAKEN_BACK: u32 = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// A node whose statements are signed as SPIFFE has it, and its collector.
pub(crate) struct Bench {
    pub(crate) node: Node,
    pub(crate) collector: Collector,
}

impl Bench {
    /// `more` stands in the node's configuration.
    pub(crate) fn new(socket: &Path, bundle: &str, more: &str) -> Self {
        let node = Node::new();
        fs::write(node.scratch.join("bundle.pem"), bundle).expect("written");
        let trust = format!(
            "[peers]\nspiffe_ids = [\"spiffe://example.org/node/*\"]\n[trust]\nkeys = [{:?}]\n\
             trust_bundles = [\"example.org={}\"]\nspiffe_ids = [{ID:?}]\n",
            node.scratch.join("key.pub"),
            node.scratch.join("bundle.pem").display()
        );
        let collector = Collector::new(&trust);
        node.join(&collector);
        let config = fs::read_to_string(node.scratch.join("agent.toml")).expect("a configuration");
        let sign = format!("[sign]\nsigners = [\"spiffe:{}\"]\n", socket.display());
        let more = more.replace("KEY", &node.scratch.join("key").display().to_string());
        fs::write(node.scratch.join("agent.toml"), format!("{sign}{more}{config}")).expect("written");
        Self { node, collector }
    }

    fn command(&self, name: &str, command: &[&str]) -> Command {
        let mut run = Command::new(binary());
        run.args(["run", "--svid-wait", "1", "--trust-bundles", "kept", "--chain", "chain", "--json", "-o", name]);
        run.arg("--config=agent.toml").arg("--").args(command).current_dir(self.node.scratch.path());
        run
    }

    fn run(&self, name: &str) -> Output {
        self.command(name, &["true"]).output().expect("testimony runs")
    }

    /// One that ends 121, and what it says of its statement.
    fn waits(&self, name: &str) -> Value {
        let said = ended(&self.run(name), 121);
        assert!(!self.node.scratch.join(format!("{name}.intoto.jsonl")).exists(), "{said}");
        last_json(&said)["waits"].clone()
    }

    /// One that runs until it is told to end.
    fn until_told(&self, name: &str) -> Child {
        let script = "touch begun; until [ -e end ]; do sleep 0.05; done";
        let run = self.command(name, &["sh", "-c", script]).stderr(Stdio::piped()).spawn().expect("testimony runs");
        let began = Instant::now();
        while !self.node.scratch.join("begun").exists() {
            assert!(began.elapsed() < PATIENCE, "{name} never began");
            sleep(Duration::from_millis(10));
        }
        run
    }

    fn end(&self, run: Child) -> Output {
        fs::write(self.node.scratch.join("end"), "").expect("written");
        run.wait_with_output().expect("it ends")
    }

    /// What the verifier says of one chain: each statement is good, and the last line is of all of them.
    fn verify(&self, names: &[String]) -> (String, String) {
        let mut verify = Command::new(verifier());
        verify.args(["--json", "--trust-bundle", "example.org=bundle.pem", "--spiffe-id", ID]);
        verify.args(names.iter().map(|name| format!("{name}.intoto.jsonl"))).current_dir(self.node.scratch.path());
        let said = verify.output().expect("the verifier runs");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let verdicts: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let (last, each) = verdicts.split_last().expect("verdicts");
        assert_eq!(each.len(), names.len());
        assert!(each.iter().all(|verdict| verdict["exitCode"] == 0), "{said}");
        let check = &last["checks"][0];
        (check["outcome"].as_str().unwrap_or_default().to_owned(), check["says"].to_string())
    }

    /// What a statement says of its session.
    fn session(&self, name: &str) -> Value {
        let envelope = fs::read(self.node.scratch.join(format!("{name}.intoto.jsonl"))).expect("a statement");
        let envelope: Value = serde_json::from_slice(&envelope).expect("an envelope");
        let payload = envelope["payload"].as_str().map(|text| STANDARD.decode(text).expect("base64"));
        let statement: Value = serde_json::from_slice(&payload.expect("a payload")).expect("a statement");
        statement["predicate"]["testimony"]["session"].clone()
    }

    fn gaps(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.node.testimony(&["show", "--gaps", name]).stdout).into_owned()
    }
}

fn last_json(said: &str) -> Value {
    let line = said.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{said}"));
    serde_json::from_str(line).expect("JSON")
}

fn names(of: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{of}{number}")).collect()
}

#[test]
fn what_ends_while_spire_is_gone_is_signed_in_order_when_it_is_back() {
    if !here() {
        return;
    }
    let mut spire = Spire::start("1h");
    spire.register(ID);
    let mut bench = Bench::new(&spire.socket(), &spire.bundle("pem"), "");
    bench.collector.start();
    bench.node.start();
    ended(&bench.run("one"), 0);
    // Its identity is taken back while it runs; the others find nobody at all.
    let across = bench.until_told("across");
    spire.withdraw(ID);
    let said = ended(&bench.end(across), 121);
    let waits = &last_json(&said)["waits"];
    assert_eq!((&waits["number"], &waits["signers"]), (&Value::from(1), &serde_json::json!([ID])), "{said}");
    spire.stop_agent();
    for (name, number) in names("gone", 3).iter().zip(2..) {
        assert_eq!(bench.waits(name)["number"], number);
    }
    let state = bench.node.state();
    assert!(state["unsigned"] == 4 && state["unsignedSince"].is_string() && state["put"] == 1, "{state}");
    let doctor = bench.node.testimony(&["doctor", "--json", "--key", "key", "--config", "agent.toml"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("4 of 1000 wait for their signer, since 20"), "{doctor}");
    // What waits is not recovered, which would have it signed twice.
    let said = ended(&bench.node.testimony(&["recover", "--config=agent.toml", "--key", "key", "across"]), 1);
    assert!(said.contains("it waits for its signer, as number 1"), "{said}");
    bench.node.wait_for_log("statements wait for spiffe://example.org/ci/builder");
    spire.start_agent(None);
    spire.register(ID);
    bench.node.wait(|state| state["unsigned"] == 0 && state["delivered"] == 5);
    let all: Vec<String> = [vec!["one".to_owned(), "across".to_owned()], names("gone", 3)].concat();
    assert_eq!(bench.verify(&all).0, "proven", "{:?}", bench.verify(&all));
    let payloads = |name: &String| {
        let said = Command::new(verifier())
            .args(["--json", "--trust-bundle", "example.org=bundle.pem", "--spiffe-id", ID])
            .arg(format!("{name}.intoto.jsonl"))
            .current_dir(bench.node.scratch.path())
            .output()
            .expect("the verifier runs");
        let verdict: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        verdict["payloadSha256"].as_str().expect("a payload").to_owned()
    };
    assert_eq!(kept(&bench.collector), all.iter().map(payloads).collect::<Vec<_>>());
    let chains = bench.collector.lines(&["chains"]);
    assert_eq!((&chains[0]["first"], &chains[0]["last"]), (&Value::from(1), &Value::from(5)), "{chains:?}");
    assert_eq!(chains[0]["missing"], Value::from(Vec::<u8>::new()));
    assert!(bench.gaps("gone0").contains("SIGNED_LATER") && !bench.gaps("one").contains("SIGNED_LATER"));
}

#[test]
fn whenever_the_agent_is_killed_what_waits_is_signed_once_and_is_one_chain() {
    if !here() {
        return;
    }
    let mut spire = Spire::start("1h");
    spire.register(ID);
    let mut bench = Bench::new(&spire.socket(), &spire.bundle("pem"), "");
    spire.stop_agent();
    let all = names("gone", 8);
    all.iter().for_each(|name| drop(bench.waits(name)));
    spire.start_agent(None);
    bench.collector.start();
    let mut round = 0;
    while bench.node.state()["unsigned"] != 0 {
        bench.node.start();
        sleep(Duration::from_millis(520 + 13 * (round % 30)));
        bench.node.kill();
        round += 1;
        assert!(round < 200, "{}", bench.node.said());
    }
    bench.node.start();
    bench.node.wait(|state| state["delivered"] == all.len() && state["waiting"] == 0);
    assert_eq!(bench.node.state()["put"], all.len());
    let (outcome, says) = bench.verify(&all);
    println!("{round} kills: {says}");
    assert_eq!((outcome.as_str(), kept(&bench.collector).len()), ("proven", all.len()), "{says}");
}

/// A Workload API that gives one identity, and what trusts it.
fn double() -> (WorkloadApi, Answer, String) {
    let authority = workload_api::Authority::new(|_| {});
    let answer = Answer::Svids(vec![authority.svid(|_| {})]);
    (WorkloadApi::start(answer.clone()), answer, authority.pem())
}

#[test]
fn where_a_second_signer_is_configured_it_signs_and_says_so() {
    if !here() {
        return;
    }
    let (api, _, bundle) = double();
    let bench = Bench::new(&api.socket(), &bundle, "second_signer = \"key:KEY\"\n");
    api.answer(Answer::Status(TAKEN_BACK));
    ended(&bench.run("one"), 0);
    let state = bench.node.state();
    assert_eq!((&state["put"], &state["unsigned"]), (&Value::from(1), &Value::from(0)));
    assert_eq!(bench.session("one")["insteadOf"], "spiffe");
    let gaps = bench.gaps("one");
    assert!(gaps.contains("SIGNER_NOT_BOUND") && !gaps.contains("SIGNED_LATER"), "{gaps}");
}

#[test]
fn what_has_no_room_to_wait_is_refused_before_it_or_counted_and_said() {
    if !here() {
        return;
    }
    let (api, answer, bundle) = double();
    let mut bench = Bench::new(&api.socket(), &bundle, "[waiting]\nruns_max = 1\n");
    let across = bench.until_told("across");
    api.answer(Answer::Status(TAKEN_BACK));
    assert_eq!(bench.waits("one")["number"], 1);
    let mut refused = bench.command("two", &["touch", "ran"]);
    let said = ended(&refused.output().expect("testimony runs"), 125);
    assert!(
        said.contains("1 wait for their signer already, as many as may") && !bench.node.scratch.join("ran").exists()
    );
    // This one began when somebody could sign.
    let said = ended(&bench.end(across), 121);
    assert!(said.contains("nor can it wait"), "{said}");
    let state = bench.node.state();
    assert_eq!((&state["unsigned"], &state["unsignedTurnedAway"]), (&Value::from(1), &Value::from(1)), "{state}");
    api.answer(answer);
    bench.collector.start();
    bench.node.start();
    bench.node.wait(|state| state["delivered"] == 1);
    for name in ["three", "four"] {
        ended(&bench.run(name), 0);
    }
    assert!(bench.gaps("three").contains("not signed: 1 for want of room"), "{}", bench.gaps("three"));
    assert!(!bench.gaps("four").contains("STATEMENTS_DROPPED") && !bench.gaps("one").contains("STATEMENTS_DROPPED"));
    // Its evidence is there, and nothing is lost.
    ended(&bench.node.testimony(&["recover", "--config=agent.toml", "across"]), 0);
    bench.node.wait(|state| state["delivered"] == 4);
    assert!(bench.gaps("across").contains("SIGNED_LATER") && bench.gaps("across").contains("RECOVERED"));
}

#[test]
fn another_identity_does_not_sign_what_waits_for_one() {
    if !here() {
        return;
    }
    let authority = workload_api::Authority::new(|_| {});
    let other = "spiffe://example.org/ci/other";
    let svid = |id: &str| {
        let mut svid = authority.svid(|params| params.subject_alt_names = vec![workload_api::uri(id)]);
        svid.id = id.to_owned();
        Answer::Svids(vec![svid])
    };
    let api = WorkloadApi::start(svid(ID));
    let mut bench = Bench::new(&api.socket(), &authority.pem(), "");
    let across = bench.until_told("across");
    api.answer(svid(other));
    ended(&bench.end(across), 121);
    bench.collector.start();
    bench.node.start();
    bench.node.wait_for_log("gives no SVID of spiffe://example.org/ci/builder any more");
    assert_eq!(bench.node.state()["unsigned"], 1);
    // If it never comes back, somebody else signs, and says what that is.
    let given_up = ["recover", "--config=agent.toml", "--instead-of-waiting", "--key", "key", "across"];
    ended(&bench.node.testimony(&given_up), 0);
    // This collector wants an identity.
    bench.node.wait(|state| state["deferred"] == 1 && state["unsigned"] == 0);
    assert!(bench.gaps("across").contains("RECOVERED"));
    // What waits without that is signed by whom it waits for.
    api.answer(Answer::Status(TAKEN_BACK));
    bench.waits("next");
    api.answer(svid(ID));
    bench.node.wait(|state| state["delivered"] == 1);
    assert_eq!(bench.collector.lines(&["statements"])[0]["signer"], ID);
}

#[test]
fn a_users_statement_is_given_to_that_user_and_to_no_folder_that_was_put_in_its_way() {
    const USER: u32 = 54_321;
    if !here() {
        return;
    }
    let (api, answer, bundle) = double();
    let mut bench = Bench::new(&api.socket(), &bundle, "");
    api.answer(Answer::Status(TAKEN_BACK));
    let path = |name: &str| bench.node.scratch.join(name);
    let folders = ["kept-there", "swapped", "victim"];
    folders.iter().for_each(|name| fs::create_dir(path(name)).expect("a folder"));
    for name in &folders[..2] {
        chown(path(name), Some(USER), Some(USER)).expect("given");
        let mut run = bench.command(&format!("{name}/r"), &["true"]);
        run.env("SUDO_UID", USER.to_string()).env("SUDO_GID", USER.to_string());
        ended(&run.output().expect("testimony runs"), 121);
        assert_eq!(fs::metadata(path(&format!("{name}/r.evidence"))).expect("it is there").uid(), USER);
    }
    fs::rename(path("swapped"), path("moved")).expect("moved");
    std::os::unix::fs::symlink("victim", path("swapped")).expect("a link");
    api.answer(answer);
    bench.collector.start();
    bench.node.start();
    bench.node.wait(|state| state["delivered"] == 2);
    bench.node.wait_for_log("but not written there");
    let given = fs::metadata(bench.node.scratch.join("kept-there/r.intoto.jsonl")).expect("it is there");
    assert_eq!((given.uid(), given.gid(), given.mode() & 0o777), (USER, USER, 0o600));
    assert_eq!(fs::read_dir(bench.node.scratch.join("victim")).expect("a folder").count(), 0);
}

#[test]
fn what_is_signed_already_is_put_into_the_spool_once() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = crate::node::collector(&node);
    node.join(&collector);
    ended(&node.testimony(&["run", "--key", "key", "--chain", "chain", "-o", "one", "--", "true"]), 0);
    let put = |file: &str| node.testimony(&["spool", "put", "--config", "agent.toml", file]);
    for name in ["one.intoto.jsonl", "one", "one.evidence"] {
        ended(&put(name), 0);
    }
    assert_eq!((&node.state()["put"], &node.state()["waiting"]), (&Value::from(1), &Value::from(1)));
    fs::write(node.scratch.join("none.intoto.jsonl"), "{}").expect("written");
    std::os::unix::fs::symlink("one.intoto.jsonl", node.scratch.join("link.intoto.jsonl")).expect("a link");
    for name in ["none", "link", "nowhere"] {
        ended(&put(name), 1);
    }
    collector.start();
    node.start();
    node.wait(|state| state["delivered"] == 1);
    ended(&node.testimony(&["spool", "put", "--config", "agent.toml", "one"]), 0);
    assert_eq!((&node.state()["put"], kept(&collector)), (&Value::from(1), node.payloads(&["one".to_owned()])));
}
