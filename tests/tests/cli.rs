//! The command line as a user meets it: every command on a real trace, on what a killed run leaves, and on hostile files.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{
    env, fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take before it counts as hanging.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A directory of its own, removed with the test.
struct Bench {
    directory: PathBuf,
}

/// What a command said and how it ended.
struct Answer {
    status: i32,
    out: String,
    err: String,
}

impl Bench {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("testimony-cli-{}-{number}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(tests::binary());
        command.args(args).current_dir(&self.directory).stdin(Stdio::null()).env_remove("SUDO_UID");
        command
    }

    fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("testimony is not built")
    }

    /// Runs to the end, which must come in time. What is said goes to files, so that no pipe fills up.
    fn run(&self, args: &[&str]) -> Answer {
        let (out, err) = (self.path(".out"), self.path(".err"));
        let mut command = self.command(args);
        command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        let mut child = command.spawn().expect("testimony is not built");
        let limit = Instant::now() + TIME_MAX;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > limit {
                child.kill().unwrap();
                panic!("{args:?} hangs");
            }
            sleep(Duration::from_millis(5));
        };
        let text = |path: &Path| String::from_utf8(fs::read(path).unwrap()).expect("output is UTF-8");
        Answer { status: status.code().unwrap_or(-1), out: text(&out), err: text(&err) }
    }

    /// A trace of a shell that reads, writes and moves.
    fn traced(&self, name: &str, script: &str) {
        need_root();
        let answer = self.run(&["run", "--key", "key", "-o", name, "--", "sh", "-c", script]);
        assert_eq!(answer.status, 0, "{}", answer.err);
    }

    /// A run that was killed in the middle of its command.
    fn killed(&self, name: &str) {
        need_root();
        let script =
            "echo $$ > pid; while [ ! -e stop ]; do cat /etc/hostname > /dev/null; sleep 0.05; done; echo > lived";
        let mut child = self.start(&["run", "--key", "key", "-o", name, "--", "sh", "-c", script]);
        wait_for("the command's start", || self.path("pid").exists());
        // Longer than frames wait in memory.
        sleep(Duration::from_millis(1500));
        let alive = self.run(&["recover", name, "--key", "key"]);
        assert_eq!(alive.status, 1, "{}", alive.err);
        assert!(alive.err.contains("still being written"), "{}", alive.err);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Answer {
    fn last_line(&self) -> &str {
        self.out.lines().last().unwrap_or_default()
    }
}

fn need_root() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let root = status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    assert!(root, "this test traces in the kernel: run it as root");
}

