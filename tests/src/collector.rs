//! A collector, and the certificates that nodes and it have, made for the test.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::network::Network;
pub use crate::place::collector as program;
use crate::place::{Scratch, collector};

/// An authority of certificates for TLS.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A section `[tls]` of who has these names, its files in a folder.
    ///
    /// # Panics
    /// If a file cannot be written.
    #[must_use]
    pub fn tls(&self, folder: &Path, who: &str, names: &[SanType]) -> String {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        // Of the same name as its authority, OpenSSL takes it for that.
        params.distinguished_name.push(DnType::CommonName, who);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |what: &str, content: &str| {
            let path = folder.join(format!("{who}-{what}.pem"));
            // In place of an older one at once, as what renews certificates does it.
            let part = path.with_extension("part");
            let mut options = fs::OpenOptions::new();
            let made = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
            std::io::Write::write_all(&mut made.expect("a file"), content.as_bytes()).expect("written");
            fs::rename(&part, &path).expect("its name");
            path
        };
        format!(
            "[tls]\ncertificate = {:?}\nkey = {:?}\nauthorities = {:?}\n",
            file("certificate", &certificate.pem()),
            file("key", &key.serialize_pem()),
            file("authorities", &self.pem)
        )
    }
}

/// A URI or DNS name of a certificate.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn names(uri: &str, dns: &str) -> Vec<SanType> {
    let uri = (!uri.is_empty()).then(|| SanType::URI(uri.try_into().expect("a URI")));
    let dns = (!dns.is_empty()).then(|| SanType::DnsName(dns.try_into().expect("a name")));
    uri.into_iter().chain(dns).collect()
}

/// A collector on this host; gone when it is dropped.
pub struct Collector {
    /// Its folder: the configuration, and the store in `state`.
    pub folder: Scratch,
    /// Who vouches for it and its nodes.
    pub authority: Authority,
    /// Where it listens.
    pub port: u16,
    server: Option<(Child, BufReader<ChildStderr>)>,
    /// The Workload API that it is known by, in place of the authority; it is nobody's process then.
    spire: Option<PathBuf>,
    /// Where it is, unless that is where we are.
    network: Option<Arc<Network>>,
}

/// Who has no rights anywhere.
pub const NOBODY: u32 = 65534;

impl Collector {
    /// One that is not started yet, which trusts what `trust` says.
    ///
    /// # Panics
    /// If its configuration cannot be written.
    #[must_use]
    pub fn new(trust: &str) -> Self {
        let (folder, authority) = (Scratch::new(), Authority::new());
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let mut this = Self { folder, authority, port, server: None, spire: None, network: None };
        this.configure(trust);
        this
    }

    /// The same, as a user without any rights, which a Workload API at this socket gives an identity to.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn by_spire(socket: PathBuf, trust: &str) -> Self {
        let mut this = Self::new(trust);
        this.spire = Some(socket);
        this.configure(trust);
        let state = this.folder.join("state");
        fs::create_dir(&state).expect("a folder");
        for path in [state, this.config()] {
            chown(path, Some(NOBODY), None).expect("given");
        }
        fs::set_permissions(this.folder.path(), fs::Permissions::from_mode(0o755)).expect("open");
        this
    }

    /// The same in a network of its own, where it listens at all addresses.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn by_spire_in(network: &Arc<Network>, socket: PathBuf, trust: &str) -> Self {
        let mut this = Self::by_spire(socket, trust);
        this.network = Some(Arc::clone(network));
        this.configure(trust);
        this
    }

    /// Writes its configuration anew.
    ///
    /// # Panics
    /// If that cannot be written.
    pub fn configure(&mut self, trust: &str) {
        let tls = match &self.spire {
            Some(socket) => format!("[tls]\nworkload_api = \"unix:{}\"\n", socket.display()),
            None => {
                let names = names("spiffe://example.org/collector", "localhost");
                self.authority.tls(&self.folder.path(), "collector", &names)
            }
        };
        let state = self.folder.join("state");
        let address = if self.network.is_some() { "0.0.0.0" } else { "127.0.0.1" };
        let text = format!(
            "listen = \"{address}:{}\"\nstate = {state:?}\n[log]\nname = \"collector.example.org/log\"\n{tls}{trust}",
            self.port
        );
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(self.config());
        std::io::Write::write_all(&mut file.expect("a file"), text.as_bytes()).expect("written");
    }

    /// Where its configuration is.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("collector.toml")
    }

    /// Starts it; it listens then.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(&mut self) {
        let mut server = Command::new(collector());
        if self.spire.is_some() {
            // Where that user can start it.
            let copy = self.folder.join("testimony-collector");
            fs::copy(collector(), &copy).expect("copied");
            server = match &self.network {
                Some(network) => network.command_as(NOBODY, copy),
                None => Command::new(copy),
            };
            if self.network.is_none() {
                server.uid(NOBODY).gid(NOBODY);
            }
        }
        server.arg("--config").arg(self.config());
        let mut server = server.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(server.stderr.take().expect("an output"));
        // What else it listens at is said before.
        let mut all = String::new();
        while !all.contains("listening on") && said.read_line(&mut all).expect("a line") > 0 {}
        self.server = Some((server, said));
        assert!(all.contains("listening on"), "{all}");
    }

    /// Reads what it says until these words are in a line of it.
    ///
    /// # Panics
    /// If it ends before.
    pub fn until_it_says(&mut self, words: &str) {
        let (_, said) = self.server.as_mut().expect("it runs");
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("a line"), 0, "it ended before it said: {words}");
        }
    }

    /// The most memory that it ever had.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        let (server, _) = self.server.as_ref().expect("it runs");
        let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("its status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
        peak.trim().trim_end_matches("kB").trim().parse().expect("a number")
    }

    /// Kills it, as a machine does that loses its power.
    pub fn kill(&mut self) {
        if let Some((mut server, _)) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Tells it to stop, and says whether it ended well.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn stop(&mut self) -> bool {
        let (mut server, _) = self.server.take().expect("it runs");
        let pid = Pid::from_raw(server.id().cast_signed()).expect("a process");
        kill_process(pid, Signal::TERM).expect("it is there");
        server.wait().expect("it ends").success()
    }

    /// A command of it.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    pub fn ask(&self, words: &[&str]) -> Output {
        let mut ask = Command::new(collector());
        ask.args(words).arg("--config").arg(self.config()).output().expect("it runs")
    }

    /// What a command of it prints, a line of JSON each.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn lines(&self, words: &[&str]) -> Vec<Value> {
        let said = self.ask(words);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let text = String::from_utf8(said.stdout).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}
