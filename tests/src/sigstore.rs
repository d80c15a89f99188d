//! Sigstore's services for one test, in a network of their own: who certifies a moment's key for a SPIFFE ID (Fulcio) and the log of its
//! certificates (TesseraCT), the log of signatures (Rekor v2), the timestamp authority, and SPIRE with what publishes its keys as the
//! issuer of tokens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::network::Network;
use crate::place::{Scratch, need, tool};
use crate::spire::Spire;

/// Who issues tokens.
pub const ISSUER: &str = "https://127.0.0.1:4001";

const WAIT_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(30);
const FULCIO: &str = "http://127.0.0.1:4002";
const REKOR: &str = "http://127.0.0.1:4004";
const STAMPS: &str = "http://127.0.0.1:4007";
const TRANSPARENCY: &str = "http://127.0.0.1:4009";
/// Every service, and its port.
const PORTS: [(&str, u16); 5] =
    [("issuer", 4001), ("certificates", 4002), ("log", 4004), ("stamps", 4007), ("transparency", 4009)];
/// What the services are called in the trusted root; the log's is in its checkpoints.
const NAMES: [&str; 4] = [
    "https://fulcio.testimony.test",
    "https://rekor.testimony.test",
    "https://tsa.testimony.test",
    "https://ctlog.testimony.test",
];

/// The services.
#[derive(Debug)]
pub struct Sigstore {
    /// Trusted root, signing config, and what they are made of.
    pub folder: Scratch,
    /// Who says who is who.
    pub spire: Spire,
    network: Network,
    services: Vec<(String, Child)>,
    /// Where certificates are logged.
    certificates_logged_at: String,
}

impl Sigstore {
    /// Starts all of them; tokens of root's processes are for `id`.
    ///
    /// # Panics
    /// If they do not come up.
    #[must_use]
    pub fn start(id: &str) -> Self {
        let folder = Scratch::new();
        let network = Network::new();
        let (services, certificates_logged_at) = (Vec::new(), TRANSPARENCY.to_owned());
        let mut sigstore =
            Self { folder, spire: Spire::issuing("1h", ISSUER), network, services, certificates_logged_at };
        sigstore.keys();
        sigstore.spire.register(id);
        for service in ["issuer", "log", "stamps", "transparency"] {
            sigstore.serve(service);
        }
        sigstore.until("the issuer", |sigstore| {
            let mut ask = sigstore.inside("python3");
            let keys = format!(
                "import ssl,urllib.request as u;assert b'kid' in u.urlopen('{ISSUER}/keys',\
                 context=ssl.create_default_context(cafile='tls-root.pem')).read()"
            );
            ask.args(["-c", &keys]).output().is_ok_and(|said| said.status.success())
        });
        sigstore.serve("certificates");
        for (name, port) in PORTS {
            sigstore.until(name, |sigstore| sigstore.listens(port));
        }
        sigstore.describe();
        sigstore
    }

    /// A program in the services' network and folder.
    #[must_use]
    pub fn inside(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.network.command(program);
        command.current_dir(self.folder.path());
        command
    }

    /// Ends one of `issuer`, `certificates`, `transparency`, `log` and `stamps`.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop(&mut self, service: &str) {
        let at = self.services.iter().position(|(name, _)| name == service).expect("it runs");
        let (_, mut child) = self.services.remove(at);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts it again.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn again(&mut self, service: &str) {
        self.serve(service);
        let (_, port) = PORTS.into_iter().find(|(name, _)| *name == service).expect("a service");
        self.until(service, |sigstore| sigstore.listens(port));
    }

    /// From now on certificates are logged by whoever answers here, and what that one says is put into them unseen; or by nobody.
    ///
    /// # Panics
    /// If who certifies does not come up again.
    pub fn log_certificates_at(&mut self, url: Option<&str>) {
        self.stop("certificates");
        url.unwrap_or_default().clone_into(&mut self.certificates_logged_at);
        self.again("certificates");
    }

