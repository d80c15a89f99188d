//! A collector with an API, and who asks it; and one to whom alerts are told.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Instant;

use attestation::dsse;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tests::collector::{Authority, Collector, names};
use tests::{PYTHON, ended, need, root};

use crate::node::{Node, PATIENCE, trust};

/// A port that nobody has.
pub(crate) fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// A collector with an API, and tokens for it.
pub(crate) struct Asked {
    pub(crate) collector: Collector,
    pub(crate) port: u16,
    pub(crate) metrics: u16,
    /// For facts, for statements, for metrics.
    pub(crate) tokens: [String; 3],
}

impl Asked {
    /// It trusts the node, the golden statements' key, and is configured further.
    pub(crate) fn new(node: &Node, more: &str) -> Self {
        let (port, metrics) = (port(), port());
        let golden = root().join("tests/golden/v1/key.pub");
        let trust = trust(node).replace("keys = [", &format!("keys = [{golden:?}, "));
        let mut collector = Collector::new(&trust);
        let token = || {
            let made = collector.ask(&["token"]);
            let said = String::from_utf8(made.stderr).expect("text");
            let hash = said.split('"').nth(1).expect("a hash").to_owned();
            (String::from_utf8(made.stdout).expect("text").trim().to_owned(), hash)
        };
        let made = [token(), token(), token()];
        let mut text =
            format!("{trust}[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n[api]\nlisten = \"127.0.0.1:{port}\"\n");
        for ((_, hash), right) in made.iter().zip(["facts", "statements", "metrics"]) {
            text += &format!("[[api.readers]]\ntoken_sha256 = \"{hash}\"\nrights = [\"{right}\"]\n");
        }
        text += "[[api.readers]]\nspiffe_id = \"spiffe://example.org/auditor/*\"\nrights = [\"facts\"]\n";
        collector.configure(&format!("{text}{more}"));
        Self { collector, port, metrics, tokens: made.map(|(token, _)| token) }
    }

    /// Asks, as curl does with these words: the status and the body.
    pub(crate) fn ask(&self, path: &str, words: &[&str]) -> (u16, String) {
        let mut curl = Command::new(need("curl"));
        curl.args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}", "--cacert"]);
        curl.arg(self.collector.folder.join("collector-authorities.pem")).args(words);
        let said = curl.arg(format!("https://localhost:{}{path}", self.port)).output().expect("curl runs");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", &text));
        (
            status.parse().unwrap_or(0),
            if body.is_empty() { String::from_utf8_lossy(&said.stderr).into_owned() } else { body.to_owned() },
        )
    }

    /// Items of a list, by the token for facts.
    pub(crate) fn items(&self, path: &str) -> Vec<Value> {
        let (status, body) = self.ask(path, &["-H", &format!("Authorization: Bearer {}", self.tokens[0])]);
        assert_eq!(status, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        answer["items"].as_array().expect("a list").clone()
    }

    /// The local page of metrics.
    pub(crate) fn page(&self) -> String {
        let mut curl = Command::new(need("curl"));
        curl.args(["--silent", "--max-time", "20"]).arg(format!("http://127.0.0.1:{}/metrics", self.metrics));
        String::from_utf8(curl.output().expect("curl runs").stdout).expect("text")
    }
}

/// Puts a golden statement into a node's spool: its payload.
pub(crate) fn put(node: &Node, name: &str) -> String {
    let path = root().join(format!("tests/golden/v1/{name}.intoto.jsonl"));
    let envelope = fs::read(&path).expect("a golden statement");
    let _ = ended(&node.testimony(&["spool", "put", "--config", "agent.toml", path.to_str().expect("text")]), 0);
    let payload = dsse::read(envelope.as_slice()).expect("an envelope").into_unverified();
    attestation::hex::encode(&Sha256::digest(payload))
}

/// Until it is so; what it was at last, if it does not come about.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Lines of a file of JSON, as far as they are whole.
pub(crate) fn lines(path: &PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

const WEBHOOK: &str = r#"
import http.server, os, ssl, sys, time
folder, port = sys.argv[1], int(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if os.path.exists(folder + "/hang"):
            time.sleep(60)
        with open(folder + "/told", "ab") as told:
            told.write(body + b"\n")
        with open(folder + "/shown", "w") as shown:
            shown.write(self.headers.get("Authorization", ""))
        self.send_response(503 if os.path.exists(folder + "/fails") else 204)
        self.end_headers()
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/webhook-certificate.pem", folder + "/webhook-key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// A server that alerts are posted to, in Python.
pub(crate) struct Webhook {
    folder: PathBuf,
    port: u16,
    server: Option<Child>,
}

impl Webhook {
    /// One that is not started yet, and its section of a configuration.
    pub(crate) fn new(folder: PathBuf) -> (Self, String) {
        let authority = Authority::new();
        let _ = authority.tls(&folder, "webhook", &names("", "localhost"));
        fs::write(folder.join("webhook.token"), "open\n").expect("written");
        let this = Self { folder, port: port(), server: None };
        let file = |name: &str| this.folder.join(name);
        let section = format!(
            "[alerts.webhook]\nurl = \"https://localhost:{}/alerts\"\nauthorities = {:?}\ntoken_file = {:?}\n",
            this.port,
            file("webhook-authorities.pem"),
            file("webhook.token")
        );
        (this, section)
    }

    pub(crate) fn start(&mut self) {
        let mut server = Command::new(need(PYTHON));
        server.args(["-I", "-c", WEBHOOK]).arg(&self.folder).arg(self.port.to_string());
        self.server = Some(server.spawn().expect("it starts"));
    }

    /// Whether it takes a connection and never answers.
    pub(crate) fn hang(&self, hang: bool) {
        let path = self.folder.join("hang");
        if hang { fs::write(path, "").expect("written") } else { fs::remove_file(path).expect("removed") }
    }

    pub(crate) fn told(&self) -> Vec<Value> {
        lines(&self.folder.join("told"))
    }

    pub(crate) fn shown(&self) -> String {
        fs::read_to_string(self.folder.join("shown")).unwrap_or_default()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// A node whose statements this collector takes, delivering.
pub(crate) fn joined(asked: &mut Asked, node: &mut Node) {
    node.join(&asked.collector);
    asked.collector.start();
    node.start();
    let _ = ended(&asked.collector.ask(&["check-config"]), 0);
}
