//! An agent that traces, and who asks it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use serde_json::Value;
use tests::{Scratch, binary, ended, need_root, verifier};

/// How long something may take to come about; guests under emulation are slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// A user without rights, and his group, which may ask the agent.
pub(crate) const NOBODY: u32 = 65534;
/// Another one of that group.
pub(crate) const SOMEBODY: u32 = 65533;

/// An agent, with its configuration and all that it keeps in a folder of its own.
pub(crate) struct Node {
    pub(crate) scratch: Scratch,
    pub(crate) agent: Option<Child>,
}

impl Node {
    /// Configured so, and started.
    pub(crate) fn start(sessions: &str) -> Self {
        need_root();
        let mut this = Self { scratch: Scratch::new(), agent: None };
        fs::set_permissions(this.scratch.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        ended(&this.testimony(&["keygen", "-o", "key"]), 0);
        // Of the users' own.
        let work = this.work();
        fs::create_dir(&work).expect("made");
        fs::set_permissions(&work, fs::Permissions::from_mode(0o1777)).expect("chmod");
        let at = |name: &str| this.scratch.join(name);
        let text = format!(
            "[sign]\nsigners = [\"key:{}\"]\n[spool]\nfolder = {:?}\n[control]\nsocket = {:?}\ngroup = \"{NOBODY}\"\n\
             [sessions]\nfolder = {:?}\nchain = {:?}\n{sessions}",
            at("key").display(),
            at("spool"),
            this.socket(),
            at("sessions"),
            at("chain"),
        );
        fs::write(at("agent.toml"), text).expect("written");
        this.start_again();
        this
    }

    /// Starts the agent, and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        let mut agent = Command::new(binary());
        agent.args(["agent", "--config", "agent.toml"]).current_dir(self.scratch.path());
        let log = fs::File::options().create(true).append(true).open(self.scratch.join("log")).expect("a log");
        self.agent = Some(agent.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"));
        self.wait("the agent answers", || self.as_user(0, &["sessions"]).status.success());
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.scratch.join("work")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.join("agent.sock")
    }

    pub(crate) fn testimony(&self, words: &[&str]) -> Output {
        Command::new(binary()).args(words).current_dir(self.scratch.path()).output().expect("testimony runs")
    }

    /// As a user of the group, in the folder of all.
    pub(crate) fn command(&self, user: u32, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(words).current_dir(self.work()).uid(user);
        command.gid(if user == 0 { 0 } else { NOBODY });
        command
    }

    fn as_user(&self, user: u32, words: &[&str]) -> Output {
        let socket = self.socket();
        let words = [&words[..1], &["--socket", socket.to_str().expect("text")], &words[1..]].concat();
        self.command(user, &words).output().expect("testimony runs")
    }

    /// `testimony sessions`.
    pub(crate) fn sessions(&self, user: u32, words: &[&str]) -> Output {
        self.as_user(user, &[&["sessions"], words].concat())
    }

    /// `testimony run` of a shell's words by the agent.
    pub(crate) fn run(&self, user: u32, name: &str, script: &str) -> Command {
        let agent = format!("--agent={}", self.socket().display());
        self.command(user, &["run", &agent, "-o", name, "--", "sh", "-c", script])
    }

    /// The list of sessions, as a user sees it.
    pub(crate) fn list(&self, user: u32) -> Vec<Value> {
        let said = self.sessions(user, &["list", "--json"]);
        ended(&said, 0);
        let text = String::from_utf8(said.stdout).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The one session of a kind, when it has come so far.
    pub(crate) fn session(&self, kind: &str, state: &str) -> Value {
        let of = |session: &Value| session["kind"] == kind && session["state"] == state;
        let mut found = None;
        self.wait(&format!("a {kind} is {state}"), || {
            found = self.list(0).into_iter().find(of);
            found.is_some()
        });
        found.expect("found")
    }

    /// What the verifier says of a statement and its evidence.
    pub(crate) fn verify(&self, statement: &str) -> (i32, Value) {
        let evidence = statement.replace(".intoto.jsonl", ".evidence");
        let words = ["--json", "--key", "key.pub", "--evidence", &evidence, statement];
        let said = Command::new(verifier()).args(words).current_dir(self.scratch.path()).output().expect("it runs");
        let code = said.status.code().expect("it ended");
        (code, serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}")))
    }

    /// The statement itself, which holds and is complete.
    pub(crate) fn complete(&self, statement: &str) -> Value {
        let (code, verdict) = self.verify(statement);
        assert_eq!(code, 0, "{verdict}\n{}", self.said());
        self.statement(statement)
    }

    pub(crate) fn statement(&self, statement: &str) -> Value {
        let text = fs::read(self.scratch.join(statement)).expect("it is there");
        let envelope: Value = serde_json::from_slice(&text).expect("JSON");
        let payload = envelope["payload"].as_str().expect("a payload");
        serde_json::from_slice(&STANDARD.decode(payload).expect("base64")).expect("JSON")
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    pub(crate) fn wait(&self, what: &str, mut is: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is() {
            assert!(began.elapsed() < PATIENCE, "not in time: {what}\n{}", self.said());
            sleep(Duration::from_millis(50));
        }
    }

    /// Ends the agent by a signal, and waits for its end.
    pub(crate) fn signal(&mut self, signal: rustix::process::Signal) {
        let Some(mut agent) = self.agent.take() else { return };
        let pid = rustix::process::Pid::from_child(&agent);
        rustix::process::kill_process(pid, signal).expect("it lives");
        agent.wait().expect("it ended");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// The program where everybody may run it: copied once, and not before whoever was started meanwhile has let go of the copy.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Scratch::new();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let program = folder.join("testimony");
        fs::copy(binary(), &program).expect("copied");
        let began = Instant::now();
        while let Err(busy) = Command::new(&program).arg("--version").output() {
            assert!(began.elapsed() < PATIENCE, "{busy}");
            sleep(Duration::from_millis(10));
        }
        // For as long as the tests run.
        std::mem::forget(folder);
        program
    })
}

/// Paths of the files that a statement names.
pub(crate) fn files(statement: &Value) -> Vec<String> {
    let files = statement["predicate"]["monitorLog"]["fileAccess"].as_array().expect("a list");
    files.iter().map(|file| file["name"].as_str().unwrap_or_default().to_owned()).collect()
}