fn wait_for(what: &str, there: impl Fn() -> bool) {
    let limit = Instant::now() + TIME_MAX;
    while !there() {
        assert!(Instant::now() < limit, "{what} did not come");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_run_is_incomplete_recovers_as_such_and_leaves_its_command_alone() {
    let bench = Bench::new();
    bench.killed("r");
    for file in ["r.intoto.jsonl", "r.evidence"] {
        let verdict = bench.run(&["verify", file]);
        assert_eq!(verdict.status, 1, "{}", verdict.out);
        assert!(verdict.last_line().starts_with("INCOMPLETE"), "{}", verdict.out);
    }
    let shown = bench.run(&["show", "r.evidence"]);
    assert!(shown.status == 0 && shown.out.contains("UNSIGNED") && shown.out.contains("NOT_CLOSED"), "{}", shown.out);
    let recovered = bench.run(&["recover", "r", "--key", "key"]);
    assert_eq!(recovered.status, 0, "{}", recovered.err);
    assert!(recovered.last_line().contains("INCOMPLETE"), "{}", recovered.out);
    let verdict = bench.run(&["verify", "--key", "key.pub", "r.intoto.jsonl"]);
    assert_eq!(verdict.status, 1);
    assert!(verdict.out.contains("RECOVERED") && verdict.last_line().starts_with("INCOMPLETE"), "{}", verdict.out);
    let verdict = bench.run(&["verify", "--key", "key.pub", "--accept-incomplete", "r.intoto.jsonl"]);
    assert_eq!(verdict.status, 0, "{}", verdict.out);
    let again = bench.run(&["recover", "r", "--key", "key"]);
    assert!(again.status == 1 && again.err.contains("nothing is left to recover"), "{}", again.err);
    fs::write(bench.path("stop"), "").unwrap();
    wait_for("the command's own end", || bench.path("lived").exists());
}

#[test]
fn recover_refuses_where_there_is_nothing() {
    let bench = Bench::new();
    fs::create_dir(bench.path("empty.evidence")).unwrap();
    for (name, why) in [("nothing", "nothing to recover"), ("empty", "holds no session")] {
        let answer = bench.run(&["recover", name, "--key", "key"]);
        assert!(answer.status == 1 && answer.err.contains(why), "{}", answer.err);
    }
    assert!(!bench.path("key").exists());
}

#[test]
fn show_has_gaps_first_then_processes_files_and_peers() {
    let bench = Bench::new();
    bench.traced("r", "cat /etc/hostname > copy; mv copy moved; (exit 3); true");
    let shown = bench.run(&["show", "r.intoto.jsonl"]);
    assert_eq!(shown.status, 0, "{}", shown.err);
    let at = |text: &str| shown.out.find(text).unwrap_or_else(|| panic!("no {text} in\n{}", shown.out));
    assert!(at("NOT VERIFIED") < at("Gaps") && at("Gaps") < at("Processes") && at("Processes") < at("Files"));
    assert!(at("Files") < at("Network") && shown.out.contains("cat /etc/hostname") && shown.out.contains("exit 3"));
    assert!(!shown.out.contains('\u{1b}'), "colour in a pipe");
    let by_path = bench.run(&["show", "--path", "/etc/hostname", "--key", "key.pub", "r"]);
    assert!(by_path.out.contains("the signature holds") && by_path.out.contains("hostname"), "{}", by_path.out);
    assert!(by_path.out.contains("cat[") && !by_path.out.contains("mv["), "{}", by_path.out);
    let files = bench.run(&["show", "--files", "r"]);
    assert!(files.out.contains("rename") && files.out.contains("moved"), "{}", files.out);
    fs::remove_dir_all(bench.path("r.evidence")).unwrap();
    let alone = bench.run(&["show", "--files", "r"]);
    assert!(alone.status == 0 && alone.out.contains("without the evidence"), "{}", alone.out);
}

#[test]
fn show_as_json_is_one_object_with_the_parts_asked_for() {
    let bench = Bench::new();
    bench.traced("r", "cat /etc/hostname > /dev/null");
    let all = bench.run(&["show", "--json", "r"]).out;
    for key in
        ["\"version\":1", "\"signature\":\"not-checked\"", "\"evidence\":\"read\"", "\"processes\":", "\"files\":"]
    {
        assert!(all.contains(key), "{key} in {all}");
    }
    assert_eq!(all.lines().count(), 1);
    let tree = bench.run(&["show", "--json", "--tree", "r"]).out;
    assert!(tree.contains("\"processes\":") && !tree.contains("\"files\":"), "{tree}");
}

#[test]
fn nothing_from_the_workload_reaches_the_terminal_raw() {
    let bench = Bench::new();
    bench.traced(
        "r",
        "printf x > \"$(printf 'a\\033[2J\\nb\\377')\"; cat \"$(printf 'a\\033[2J\\nb\\377')\" > /dev/null",
    );
    for args in [
        &["show", "r"][..],
        &["show", "--files", "r"],
        &["show", "--json", "r"],
        &["verify", "--key", "key.pub", "r.intoto.jsonl"],
    ] {
        let answer = bench.run(args);
        assert_eq!(answer.status, 0, "{}", answer.err);
        let raw = |character: char| character != '\n' && character.is_control();
        assert!(!answer.out.chars().any(raw), "{args:?}: {:?}", answer.out);
    }
    assert!(bench.run(&["show", "--files", "r"]).out.contains("a\\x1b[2J\\x0ab\\xff"));
}

#[test]
fn what_is_no_statement_is_refused_with_a_reason_and_soon() {
    let bench = Bench::new();
    let deep = format!("{{\"payload\":{}", "[".repeat(1 << 20));
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("cut", b"{\"payloadType\":\"application/vnd.in-toto+json\",\"payload\":\"e30"),
        ("foreign", b"{\"payloadType\":\"x\",\"payload\":\"e30=\",\"signatures\":[{\"sig\":\"\"}]}"),
        ("binary", &[0xff; 70_000]),
        ("deep", deep.as_bytes()),
    ] {
        fs::write(bench.path(name), bytes).unwrap();
    }
    let huge = fs::File::create(bench.path("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    fs::create_dir(bench.path("directory")).unwrap();
    assert!(Command::new("mkfifo").arg(bench.path("fifo")).status().unwrap().success());
    for name in ["empty", "cut", "foreign", "binary", "deep", "huge", "directory", "fifo", "absent", "/dev/zero"] {
        let answer = bench.run(&["show", name]);
        assert_eq!(answer.status, 2, "{name}: {}", answer.err);
        assert!(answer.err.starts_with("testimony: ") && answer.err.lines().count() == 1, "{name}: {}", answer.err);
        assert!(answer.out.is_empty() && !answer.err.contains("panicked"), "{name}");
        let answer = bench.run(&["verify", "--key", name, "empty"]);
        assert!(answer.status == 64 && answer.err.lines().count() == 1, "{name}: {}", answer.err);
        assert!(answer.err.starts_with(&format!("testimony: --key {name}: ")), "{name}: {}", answer.err);
        let answer = bench.run(&["recover", name, "--key", "key"]);
        assert_eq!(answer.status, 1, "{name}: {}", answer.err);
    }
}

#[test]
fn show_with_another_key_shows_nothing() {
    let bench = Bench::new();
    bench.traced("r", "true");
    assert_eq!(bench.run(&["keygen", "-o", "other"]).status, 0);
    let answer = bench.run(&["show", "--key", "other.pub", "r"]);
    assert!(answer.status == 1 && answer.out.is_empty() && answer.err.contains("SIGNATURE_INVALID"), "{}", answer.err);
}

#[test]
fn a_frame_is_proven_without_the_log() {
    let bench = Bench::new();
    bench.traced("r", "cat /etc/hostname > /dev/null");
    let shown = bench.run(&["show", "--event", "1", "r.intoto.jsonl"]);
    assert!(shown.status == 0 && shown.out.contains("session opened, of: sh -c"), "{}{}", shown.out, shown.err);
    let proof = bench.run(&["show", "--event", "1", "--proof", "r.intoto.jsonl"]);
    assert_eq!(proof.status, 0, "{}", proof.err);
    fs::write(bench.path("proof"), &proof.out).unwrap();
    let beyond = bench.run(&["show", "--event", "4000000000", "r.intoto.jsonl"]);
    assert!(beyond.status == 1 && beyond.err.contains("outside a tree of"), "{}", beyond.err);
    fs::rename(bench.path("r.evidence"), bench.path("elsewhere")).unwrap();
    let verify = |proof: &str| {
        bench.run(&["verify", "--accept-incomplete", "--key", "key.pub", "--proof", proof, "r.intoto.jsonl"])
    };
    let verdict = verify("proof");
    assert!(verdict.status == 0 && verdict.out.contains("session opened, of: sh -c"), "{}", verdict.out);
    fs::write(bench.path("bent"), proof.out.replace("\"leaf\":1,", "\"leaf\":2,")).unwrap();
    let verdict = verify("bent");
    assert!(verdict.status == 1 && verdict.out.contains("NOT_IN_LOG"), "{}", verdict.out);
    let verdict = verify("key.pub");
    assert!(verdict.status == 1 && verdict.out.contains("PROOF_MALFORMED"), "{}", verdict.out);
    let verdict = verify("nothing");
    assert!(verdict.status == 64 && verdict.err.contains("--proof nothing"), "{}", verdict.err);
}

#[test]
fn statements_are_a_chain_in_which_gaps_and_forks_show() {
    let bench = Bench::new();
    need_root();
    let run = |name: &str| {
        let answer = bench.run(&["run", "--key", "key", "--chain", "chain", "-o", name, "--", "true"]);
        assert_eq!(answer.status, 0, "{}", answer.err);
    };
    ["a", "b", "c"].into_iter().for_each(run);
    let verify = |names: &[&str]| {
        let files: Vec<String> = names.iter().map(|name| format!("{name}.intoto.jsonl")).collect();
        let words =
            ["verify", "--accept-incomplete", "--key", "key.pub"].into_iter().chain(files.iter().map(String::as_str));
        bench.run(&words.collect::<Vec<_>>())
    };
    let all = verify(&["c", "a", "b"]);
    assert!(all.status == 0 && all.out.contains("3 statements of"), "{}", all.out);
    assert!(all.out.contains("numbers 1 to 3"), "{}", all.out);
    let some = verify(&["a", "c"]);
    assert!(some.status == 0 && some.out.contains("not given: 2"), "{}", some.out);
    // Somebody with the key lets the chain begin anew, to have another third statement.
    fs::remove_dir_all(bench.path("chain")).unwrap();
    ["d", "e"].into_iter().for_each(run);
    let forked = verify(&["a", "b", "c", "d", "e"]);
    assert!(forked.status == 1 && forked.out.contains("CHAIN_FORKED"), "{}", forked.out);
    // Where no chain can be kept, the statement says so and is whole.
    fs::write(bench.path("no-folder"), "").unwrap();
    let answer = bench.run(&["run", "--key", "key", "--chain", "no-folder", "-o", "f", "--", "true"]);
    assert_eq!(answer.status, 0, "{}", answer.err);
    let shown = bench.run(&["show", "--gaps", "f.intoto.jsonl"]);
    assert!(shown.out.contains("NOT_CHAINED"), "{}", shown.out);
    assert!(answer.err.contains("will have no number"), "{}", answer.err);
}

#[test]
fn explain_knows_every_case_and_suggests() {
    let bench = Bench::new();
    let answer = bench.run(&["explain", "not_closed"]);
    assert!(answer.status == 0 && answer.out.contains("NOT_CLOSED"), "{}", answer.err);
    let answer = bench.run(&["explain", "NOT_CLOSE"]);
    assert!(answer.status == 64 && answer.err.contains("did you mean NOT_CLOSED"), "{}", answer.err);
    assert!(bench.run(&["explain"]).out.lines().count() > 50);
    assert!(bench.run(&["explain", "--json", "GONE"]).out.contains("\"kind\":\"reason\""));
}

#[test]
fn keygen_makes_a_key_for_its_owner_alone_and_overwrites_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["keygen", "-o", "key"]).status, 0);
    let mode = fs::metadata(bench.path("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(bench.path("key")).unwrap();
    assert_eq!(bench.run(&["keygen", "-o", "key"]).status, 1);
    assert_eq!(fs::read(bench.path("key")).unwrap(), before);
}

#[test]
fn doctor_says_that_a_run_here_can_end_complete_and_leaves_nothing() {
    need_root();
    let bench = Bench::new();
    let answer = bench.run(&["doctor", "--key", "key"]);
    assert_eq!(answer.status, 0, "{}{}", answer.out, answer.err);
    for hook in ["exec", "open", "rename", "connect"] {
        let seen = |line: &str| line.split_whitespace().nth(1) == Some(hook) && line.contains(": seen");
        assert!(answer.out.lines().any(seen), "{hook}: {}", answer.out);
    }
    let left: Vec<_> = fs::read_dir(&bench.directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter().all(|name| name.as_bytes().starts_with(b".out") || name.as_bytes().starts_with(b".err")),
        "{left:?}"
    );
    assert!(bench.run(&["doctor", "--json", "--key", "key"]).out.contains("\"complete\":true"));
}

#[test]
fn doctor_refuses_a_key_that_others_may_read() {
    need_root();
    let bench = Bench::new();
    assert_eq!(bench.run(&["keygen", "-o", "key"]).status, 0);
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let answer = bench.run(&["doctor", "--key", "key"]);
    assert!(answer.status == 1 && answer.out.contains("chmod 600"), "{}", answer.out);
}

#[test]
fn wrong_usage_ends_64_and_help_ends_0() {
    let bench = Bench::new();
    for args in [
        &[][..],
        &["nothing"],
        &["show"],
        &["show", "--since", "yesterday", "x"],
        &["completions", "nosh"],
        &["man", "nothing"],
    ] {
        assert_eq!(bench.run(args).status, 64, "{args:?}");
    }
    for args in [&["--help"][..], &["show", "--help"], &["completions", "zsh"], &["man"], &["man", "recover"]] {
        let answer = bench.run(args);
        assert!(answer.status == 0 && !answer.out.is_empty(), "{args:?}");
    }
}
