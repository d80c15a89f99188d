//! A collector that has the right certificate and key, and lies: with receipts of other statements, with trees that were smaller or
//! others, with times that cannot be; and one that was put back from a backup, which cannot know it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};

use attestation::dsse;
use attestation::merkle::{consistency_proof, inclusion_proof, leaf_hash, root_of};
use attestation::receipt::{self, Entry, LogSigner};
use collector_api::answer::Outcome;
use collector_api::collector_server::{self, CollectorServer};
use collector_api::{
    Accepted, Answer, ConsistencyProof, ConsistencyRequest, Enrolment, EnrolmentAnswer, EnrolmentChallenge,
    EnrolmentRequest, Submission, Unavailable,
};
use futures_util::{Stream, StreamExt as _};
use tests::collector::{Authority, Collector, names};
use tests::{Scratch, ended};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming};

use crate::node::{NODE, Node, collector, here, kept};
use crate::peer::{files, runtime};

/// What it does with the entry of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// The receipt of another entry.
    Other,
    /// A tree with fewer leaves than before, as if it had never had more.
    Smaller,
    /// As many leaves, of which the first is another.
    Forked,
    /// Seconds from now.
    Time(i64),
    /// The first statement is never taken, and never refused.
    NeverFirst,
}

#[derive(Clone)]
struct Liar(Arc<Mutex<Log>>);

struct Log {
    signer: LogSigner,
    leaves: Vec<Vec<u8>>,
    lie: Lie,
}

impl Log {
    fn answer(&mut self, submission: &Submission) -> Answer {
        let number = submission.number;
        if self.lie == Lie::NeverFirst && number == 1 {
            let says = "never".to_owned();
            return Answer { number, outcome: Some(Outcome::Unavailable(Unavailable { says })) };
        }
        let envelope = dsse::read(submission.envelope.as_slice()).expect("an envelope");
        let entry = Entry::of(&envelope).to_bytes();
        match self.lie {
            Lie::Smaller => self.leaves.clear(),
            Lie::Forked => self.leaves[0] = b"another".to_vec(),
            _ => {}
        }
        let logged = if self.lie == Lie::Other { Entry::new([7; 32], [b"x".as_slice()]).to_bytes() } else { entry };
        self.leaves.push(logged.clone());
        let leaves: Vec<_> = self.leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let index = leaves.len() - 1;
        let offset = if let Lie::Time(offset) = self.lie { offset } else { 0 };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
        let checkpoint = self.signer.sign(leaves.len() as u64, &root_of(&leaves), now.saturating_add_signed(offset));
        let proof = inclusion_proof(&leaves, index).expect("a leaf");
        let receipt = receipt::write(&logged, index as u64, &proof, &checkpoint).into_bytes();
        Answer { number, outcome: Some(Outcome::Accepted(Accepted { receipt, repeated: false })) }
    }
}

#[tonic::async_trait]
impl collector_server::Collector for Liar {
    type SubmitStream = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

