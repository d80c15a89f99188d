//! The command as a stranger uses it: exit codes, last lines, and what reaches the terminal.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use attestation::codes;
use attestation::hex;
use attestation::synthetic::{self, ROOT, Session};
use proto::evidence::frame::Body as proto_body;
use std::fs;
use std::path::{Path, PathBuf};
use testimony_verify::{Args, run_to};

struct Bench {
    directory: tempfile::TempDir,
}

struct Answer {
    exit_code: u8,
    out: String,
    err: String,
}

impl Answer {
    fn last_line(&self) -> &str {
        self.out.lines().last().unwrap_or_default()
    }
}

impl Bench {
    fn new(session: &Session) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let signed = session.sign(20).unwrap();
        fs::write(directory.path().join("run.intoto.jsonl"), &signed.envelope).unwrap();
        fs::create_dir(directory.path().join("run.evidence")).unwrap();
        for (sha256, object) in &signed.objects {
            fs::write(directory.path().join("run.evidence").join(hex::encode(sha256)), object).unwrap();
        }
        fs::write(directory.path().join("key.pub"), synthetic::key().unwrap().public().to_pem().unwrap()).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn args(&self) -> Args {
        let (keys, files) = (vec![self.path("key.pub")], vec![self.path("run.intoto.jsonl")]);
        Args { keys, files, ..Args::default() }
    }

