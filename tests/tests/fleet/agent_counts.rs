//! Metrics of the agent: every one that is documented is there and moves, and every one that is there is documented.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tests::{Spire, Unit, binary, ended, need};

use crate::asking::{port, put};
use crate::counts::{documented, sums};
use crate::node::here;
use crate::waiting::{Bench, ID};

/// What no ordinary session makes happen: a test of the agent's own moves it.
const MOVED_ELSEWHERE: &[&str] = &["testimony_agent_events_lost"];
const PATIENCE: Duration = Duration::from_secs(30);

/// A node whose agent traces, signs as SPIFFE has it, and counts.
struct Counted {
    bench: Bench,
    spire: Spire,
    port: u16,
    /// The most that was seen of each: an agent that starts anew counts anew.
    seen: BTreeMap<String, f64>,
}

impl Counted {
    fn new() -> Self {
        let spire = Spire::start("1h");
        spire.register(ID);
        let bench = Bench::new(&spire.socket(), &spire.bundle("pem"), "");
        let (port, at) = (port(), |name: &str| bench.node.scratch.join(name));
        let config = fs::read_to_string(at("agent.toml")).expect("a configuration");
        let more = format!(
            "[control]\nsocket = {:?}\n[sessions]\nfolder = {:?}\nchain = {:?}\nunits = [\"counted-*.service\"]\n\
             at_once_max = 4\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n",
            at("agent.sock"),
            at("sessions"),
            at("chain"),
        );
        fs::write(at("agent.toml"), config + &more).expect("written");
        Self { bench, spire, port, seen: BTreeMap::new() }
    }

    fn start(&mut self) {
        self.bench.node.start();
        self.until("the agent counts", |page| !page.is_empty());
    }

    /// By the agent.
    fn run(&self, name: &str, script: &str) -> Child {
        let agent = format!("--agent={}", self.bench.node.scratch.join("agent.sock").display());
        let mut run = Command::new(binary());
        run.args(["run", &agent, "-o", name, "--", "sh", "-c", script]).current_dir(self.bench.node.scratch.path());
        run.stderr(Stdio::piped()).spawn().expect("it starts")
    }

    fn ends(run: Child, code: i32) {
        ended(&run.wait_with_output().expect("it ends"), code);
    }

    /// Looks until it is so; what was seen meanwhile counts as well.
    fn until(&mut self, what: &str, is: impl Fn(&BTreeMap<String, f64>) -> bool) {
        let began = Instant::now();
        loop {
            let mut curl = Command::new(need("curl"));
            curl.args(["--silent", "--max-time", "20"]).arg(format!("http://127.0.0.1:{}/metrics", self.port));
            let page = sums(&String::from_utf8(curl.output().expect("curl runs").stdout).expect("text"));
            for (name, sum) in &page {
                let most = self.seen.entry(name.clone()).or_default();
                *most = most.max(*sum);
            }
            if is(&page) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "not in time: {what}: {page:?}\n{}", self.bench.node.said());
            sleep(Duration::from_millis(100));
        }
    }
}

/// A metric of the agent's that is not null.
fn moves(name: &'static str) -> impl Fn(&BTreeMap<String, f64>) -> bool {
    move |page| page.get(&format!("testimony_agent_{name}")).is_some_and(|sum| *sum > 0.0)
}

#[test]
fn every_documented_metric_of_the_agent_moves_and_no_other_is_there() {
    if !here() {
        return;
    }
    let mut counted = Counted::new();
    counted.start();
    // Nobody listens yet.
    counted.until("nobody is reached", moves("delivery_failures"));
    let run = counted.run("one", "for i in $(seq 300); do : < /etc/hostname; done; sleep 1");
    counted.until("a session is open", moves("sessions_open"));
    Counted::ends(run, 0);
    counted.until("it is in the spool, and gets older", |page| {
        moves("statements")(page) && moves("spool_bytes")(page) && moves("spool_age_seconds")(page)
    });
    let unit = Unit::new(&format!("counted-{}.service", std::process::id()));
    counted.until("there is no place for a unit", moves("sessions_not_opened"));
    drop(unit);
    // Its identity is taken back, and given again.
    counted.spire.withdraw(ID);
    let across = counted.run("across", "sleep 1");
    Counted::ends(across, 121);
    counted.until("it waits", |page| moves("signing_failures")(page) && moves("waiting_statements")(page));
    counted.spire.register(ID);
    counted.until("it is signed", moves("signed_later"));
    put(&counted.bench.node, "complete");
    counted.bench.collector.start();
    counted.until("what is not trusted is deferred, the rest delivered", |page| {
        moves("refusals")(page) && moves("spool_deferred")(page) && moves("spool_delivered")(page)
    });
    // Another one finds what this one left.
    let left = counted.run("left", "touch begun; sleep 3");
    while !counted.bench.node.scratch.join("begun").exists() {
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_secs(1));
    counted.bench.node.kill();
    Counted::ends(left, 121);
    let path = counted.bench.node.scratch.join("agent.toml");
    let config = fs::read_to_string(&path).expect("a configuration");
    fs::write(&path, config.replace("[spool]\n", "[spool]\nage_max = \"1s\"\n")).expect("written");
    counted.start();
    counted.until("it is signed", moves("sessions_recovered"));
    counted.until("what is too old is dropped", moves("spool_dropped"));
    let documented = documented("testimony_agent_");
    assert!(documented.len() > 15, "{documented:?}");
    let is_moved = |name: &&String| {
        MOVED_ELSEWHERE.contains(&name.as_str()) || counted.seen.get(*name).is_some_and(|most| *most > 0.0)
    };
    assert_eq!(documented.iter().filter(|name| !is_moved(name)).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(
        counted.seen.keys().filter(|name| !documented.contains(name)).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
}