    /// A file of the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether it is not the host's own.
    fn listens(&self, port: u16) -> bool {
        let mut try_it = self.inside("bash");
        try_it.args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]).stderr(Stdio::null());
        try_it.status().is_ok_and(|status| status.success())
    }

    fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is(self) {
            if began.elapsed() > WAIT_MAX {
                let said =
                    PORTS.map(|(name, _)| fs::read_to_string(self.path(&format!("{name}.out"))).unwrap_or_default());
                panic!("{what} does not come up\n{}", said.join("\n"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn serve(&mut self, service: &str) {
        let at = self.folder.path();
        let at = at.display().to_string();
        let (program, words) = match service {
            "issuer" => ("spire-1.15.3/bin/oidc-discovery-provider", "-config issuer.conf".to_owned()),
            "certificates" => (
                "fulcio-1.8.8/bin/fulcio",
                format!("serve --host 127.0.0.1 --port 4002 --grpc-host 127.0.0.1 --grpc-port 4003 --metrics-port 4008 \
                     --legacy-unix-domain-socket @fulcio --ca fileca --fileca-cert certificates-chain.pem \
                     --fileca-key certificates.locked --fileca-key-passwd x --fileca-watch=false --config-path fulcio.yaml \
                     --log_type prod --ct-log-url={}{}", self.certificates_logged_at, self.certificates_log_key()),
            ),
            "transparency" => (
                "ctlog/bin/ctlog",
                format!("127.0.0.1:4009 ctlog.testimony.test {at}/transparency transparency.key certificates-root.pem"),
            ),
            "log" => (
                "rekor-tiles-2.3.0/bin/rekor-server",
                format!(
                    "serve --http-address 127.0.0.1 --http-port 4004 --grpc-address 127.0.0.1 --grpc-port 4005 \
                     --http-metrics-port 4006 --hostname rekor.testimony.test --storage-dir {at}/log --signer-filepath log.key \
                     --checkpoint-interval 1s --log-level warn"
                ),
            ),
            _ => (
                "timestamp-authority-2.1.3/bin/timestamp-server",
                "serve --host 127.0.0.1 --port 4007 --timestamp-signer file --file-signer-key-path stamps.locked \
                 --file-signer-passwd x --certificate-chain-path stamps-chain.pem --disable-ntp-monitoring --log-type prod"
                    .to_owned(),
            ),
        };
        let out = File::create(self.path(&format!("{service}.out"))).expect("a log");
        let also = out.try_clone().expect("a log");
        let mut serve = self.inside(tool(program));
        serve.args(words.split_whitespace()).stdin(Stdio::null()).stdout(out).stderr(also);
        let child = serve.spawn().expect("it starts");
        self.services.push((service.to_owned(), child));
    }

    /// Who certifies holds its own log to its key; another one is somebody that a test put there.
    fn certificates_log_key(&self) -> &'static str {
        if self.certificates_logged_at == TRANSPARENCY { " --ct-log-public-key-path=transparency.pub" } else { "" }
    }

    /// Keys and certificates of all, and the configurations that name them.
    fn keys(&self) {
        let say = "keyUsage=critical,";
        self.root("tls-root");
        self.below(
            "tls",
            "tls-root",
            &format!("{say}digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1"),
        );
        self.root("certificates-root");
        let between = format!(
            "basicConstraints=critical,CA:TRUE,pathlen:0\n{say}keyCertSign,cRLSign\nextendedKeyUsage=codeSigning"
        );
        self.below("certificates", "certificates-root", &between);
        self.root("stamps-root");
        self.below("stamps", "stamps-root", &format!("{say}digitalSignature\nextendedKeyUsage=critical,timeStamping"));
        for name in ["certificates", "stamps"] {
            let chain = [name, &format!("{name}-root")]
                .map(|name| fs::read(self.path(&format!("{name}.pem"))).expect("a certificate"));
            fs::write(self.path(&format!("{name}-chain.pem")), chain.concat()).expect("written");
            let (key, locked) = (format!("{name}.key"), format!("{name}.locked"));
            self.openssl(&[
                "pkcs8",
                "-topk8",
                "-v2",
                "aes-256-cbc",
                "-in",
                &key,
                "-out",
                &locked,
                "-passout",
                "pass:x",
            ]);
        }
        self.openssl(&["genpkey", "-algorithm", "ed25519", "-out", "log.key"]);
        self.openssl(&["pkey", "-in", "log.key", "-pubout", "-out", "log.pub"]);
        // As a log of certificates takes it: SEC 1.
        self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "transparency.key"]);
        self.openssl(&["pkey", "-in", "transparency.key", "-pubout", "-out", "transparency.pub"]);
        self.key("stranger");
        self.openssl(&["pkey", "-in", "stranger.key", "-pubout", "-out", "stranger.pub"]);
        for folder in ["log", "transparency"] {
            fs::create_dir(self.path(folder)).expect("a folder");
        }
        let at = self.folder.path();
        let at = at.display();
        let server = self.spire.server_socket();
        let issuer = format!(
            "log_level = \"WARN\"\ndomains = [\"127.0.0.1\"]\njwt_issuer = \"{ISSUER}\"\n\
             serving_cert_file {{ cert_file_path = \"{at}/tls.pem\" key_file_path = \"{at}/tls.key\" addr = \"127.0.0.1:4001\" }}\n\
             server_api {{ address = \"unix://{}\" poll_interval = \"1s\" }}\n",
            server.display()
        );
        fs::write(self.path("issuer.conf"), issuer).expect("written");
        let root = fs::read_to_string(self.path("tls-root.pem")).expect("a certificate");
        let root: String = root.lines().map(|line| format!("      {line}\n")).collect();
        let fulcio = format!(
            "oidc-issuers:\n  {ISSUER}:\n    issuer-url: {ISSUER}\n    client-id: sigstore\n    type: spiffe\n    \
             spiffe-trust-domain: example.org\n    ca-cert: |\n{root}"
        );
        fs::write(self.path("fulcio.yaml"), fulcio).expect("written");
    }

    /// The trusted root, two that know the log of certificates by another key or not at all, and the signing config, by cosign.
    fn describe(&self) {
        for (out, key) in [("trusted_root", Some("transparency")), ("other_ct", Some("stranger")), ("without_ct", None)]
        {
            self.trust(out, key);
        }
        let from = "start-time=2020-01-01T00:00:00Z,operator=testimony.test";
        self.cosign(&[
            "signing-config".to_owned(),
            "create".to_owned(),
            format!("--fulcio=url={FULCIO},api-version=1,{from}"),
            format!("--rekor=url={REKOR},api-version=2,{from}"),
            "--rekor-config=ANY".to_owned(),
            format!("--oidc-provider=url={ISSUER},api-version=1,{from}"),
            format!("--tsa=url={STAMPS}/api/v1/timestamp,api-version=1,{from}"),
            "--tsa-config=ANY".to_owned(),
            "--out=signing_config.json".to_owned(),
        ]);
    }

    /// A trusted root whose log of certificates has this key, or that has none.
    fn trust(&self, out: &str, key: Option<&str>) {
        let [fulcio, rekor, stamps, transparency] = NAMES;
        let since = "start-time=2020-01-01T00:00:00Z";
        let mut words = vec![
            "trusted-root".to_owned(),
            "create".to_owned(),
            format!("--fulcio=url={fulcio},certificate-chain=certificates-chain.pem,{since}"),
            format!("--rekor=url={rekor},public-key=log.pub,{since},origin=rekor.testimony.test"),
            format!("--tsa=url={stamps},certificate-chain=stamps-chain.pem,{since}"),
            format!("--out={out}.json"),
        ];
        words.extend(key.map(|key| format!("--ctfe=url={transparency},public-key={key}.pub,{since}")));
        self.cosign(&words);
    }

    fn cosign(&self, words: &[String]) {
        let said = Command::new(tool("cosign/usr/bin/cosign")).args(words).current_dir(self.folder.path()).output();
        let said = said.expect("cosign runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    fn openssl(&self, words: &[&str]) {
        let said = Command::new(need("openssl")).args(words).current_dir(self.folder.path()).output();
        let said = said.expect("openssl runs");
        assert!(said.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&said.stderr));
    }

    fn key(&self, name: &str) {
        let key = format!("{name}.key");
        self.openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key]);
    }

    fn root(&self, name: &str) {
        self.key(name);
        let (key, out, subject) =
            (format!("{name}.key"), format!("{name}.pem"), format!("/O=testimony.test/CN={name}"));
        let request = ["req", "-x509", "-new", "-key", &key, "-sha256", "-days", "30", "-subj", &subject, "-out", &out];
        let extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
        let extensions: Vec<&str> = extensions.into_iter().flat_map(|extension| ["-addext", extension]).collect();
        self.openssl(&[&request[..], &extensions].concat());
    }

    fn below(&self, name: &str, root: &str, extensions: &str) {
        self.key(name);
        let of = |what: &str| format!("{name}.{what}");
        let (request, out, list) = (of("csr"), of("pem"), of("ext"));
        let list_of = format!("{extensions}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n");
        fs::write(self.path(&list), list_of).expect("written");
        let subject = format!("/O=testimony.test/CN={name}");
        self.openssl(&["req", "-new", "-key", &of("key"), "-subj", &subject, "-out", &request]);
        let (authority, key) = (format!("{root}.pem"), format!("{root}.key"));
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &authority,
            "-CAkey",
            &key,
            "-CAcreateserial",
            "-sha256",
            "-days",
            "29",
            "-extfile",
            &list,
            "-out",
            &out,
        ]);
    }
}

impl Drop for Sigstore {
    fn drop(&mut self) {
        for (_, child) in &mut self.services {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