    async fn submit(&self, request: Request<Streaming<Submission>>) -> Result<Response<Self::SubmitStream>, Status> {
        let this = self.clone();
        let answers = request.into_inner().map(move |submission| Ok(this.0.lock().expect("it").answer(&submission?)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn begin_enrolment(&self, _: Request<EnrolmentRequest>) -> Result<Response<EnrolmentChallenge>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn finish_enrolment(&self, _: Request<EnrolmentAnswer>) -> Result<Response<Enrolment>, Status> {
        Err(Status::unimplemented("no"))
    }

    /// Of what it has now, whatever it had before.
    async fn prove_consistency(
        &self,
        request: Request<ConsistencyRequest>,
    ) -> Result<Response<ConsistencyProof>, Status> {
        let ConsistencyRequest { old, new } = request.into_inner();
        let log = self.0.lock().expect("it");
        let leaves: Vec<_> = log.leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let (old, new) = (usize::try_from(old).expect("small"), usize::try_from(new).expect("small"));
        let tree = leaves.get(..new).ok_or_else(|| Status::out_of_range("it is smaller"))?;
        let proof = consistency_proof(tree, old).map_err(|error| Status::out_of_range(error.to_string()))?;
        Ok(Response::new(ConsistencyProof { hashes: proof.iter().map(|hash| hash.to_vec()).collect() }))
    }
}

/// A node, and a collector that does as it is told.
struct Bench {
    node: Node,
    liar: Liar,
    _runtime: tokio::runtime::Runtime,
    _folder: Scratch,
}

impl Bench {
    fn new() -> Self {
        let (node, authority, folder) = (Node::new(), Authority::new(), Scratch::new());
        let _ = authority.tls(&folder.path(), "liar", &names("spiffe://example.org/collector", "localhost"));
        let pem = LogSigner::generate().expect("a key");
        let signer = LogSigner::read("collector.example.org/log", pem.as_bytes()).expect("a key");
        std::fs::write(node.scratch.join("log.vkey"), signer.key().to_string()).expect("written");
        let liar = Liar(Arc::new(Mutex::new(Log { signer, leaves: Vec::new(), lie: Lie::None })));
        let runtime = runtime();
        let identity = mtls::Identity::Files(files(&folder.path(), "liar"));
        let service = CollectorServer::new(liar.clone());
        let port = runtime.block_on(async {
            let tls = mtls::Server::new(&identity, mtls::Peers::Any).await.expect("TLS");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let server = tonic::transport::Server::builder().add_service(service);
            tokio::spawn(server.serve_with_incoming(tls.accept(listener)));
            port
        });
        let tls = authority.tls(&node.scratch.path(), "node", &names(NODE, ""));
        let log_key = node.scratch.join("log.vkey");
        let expected = format!(
            "spiffe_id = \"spiffe://example.org/collector\"\nlog_key = {log_key:?}\nclock_difference_max = \"1m\"\n"
        );
        node.configure(port, &tls, &expected);
        Self { node, liar, _runtime: runtime, _folder: folder }
    }

    fn lie(&self, lie: Lie) {
        self.liar.0.lock().expect("it").lie = lie;
    }

    /// That it is not taken, for this reason, and that what is true is taken afterwards.
    fn is_not_taken(&mut self, lie: Lie, says: &str) {
        let before = self.node.state()["delivered"].clone();
        let leaves = self.liar.0.lock().expect("it").leaves.clone();
        self.lie(lie);
        self.node.run(&format!("run{}", says.len()));
        let _ = std::fs::remove_file(self.node.scratch.join("log"));
        self.node.start();
        self.node.wait_for_log(says);
        assert_eq!((&self.node.state()["delivered"], &self.node.state()["waiting"]), (&before, &1.into()), "{lie:?}");
        self.node.kill();
        self.liar.0.lock().expect("it").leaves = leaves;
        self.lie(Lie::None);
        self.node.start();
        self.node.wait(|state| state["waiting"] == 0);
        self.node.kill();
    }
}

#[test]
fn receipts_that_lie_are_not_taken_and_nothing_leaves_the_spool_for_them() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.node.run(name);
    }
    bench.node.start();
    bench.node.wait(|state| state["delivered"] == 3);
    bench.node.kill();
    bench.is_not_taken(Lie::Other, "receipt for statement 4 is for another one");
    bench.is_not_taken(Lie::Smaller, "the collector's log had 4 entries, and has no tree that goes on from those");
    bench.is_not_taken(Lie::Forked, "there are two logs under one key");
    bench.is_not_taken(Lie::Time(120), "s ahead of this node's clock, and 60 s are taken");
    bench.is_not_taken(Lie::Time(-120), "s before the statement was made by this node's clock");
    bench.is_not_taken(Lie::Time(-50), "its time goes back");
    assert_eq!(bench.node.state()["delivered"], 9);
}

#[test]
fn one_that_is_never_taken_holds_up_nobody() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    bench.lie(Lie::NeverFirst);
    for name in ["a", "b", "c"] {
        bench.node.run(name);
    }
    bench.node.start();
    bench.node.wait(|state| state["delivered"] == 2 && state["deferred"] == 1);
    bench.node.run("d");
    bench.node.wait(|state| state["delivered"] == 3);
    assert!(bench.node.spool(&["deferred"], 0).contains("never"), "{}", bench.node.spool(&["deferred"], 0));
    bench.lie(Lie::None);
    bench.node.wait(|state| state["delivered"] == 4 && state["waiting"] == 0);
}