    fn objects(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path("run.evidence")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

fn run(args: &Args) -> Answer {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit_code = run_to("testimony-verify", args, &mut out, &mut err);
    Answer { exit_code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn incomplete() -> Session {
    let mut session = Session::build_open();
    session.attention(ROOT, codes::IO_URING_USED);
    session.accounts();
    session.close("ended", 0);
    session
}

#[test]
fn a_complete_statement_is_recomputed_from_the_evidence_beside_it() {
    let bench = Bench::new(&Session::build());
    let answer = run(&bench.args());
    assert_eq!(
        (answer.exit_code, answer.last_line()),
        (0, "COMPLETE (recomputed from the evidence)"),
        "{}",
        answer.out
    );
}

#[test]
fn a_complete_statement_without_evidence_is_the_signers_word() {
    let bench = Bench::new(&Session::build());
    fs::rename(bench.path("run.evidence"), bench.path("elsewhere")).unwrap();
    let answer = run(&bench.args());
    assert_eq!((answer.exit_code, answer.last_line()), (0, "COMPLETE (as signed, the evidence was not given)"));
    let answer = run(&Args { evidence: Some(bench.path("elsewhere")), ..bench.args() });
    assert_eq!((answer.exit_code, answer.last_line()), (0, "COMPLETE (recomputed from the evidence)"));
}

#[test]
fn an_incomplete_statement_needs_to_be_accepted() {
    let bench = Bench::new(&incomplete());
    let answer = run(&bench.args());
    assert_eq!((answer.exit_code, answer.last_line()), (1, "INCOMPLETE (1 gap)"));
    assert!(answer.out.contains(codes::IO_URING_USED));
    let answer = run(&Args { accept_incomplete: true, ..bench.args() });
    assert_eq!((answer.exit_code, answer.last_line()), (0, "INCOMPLETE (1 gap)"));
}

#[test]
fn without_a_key_everything_is_refused() {
    let bench = Bench::new(&Session::build());
    let answer = run(&Args { keys: Vec::new(), ..bench.args() });
    assert_eq!((answer.exit_code, answer.last_line()), (1, "REFUSED (NO_ANCHOR)"));
}

#[test]
fn a_changed_byte_of_statement_or_evidence_is_refused() {
    let bench = Bench::new(&Session::build());
    for path in bench.objects() {
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        fs::write(&path, changed).unwrap();
        assert_eq!(run(&bench.args()).last_line(), "REFUSED (SEGMENT_CHANGED)");
        fs::remove_file(&path).unwrap();
        assert_eq!(run(&bench.args()).last_line(), "REFUSED (SEGMENT_MISSING)");
        fs::write(&path, whole).unwrap();
    }
    let statement = fs::read_to_string(bench.path("run.intoto.jsonl")).unwrap();
    let at = statement.len() / 2;
    let flipped = if &statement[at..=at] == "A" { "B" } else { "A" };
    let changed = [&statement[..at], flipped, &statement[at + 1..]].concat();
    fs::write(bench.path("run.intoto.jsonl"), changed).unwrap();
    let answer = run(&bench.args());
    assert_eq!((answer.exit_code, answer.last_line()), (1, "REFUSED (SIGNATURE_INVALID)"));
}

#[test]
fn files_that_are_no_statement_are_not_understood() {
    let bench = Bench::new(&Session::build());
    for bytes in [&b""[..], b"{", b"\x1b[31m", &[0; 4096]] {
        fs::write(bench.path("other"), bytes).unwrap();
        let answer = run(&Args { files: vec![bench.path("other")], ..bench.args() });
        assert_eq!((answer.exit_code, answer.last_line()), (2, "NOT UNDERSTOOD (ENVELOPE_MALFORMED)"));
    }
    for path in [bench.path("absent"), "/dev/null".into(), "/dev/zero".into()] {
        let answer = run(&Args { files: vec![path], ..bench.args() });
        assert_eq!((answer.exit_code, answer.last_line()), (2, "NOT UNDERSTOOD (UNREADABLE_FILE)"));
    }
}

#[test]
fn each_bad_file_has_its_sentence() {
    let bench = Bench::new(&Session::build());
    let statement = fs::read(bench.path("run.intoto.jsonl")).unwrap();
    fs::write(bench.path("empty"), "").unwrap();
    fs::write(bench.path("cut"), &statement[..statement.len() / 2]).unwrap();
    fs::write(bench.path("foreign"), b"\x7fELF\x02\x01\x01").unwrap();
    fs::write(bench.path("json"), "{\"a\":1}").unwrap();
    fs::File::create(bench.path("huge")).unwrap().set_len(300 << 20).unwrap();
    fs::create_dir(bench.path("directory")).unwrap();
    fs::write(bench.path("directory").join("open-x"), "").unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(bench.path("fifo")).status().unwrap();
    assert!(fifo.success());
    for (name, sentence) in [
        ("empty", "the file is empty\n"),
        ("cut", "the file ends in the middle of its envelope\n"),
        ("foreign", "no DSSE envelope: expected value at line 1 column 1\n"),
        ("json", "no DSSE envelope: missing field `payloadType` at line 1 column 7\n"),
        ("huge", "the envelope is over the limit of 268435456 bytes\n"),
        ("directory", "a directory without a segment of a log\n"),
        ("fifo", "no regular file\n"),
        ("absent", "No such file or directory (os error 2)\n"),
    ] {
        let answer = run(&Args { files: vec![bench.path(name)], ..bench.args() });
        assert_eq!(answer.exit_code, 2, "{name}: {}", answer.out);
        assert!(answer.out.contains(sentence), "{name}: {}", answer.out);
        assert!(answer.last_line().starts_with("NOT UNDERSTOOD ("), "{name}: {}", answer.out);
    }
}

#[test]
fn a_complaint_names_the_command_and_the_option() {
    let bench = Bench::new(&Session::build());
    let answer = run(&Args { keys: vec![bench.path("absent")], ..bench.args() });
    assert!(answer.err.starts_with("testimony-verify: --key /"), "{}", answer.err);
}

#[test]
fn the_worst_of_several_files_counts() {
    let bench = Bench::new(&Session::build());
    fs::write(bench.path("other"), "{}").unwrap();
    let answer = run(&Args { files: vec![bench.path("other"), bench.path("run.intoto.jsonl")], ..bench.args() });
    assert_eq!(answer.exit_code, 2);
    assert!(answer.last_line().starts_with("COMPLETE"));
}

#[test]
fn keys_and_directories_that_are_none_are_wrong_usage() {
    let bench = Bench::new(&Session::build());
    let private = synthetic::key().unwrap().to_pem().unwrap();
    fs::write(bench.path("key"), private).unwrap();
    for key in ["key", "absent", "run.intoto.jsonl", "run.evidence"] {
        let answer = run(&Args { keys: vec![bench.path(key)], ..bench.args() });
        assert_eq!(answer.exit_code, 64, "{key}");
        assert!(answer.out.is_empty() && answer.err.contains(key));
    }
    for directory in ["absent", "key"] {
        assert_eq!(run(&Args { evidence: Some(bench.path(directory)), ..bench.args() }).exit_code, 64);
    }
}

#[test]
fn a_run_that_died_is_incomplete() {
    let bench = Bench::new(&Session::build());
    fs::remove_file(bench.path("run.intoto.jsonl")).unwrap();
    let answer = run(&bench.args());
    assert_eq!((answer.exit_code, answer.last_line()), (1, "INCOMPLETE (1 gap)"));
    let objects = bench.objects();
    let last = objects.iter().max_by_key(|path| sequence(path)).unwrap();
    let bytes = fs::read(last).unwrap();
    fs::remove_file(last).unwrap();
    fs::write(bench.path("run.evidence").join("open-9"), &bytes[..bytes.len() - 20]).unwrap();
    for args in [bench.args(), Args { files: vec![bench.path("run.evidence")], ..bench.args() }] {
        let answer = run(&args);
        assert_eq!(answer.exit_code, 1);
        assert!(answer.last_line().starts_with("INCOMPLETE ("), "{}", answer.out);
        assert!(answer.out.contains("truncated") && answer.out.contains(codes::NOT_CLOSED), "{}", answer.out);
    }
}

fn sequence(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    attestation::evidence::header(bytes.as_slice(), attestation::evidence::Limits::default()).unwrap().sequence
}

#[test]
fn nothing_from_a_file_reaches_the_terminal_raw() {
    let mut session = incomplete();
    session.frames.retain(|frame| !matches!(frame.body, Some(proto_body::Closed(_))));
    session.push(proto_body::BlindSpot(proto::evidence::BlindSpot {
        code: "X".into(),
        detail: "\u{1b}[2J\u{202e}\n".into(),
        ends_completeness: true,
    }));
    session.close("\u{1b}c", 0);
    let bench = Bench::new(&session);
    fs::rename(bench.path("run.evidence"), bench.path("\u{1b}[31m.evidence")).unwrap();
    fs::rename(bench.path("run.intoto.jsonl"), bench.path("\u{1b}[31m.intoto.jsonl")).unwrap();
    for json in [false, true] {
        let files = vec![bench.path("\u{1b}[31m.intoto.jsonl")];
        let answer = run(&Args { files, json, ..bench.args() });
        assert_eq!(answer.exit_code, 1);
        let raw = |character: char| character != '\n' && (character.is_control() || character == '\u{202e}');
        assert!(!answer.out.chars().any(raw), "{:?}", answer.out);
    }
}

#[test]
fn json_has_every_check_and_gap() {
    let bench = Bench::new(&incomplete());
    let answer = run(&Args { json: true, ..bench.args() });
    let report: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(report["exitCode"], 1);
    assert_eq!(report["complete"], false);
    assert_eq!(report["recomputed"], true);
    assert_eq!(report["gaps"][0]["code"], codes::IO_URING_USED);
    assert_eq!(report["subjects"][0]["name"], "/src/tool");
    assert_eq!(report["checks"].as_array().unwrap().len(), 11);
    assert_eq!(report["checks"][0]["outcome"], "proven");
}
