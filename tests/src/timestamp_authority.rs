//! Sigstore's timestamp authority for one test, with a root of its own, stopped when it is dropped.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use time::OffsetDateTime;

use crate::place::{Scratch, tool};

/// The release that `cargo xtask setup tests` builds.
const PROGRAM: &str = "timestamp-authority-2.1.3/bin/timestamp-server";
const WAIT_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// An extended key usage for timestamps alone, in DER.
const STAMPS: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 8];

/// A running authority.
#[derive(Debug)]
pub struct TimestampAuthority {
    folder: Scratch,
    server: Child,
    port: u16,
}

impl TimestampAuthority {
    /// Starts one whose certificates are valid from an hour ago, for two days.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let folder = Scratch::new();
        let (chain, key) = certificates();
        fs::write(folder.join("chain.pem"), chain).expect("written");
        fs::write(folder.join("key.pem"), key).expect("written");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let log = File::create(folder.join("log")).expect("a log");
        let mut server = Command::new(tool(PROGRAM));
        server.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string(), "--timestamp-signer", "file"]);
        server.args(["--disable-ntp-monitoring", "--file-signer-passwd", "", "--file-signer-key-path"]);
        server.arg(folder.join("key.pem")).arg("--certificate-chain-path").arg(folder.join("chain.pem"));
        let also = log.try_clone().expect("a log");
        let server = server.stdin(Stdio::null()).stdout(log).stderr(also).spawn().expect("timestamp-server starts");
        let mut authority = Self { folder, server, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = authority.server.try_wait().expect("its state").is_some();
            let log = || fs::read_to_string(authority.folder.join("log")).unwrap_or_default();
            assert!(!ended && began.elapsed() < WAIT_MAX, "the timestamp authority does not come up\n{}", log());
            std::thread::sleep(PAUSE);
        }
        authority
    }

    /// Where it is asked.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1/timestamp", self.port)
    }

    /// Its certificates: its own, and its root.
    #[must_use]
    pub fn chain(&self) -> PathBuf {
        self.folder.join("chain.pem")
    }

    /// It is gone, and its certificates are not.
    pub fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for TimestampAuthority {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A chain of two, and the key of the first.
fn certificates() -> (String, String) {
    let now = OffsetDateTime::now_utc();
    let named = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (now - time::Duration::HOUR, now + 2 * time::Duration::DAY);
        params
    };
    let mut root = named("testimony tests root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = KeyPair::generate().expect("a key");
    let root_pem = root.self_signed(&root_key).expect("a certificate").pem();
    let mut own = named("testimony tests timestamps");
    own.is_ca = IsCa::ExplicitNoCa;
    own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], STAMPS.to_vec());
    usage.set_criticality(true);
    own.custom_extensions = vec![usage];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let own = own.signed_by(&key, &Issuer::new(root, root_key)).expect("a certificate").pem();
    (own + &root_pem, key.serialize_pem())
}
