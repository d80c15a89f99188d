//! SPIRE, server and agent, for one test: a trust domain of its own, stopped when it is dropped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::{Scratch, tool};

/// The release that `cargo xtask setup tests` builds.
const HOME: &str = "spire-1.15.3/bin";
/// How long a step may take.
const WAIT_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The trust domain.
pub const DOMAIN: &str = "example.org";

/// A server and an agent.
#[derive(Debug)]
pub struct Spire {
    folder: Scratch,
    server: Child,
    agent: Option<Child>,
}

/// A program of SPIRE's.
///
/// # Panics
/// If it was not built.
fn program(name: &str) -> Command {
    Command::new(tool(&format!("{HOME}/{name}")))
}

impl Spire {
    /// Starts both. An SVID lives for `ttl`, as SPIRE writes it.
    ///
    /// # Panics
    /// If they do not come up, with what they said.
    #[must_use]
    pub fn start(ttl: &str) -> Self {
        Self::issuing(ttl, "https://spire.testimony.test")
    }

    /// The same; its tokens name this issuer.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn issuing(ttl: &str, issuer: &str) -> Self {
        let folder = Scratch::new();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let at = folder.path();
        let at = at.display();
        let server = format!(
            r#"server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  trust_domain = "{DOMAIN}"
  data_dir = "{at}/server"
  socket_path = "{at}/server.sock"
  default_x509_svid_ttl = "{ttl}"
  ca_ttl = "24h"
  jwt_issuer = "{issuer}"
  experimental {{ cache_reload_interval = "200ms" }}
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{at}/server.db" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
}}
"#
        );
        let agent = format!(
            r#"agent {{
  data_dir = "{at}/agent"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{at}/agent.sock"
  trust_domain = "{DOMAIN}"
  trust_bundle_path = "{at}/bundle.pem"
  experimental {{ sync_interval = "500ms" }}
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "disk" {{ plugin_data {{ directory = "{at}/agent" }} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"#
        );
        for name in ["server", "agent"] {
            fs::create_dir(folder.join(name)).expect("a folder");
        }
        fs::write(folder.join("server.conf"), server).expect("written");
        fs::write(folder.join("agent.conf"), agent).expect("written");
        let server = spawn(
            program("spire-server").arg("run").arg("-config").arg(folder.join("server.conf")),
            &folder.join("server.log"),
        );
        let mut spire = Self { folder, server, agent: None };
        spire.until("the server is up", "server.log", |spire| spire.ask(&["healthcheck"]).is_some());
        let bundle = spire.bundle("pem");
        fs::write(spire.folder.join("bundle.pem"), bundle).expect("written");
        let token = spire.ask(&["token", "generate", "-spiffeID", "spiffe://example.org/node"]).expect("a token");
        let token = token.trim().strip_prefix("Token: ").expect("a token").to_owned();
        spire.start_agent(Some(&token));
        spire
    }

    /// The socket of the Workload API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// The socket of the server's own API.
    #[must_use]
    pub fn server_socket(&self) -> PathBuf {
        self.folder.join("server.sock")
    }

    /// The server's bundle, as `pem` or `spiffe`.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    pub fn bundle(&self, format: &str) -> String {
        self.ask(&["bundle", "show", "-format", format]).expect("a bundle")
    }

    /// Has another authority sign SVIDs from now on; the one before stays in the bundle.
    ///
    /// # Panics
    /// If the server does not do it.
    pub fn rotate_authority(&self) {
        let said = self.ask(&["localauthority", "x509", "prepare"]).expect("another authority");
        let id = said.lines().find_map(|line| line.trim().strip_prefix("Authority ID:")).expect("its id").trim();
        self.ask(&["localauthority", "x509", "activate", "-authorityID", id]).expect("activated");
    }

    /// Gives processes of root an identity, and waits until the agent knows it.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn register(&self, id: &str) {
        self.create(id, "unix:uid:0");
        self.until("the agent has the entry", "agent.log", |spire| {
            let mut fetch = program("spire-agent");
            fetch.args(["api", "fetch", "x509", "-socketPath"]).arg(spire.socket());
            fetch.output().is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(id))
        });
    }

    /// The same for processes of another user, who can reach the socket from then on.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn register_user(&self, id: &str, uid: u32) {
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o711)).expect("a way in");
        self.create(id, &format!("unix:uid:{uid}"));
        // That user cannot start the program that would ask.
        self.until("the agent has the entry", "agent.log", |spire| {
            let log = fs::read_to_string(spire.folder.join("agent.log")).unwrap_or_default();
            log.lines().any(|line| line.contains("Creating X509-SVID") && line.contains(id))
        });
    }

    /// Takes an identity back, and waits until the agent has done so.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn withdraw(&self, id: &str) {
        let shown = self.ask(&["entry", "show", "-spiffeID", id]).expect("an entry");
        let line = shown.lines().find(|line| line.starts_with("Entry ID")).expect("its id");
        let entry = line.rsplit(' ').next().unwrap_or_default();
        self.ask(&["entry", "delete", "-entryID", entry]).expect("the entry is deleted");
        self.until("nobody is given it any more", "agent.log", |spire| spire.svid().is_none());
    }

    fn create(&self, id: &str, selector: &str) {
        let parent = "spiffe://example.org/node";
        let made = self.ask(&["entry", "create", "-parentID", parent, "-spiffeID", id, "-selector", selector]);
        made.expect("an entry");
    }

    /// Has the SVID of an identity replaced, and waits until the agent has the new one: an entry that changes is a reason for it.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn rotate(&self, id: &str) {
        let before = self.svid();
        let shown = self.ask(&["entry", "show", "-spiffeID", id]).expect("an entry");
        let field = |name: &str| {
            let line = shown.lines().find(|line| line.starts_with(name)).expect("its fields");
            line.rsplit(' ').next().unwrap_or_default().to_owned()
        };
        let (entry, revision) = (field("Entry ID"), field("Revision"));
        let hint = format!("revision-{revision}");
        let words = ["entry", "update", "-entryID", &entry, "-parentID", "spiffe://example.org/node", "-spiffeID", id];
        self.ask(&[&words[..], &["-selector", "unix:uid:0", "-hint", &hint]].concat()).expect("the entry is changed");
        self.until("the SVID is a new one", "agent.log", |spire| spire.svid() != before);
    }

    /// The SVID that root is given now, in PEM.
    fn svid(&self) -> Option<Vec<u8>> {
        let mut fetch = program("spire-agent");
        fetch.args(["api", "fetch", "x509", "-write"]).arg(self.folder.path()).arg("-socketPath").arg(self.socket());
        fetch.output().ok().filter(|said| said.status.success())?;
        fs::read(self.folder.join("svid.0.pem")).ok()
    }

    /// Stops the agent: its Workload API is gone.
    pub fn stop_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }

    /// Starts the agent, with a token the first time.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_agent(&mut self, token: Option<&str>) {
        let mut agent = program("spire-agent");
        agent.arg("run").arg("-config").arg(self.folder.join("agent.conf"));
        if let Some(token) = token {
            agent.args(["-joinToken", token]);
        }
        self.agent = Some(spawn(&mut agent, &self.folder.join("agent.log")));
        self.until("the agent is up", "agent.log", |spire| {
            let mut check = program("spire-agent");
            check.args(["healthcheck", "-socketPath"]).arg(spire.socket());
            check.output().is_ok_and(|said| said.status.success())
        });
    }

    /// What the server answers to a command; nothing where it fails.
    fn ask(&self, words: &[&str]) -> Option<String> {
        let mut ask = program("spire-server");
        ask.args(words).arg("-socketPath").arg(self.folder.join("server.sock"));
        let said = ask.output().expect("spire-server runs");
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
    }

    fn until(&self, what: &str, log: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            let log = || fs::read_to_string(self.folder.join(log)).unwrap_or_default();
            assert!(began.elapsed() < WAIT_MAX, "{what}: not within {WAIT_MAX:?}\n{}", log());
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Spire {
    fn drop(&mut self) {
        self.stop_agent();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let log = File::create(log).expect("a log");
    let also = log.try_clone().expect("a log");
    command.stdin(Stdio::null()).stdout(log).stderr(also).spawn().expect("SPIRE starts")
}
