//! A node: its key, its spool, and the agent that delivers; and a collector that knows it.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::collector::{Collector, names};
use tests::{Network, Scratch, binary, ended, verifier};

/// How long something may take to come about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Who the node is.
pub(crate) const NODE: &str = "spiffe://example.org/node/one";
/// The trust of a collector in the key of its one node, which alone may send.
const TRUST: &str = "[peers]\nspiffe_ids = [\"spiffe://example.org/node/*\"]\n[trust]\nkeys = [KEY]\n";

/// Whether these tests run: nothing of them depends on the kernel.
pub(crate) fn here() -> bool {
    if tests::kernel() == "host" {
        tests::need_root();
        return true;
    }
    println!("NOT RUN: a collector is asked nothing of the kernel");
    false
}

/// A node: its key, its spool, and the agent that delivers.
pub(crate) struct Node {
    pub(crate) scratch: Scratch,
    pub(crate) agent: Option<Child>,
    /// Where the agent is, unless that is where we are.
    pub(crate) network: Option<Network>,
}

impl Node {
    pub(crate) fn new() -> Self {
        let this = Self { scratch: Scratch::new(), agent: None, network: None };
        ended(&this.testimony(&["keygen", "-o", "key"]), 0);
        this
    }

    pub(crate) fn testimony(&self, words: &[&str]) -> Output {
        Command::new(binary()).args(words).current_dir(self.scratch.path()).output().expect("testimony runs")
    }

    /// A statement of `true`, put into the spool.
    pub(crate) fn run(&self, name: &str) -> String {
        let words = ["run", "--key", "key", "--chain", "chain", "-o", name];
        ended(&self.testimony(&[&words[..], &["--config=agent.toml", "--", "true"]].concat()), 0)
    }

    /// Payloads of its statements, in their order.
    pub(crate) fn payloads(&self, all: &[String]) -> Vec<String> {
        let payload = |name: &String| {
            let verify = ["--json", "--key", "key.pub", &format!("{name}.intoto.jsonl")];
            let said =
                Command::new(verifier()).args(verify).current_dir(self.scratch.path()).output().expect("it runs");
            let verdict: Value = serde_json::from_slice(&said.stdout).expect("JSON");
            verdict["payloadSha256"].as_str().expect("a payload").to_owned()
        };
        all.iter().map(payload).collect()
    }

    pub(crate) fn configure(&self, port: u16, tls: &str, collector: &str) {
        self.configure_for("localhost", port, tls, collector);
    }

    pub(crate) fn configure_for(&self, host: &str, port: u16, tls: &str, collector: &str) {
        let spool = self.scratch.join("spool");
        let text =
            format!("[spool]\nfolder = {spool:?}\n[collector]\nhost = {host:?}\nport = {port}\n{collector}{tls}");
        fs::write(self.scratch.join("agent.toml"), text).expect("written");
    }

    /// Configured for a collector as the node that it knows.
    pub(crate) fn join(&self, collector: &Collector) {
        let tls = collector.authority.tls(&self.scratch.path(), "node", &names(NODE, ""));
        let key = collector.ask(&["make-log-key"]);
        fs::write(self.scratch.join("log.vkey"), key.stdout).expect("written");
        let expected =
            format!("spiffe_id = \"spiffe://example.org/collector\"\nlog_key = {:?}\n", self.scratch.join("log.vkey"));
        self.configure(collector.port, &tls, &expected);
    }

    pub(crate) fn start(&mut self) {
        let mut agent = self.network.as_ref().map_or_else(|| Command::new(binary()), |own| own.command(binary()));
        agent.args(["agent", "--config", "agent.toml"]).current_dir(self.scratch.path());
        let log = fs::File::options().create(true).append(true).open(self.scratch.join("log")).expect("a log");
        self.agent = Some(agent.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"));
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// What a command of the spool says, when it ended so.
    pub(crate) fn spool(&self, words: &[&str], code: i32) -> String {
        let said = self.testimony(&[&["spool"][..], words, &["--config", "agent.toml"]].concat());
        ended(&said, code) + &String::from_utf8_lossy(&said.stdout)
    }

    /// The receipt of a statement.
    pub(crate) fn spool_receipt(&self, name: &str) -> String {
        let statement = format!("{name}.intoto.jsonl");
        let said = self.testimony(&["spool", "receipt", "--config", "agent.toml", &statement]);
        ended(&said, 0);
        String::from_utf8(said.stdout).expect("text")
    }

    pub(crate) fn state(&self) -> Value {
        let said = self.testimony(&["spool", "state", "--json", "--config", "agent.toml"]);
        serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)))
    }

    /// Until the spool says so.
    pub(crate) fn wait(&self, what: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !what(&self.state()) {
            assert!(began.elapsed() < PATIENCE, "{}\n{}", self.state(), self.said());
            sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn wait_for_log(&self, words: &str) {
        let began = Instant::now();
        while !self.said().contains(words) {
            assert!(began.elapsed() < PATIENCE, "{}", self.said());
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A collector that trusts the node's key.
pub(crate) fn collector(node: &Node) -> Collector {
    Collector::new(&trust(node))
}

pub(crate) fn trust(node: &Node) -> String {
    TRUST.replace("KEY", &format!("{:?}", node.scratch.join("key.pub")))
}

pub(crate) fn kept(collector: &Collector) -> Vec<String> {
    let text = |line: &Value| line["payloadSha256"].as_str().expect("a payload").to_owned();
    collector.lines(&["statements"]).iter().map(text).collect()
}