#[test]
fn a_collector_that_was_put_back_from_a_backup_is_found_out() {
    if !here() {
        return;
    }
    let (mut node, mut other) = (Node::new(), Node::new());
    let trust = crate::node::trust(&node);
    let own = format!("{:?}", node.scratch.join("key.pub"));
    let both = trust.replace(&own, &format!("{own}, {:?}", other.scratch.join("key.pub")));
    let mut collector = Collector::new(&both);
    node.join(&collector);
    other.join(&collector);
    collector.start();
    node.run("one");
    node.start();
    node.wait(|state| state["delivered"] == 1);
    assert!(collector.stop());
    let (state, backup) = (collector.folder.join("state"), collector.folder.join("backup"));
    ended(&Command::new("cp").arg("-a").args([&state, &backup]).output().expect("cp runs"), 0);
    collector.start();
    node.run("two");
    node.wait(|state| state["delivered"] == 2);
    let receipts = || ["one", "two"].map(|name| node.spool_receipt(name));
    let before = receipts();
    assert!(collector.stop());
    std::fs::remove_dir_all(&state).expect("removed");
    ended(&Command::new("cp").arg("-a").args([&backup, &state]).output().expect("cp runs"), 0);
    // The log goes on otherwise than it did, until it is as large as it was and larger.
    collector.start();
    other.start();
    for (number, name) in (1..).zip(["x", "y"]) {
        other.run(name);
        other.wait(|state| state["delivered"] == number);
    }
    node.run("three");
    node.wait_for_log("there are two logs under one key");
    assert_eq!((&node.state()["waiting"], receipts()), (&1.into(), before));
    assert_eq!(kept(&collector).len(), 4, "it took the statement, and its receipt is not believed");
}

/// `make-log-key` by a user who is neither root nor whom the state belongs to.
fn by_a_stranger(collector: &Collector) -> std::process::Output {
    let program = collector.folder.join("program");
    std::fs::copy(tests::collector::program(), &program).expect("copied");
    for path in [collector.folder.path(), collector.config()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let mut make = Command::new(program);
    make.uid(tests::collector::NOBODY - 1).gid(tests::collector::NOBODY - 1);
    make.args(["make-log-key", "--config"]).arg(collector.config()).output().expect("it runs")
}

#[test]
fn only_the_collectors_own_user_makes_a_key_and_what_was_signed_is_what_is_shown() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let mut collector = collector(&node);
    let state = collector.folder.join("state");
    let said = ended(&collector.ask(&["log-key"]), 1);
    assert!(said.contains("the log has no key yet") && !state.exists(), "{said}");
    ended(&collector.ask(&["checkpoint"]), 1);
    assert!(!state.exists());
    std::fs::create_dir(&state).expect("a folder");
    std::os::unix::fs::chown(&state, Some(tests::collector::NOBODY), None).expect("given");
    let said = ended(&by_a_stranger(&collector), 1);
    assert!(said.contains("run it as that user") && !state.join("log.key").exists(), "{said}");
    // Root makes it as that user, who could not read a key of root's.
    ended(&collector.ask(&["make-log-key"]), 0);
    assert_eq!(std::fs::metadata(state.join("log.key")).expect("a key").uid(), tests::collector::NOBODY);
    std::fs::remove_dir_all(&state).expect("removed");
    node.join(&collector);
    collector.start();
    node.run("one");
    node.start();
    node.wait(|state| state["delivered"] == 1);
    let shown = || String::from_utf8(collector.ask(&["checkpoint"]).stdout).expect("text");
    let first = shown();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(!first.is_empty() && shown() == first);
    assert!(node.spool_receipt("one").ends_with(&first));
}
