//! Machines on the command line: enrolments, what stands beside a statement, and several statements of one machine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use attestation::hex;
use attestation::platform::Machine;
use attestation::synthetic::tpm::{Node, Sealed};
use attestation::synthetic::{self, Session};
use std::fs;
use std::path::PathBuf;
use testimony_verify::{Args, platform, run_to};

const SECOND: u64 = 1_000_000_000;

/// A folder with a machine, and what ran there.
struct Bench {
    directory: tempfile::TempDir,
    node: Node,
}

struct Answer {
    exit_code: u8,
    out: String,
    err: String,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap(), node: Node::new(3).unwrap() };
        fs::write(bench.path("key.pub"), synthetic::key().unwrap().public().to_pem().unwrap()).unwrap();
        bench.enrol("builder.json", &bench.node.machine("builder").unwrap());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn enrol(&self, file: &str, machine: &Machine) {
        fs::write(self.path(file), machine.to_json().unwrap()).unwrap();
    }

    /// A session with this id, sealed so many seconds after its opening.
    fn run(&mut self, name: &str, id: u8, seconds: &[u64]) {
        let mut session = Session::build();
        (session.id, session.number) = ([id; 16], None);
        let at: Vec<u64> = seconds.iter().map(|second| second * SECOND).collect();
        let sealed = session.seal(&mut self.node, 5, &at).unwrap();
        self.keep(name, &sealed);
    }

    /// The same without its log: that of each says that it began at one time, when the others' seals were not there.
    fn run_anywhen(&mut self, name: &str, id: u8, seconds: &[u64]) {
        self.run(name, id, seconds);
        fs::remove_dir_all(self.path(&format!("{name}.evidence"))).unwrap();
    }

    fn keep(&self, name: &str, sealed: &Sealed) {
        fs::write(self.path(&format!("{name}.intoto.jsonl")), &sealed.signed.envelope).unwrap();
        fs::write(self.path(&format!("{name}.quote.intoto.jsonl")), sealed.quote().unwrap()).unwrap();
        let evidence = self.path(&format!("{name}.evidence"));
        fs::create_dir_all(&evidence).unwrap();
        for (sha256, object) in &sealed.signed.objects {
            fs::write(evidence.join(hex::encode(sha256)), object).unwrap();
        }
    }

    fn verify(&self, names: &[&str], enrolments: &[&str]) -> Answer {
        self.verify_with(names, platform::Args { enrolments: self.paths(enrolments), ..platform::Args::default() })
    }

    fn paths(&self, names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| self.path(name)).collect()
    }

    fn verify_with(&self, names: &[&str], platform: platform::Args) -> Answer {
        let files = names.iter().map(|name| self.path(&format!("{name}.intoto.jsonl"))).collect();
        let args = Args { keys: self.paths(&["key.pub"]), files, platform, ..Args::default() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit_code = run_to("testimony-verify", &args, &mut out, &mut err);
        Answer { exit_code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
    }
}

#[test]
fn a_run_that_was_sealed_is_proven_by_the_enrolment() {
    let mut bench = Bench::new();
    bench.run("one", 1, &[1, 2, 3]);
    let answer = bench.verify(&["one"], &["builder.json"]);
    assert_eq!(answer.exit_code, 0, "{}", answer.out);
    assert!(answer.out.contains("builder (a maker vouches for its TPM)"), "{}", answer.out);
}

#[test]
fn what_cannot_be_read_beside_a_statement_matters_where_it_was_asked_for() {
    let mut bench = Bench::new();
    bench.run("one", 1, &[1]);
    let quote = fs::read(bench.path("one.quote.intoto.jsonl")).unwrap();
    fs::remove_file(bench.path("one.quote.intoto.jsonl")).unwrap();
    for unreadable in ["one.quote.intoto.jsonl", "one.firmware-log", "one.ima-list"] {
        fs::create_dir(bench.path(unreadable)).unwrap();
    }
    // Nobody asked for the machine: it is told of the quote, and the logs are not looked at.
    let answer = bench.verify(&["one"], &[]);
    assert_eq!(answer.exit_code, 0, "{}", answer.out);
    let line = answer.out.lines().find(|line| line.contains("  platform")).unwrap();
    assert!(line.contains("not claimed") && line.contains("cannot be read: no regular file"), "{line}");
    assert!(!answer.out.contains("one.ima-list"), "{}", answer.out);
    // With an enrolment the quote is needed.
    let answer = bench.verify(&["one"], &["builder.json"]);
    assert_eq!(answer.exit_code, 2, "{}", answer.out);
    fs::remove_dir(bench.path("one.quote.intoto.jsonl")).unwrap();
    fs::write(bench.path("one.quote.intoto.jsonl"), quote).unwrap();
    // And without a policy the logs are not.
    let answer = bench.verify(&["one"], &["builder.json"]);
    assert_eq!(answer.exit_code, 0, "{}", answer.out);
    let unread: Vec<&str> = answer.out.lines().filter(|line| line.contains("cannot be read")).collect();
    assert!(unread.len() == 2 && unread.iter().all(|line| line.contains("not claimed  boot")), "{unread:?}");
    // With one they are.
    fs::write(bench.path("policy"), r#"{"version":1,"bootAggregates":[]}"#).unwrap();
    let boot_policy = Some(bench.path("policy"));
    let args = platform::Args { enrolments: bench.paths(&["builder.json"]), boot_policy, ..platform::Args::default() };
    assert_eq!(bench.verify_with(&["one"], args).exit_code, 2);
}

#[test]
fn a_quote_that_was_named_has_to_be_there() {
    let mut bench = Bench::new();
    bench.run("one", 1, &[1]);
    let args = platform::Args { quote: Some(bench.path("absent")), ..platform::Args::default() };
    assert_eq!(bench.verify_with(&["one"], args).exit_code, 2);
}

#[test]
fn enrolments_of_one_key_agree_or_nothing_is_verified() {
    let mut bench = Bench::new();
    bench.run("one", 1, &[1]);
    let machine = |name, id, pcr| Machine::new(name, &bench.node.tpm.public(), id, pcr, true).unwrap();
    bench.enrol("same.json", &machine("builder", None, 12));
    bench.enrol("name.json", &machine("another", None, 12));
    bench.enrol("id.json", &machine("builder", Some("spiffe://example.org/a"), 12));
    bench.enrol("register.json", &machine("builder", None, 13));
    bench.enrol("stranger.json", &Node::new(4).unwrap().machine("stranger").unwrap());
    for agreeing in [["builder.json", "same.json"], ["stranger.json", "builder.json"]] {
        assert_eq!(bench.verify(&["one"], &agreeing).exit_code, 0);
    }
    for (other, what) in [("name.json", "name"), ("id.json", "SPIFFE ID"), ("register.json", "register")] {
        for order in [["builder.json", other], [other, "builder.json"]] {
            let answer = bench.verify(&["one"], &order);
            assert_eq!(answer.exit_code, 64, "{}", answer.out);
            let says = format!("of one attestation key and differ in its {what}");
            assert!(answer.err.contains(&says) && answer.err.lines().count() == 1, "{}", answer.err);
        }
    }
}

#[test]
fn statements_of_one_boot_are_held_against_each_other() {
    let mut bench = Bench::new();
    for (name, id, seconds) in [("one", 1, &[1, 2][..]), ("two", 2, &[3]), ("three", 3, &[4])] {
        bench.run_anywhen(name, id, seconds);
    }
    let answer = bench.verify(&["one", "three"], &["builder.json"]);
    assert_eq!(answer.exit_code, 0, "{}", answer.out);
    let says =
        "2 statements of one boot of builder have one list of 4 seals; of 3 sessions that were sealed there 1 have no";
    assert!(answer.out.contains(says), "{}", answer.out);
    // Its TPM is set back, and another session takes the place of the second.
    bench.node = Node::new(3).unwrap();
    bench.run_anywhen("other", 4, &[5]);
    assert_eq!(bench.verify(&["other"], &["builder.json"]).exit_code, 0);
    let answer = bench.verify(&["other", "one"], &["builder.json"]);
    assert_eq!(answer.exit_code, 1, "{}", answer.out);
    assert!(answer.out.ends_with("REFUSED (SEAL_REFUSED)\n"), "{}", answer.out);
    // Nobody asked for the machine.
    assert_eq!(bench.verify(&["other", "one"], &[]).exit_code, 0);
}
