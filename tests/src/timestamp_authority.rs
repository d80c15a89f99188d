//! Sigstore's timestamp authority for one test, with a root of its own, stopped when it is dropped.
//!
//! It signs by its root, or by an intermediate, which its tokens carry then.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
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
        Self::of(&Certificates::new(false), &[])
    }

    /// Starts one with an intermediate between its certificate and its root, which stands in its tokens.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn with_intermediate() -> Self {
        Self::of(&Certificates::new(true), &["--include-chain-in-response"])
    }

    fn of(certificates: &Certificates, more: &[&str]) -> Self {
        let folder = Scratch::new();
        let Certificates { chain, root, key } = certificates;
        for (name, content) in [("chain.pem", &(chain.clone() + root)), ("root.pem", root), ("key.pem", key)] {
            fs::write(folder.join(name), content).expect("written");
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let log = File::create(folder.join("log")).expect("a log");
        let mut server = Command::new(tool(PROGRAM));
        server.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string(), "--timestamp-signer", "file"]);
        server.args(["--disable-ntp-monitoring", "--file-signer-passwd", "", "--file-signer-key-path"]);
        server.arg(folder.join("key.pem")).arg("--certificate-chain-path").arg(folder.join("chain.pem")).args(more);
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

    /// Its certificates: its own, the intermediate if there is one, and its root.
    #[must_use]
    pub fn chain(&self) -> PathBuf {
        self.folder.join("chain.pem")
    }

    /// Its root alone.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.pem")
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

/// What an authority is started with, each in PEM.
struct Certificates {
    /// Its own, and the intermediate.
    chain: String,
    root: String,
    key: String,
}

impl Certificates {
    fn new(intermediate: bool) -> Self {
        let mut params = named("testimony tests root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a certificate").pem();
        let (mut issuer, mut above) = (Issuer::new(params, key), String::new());
        if intermediate {
            let mut params = named("testimony tests intermediate");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
            let key = KeyPair::generate().expect("a key");
            above = params.signed_by(&key, &issuer).expect("a certificate").pem();
            issuer = Issuer::new(params, key);
        }
        let mut own = named("testimony tests timestamps");
        own.is_ca = IsCa::ExplicitNoCa;
        own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], STAMPS.to_vec());
        usage.set_criticality(true);
        own.custom_extensions = vec![usage];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let own = own.signed_by(&key, &issuer).expect("a certificate").pem();
        Self { chain: own + &above, root, key: key.serialize_pem() }
    }
}

fn named(name: &str) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (now - time::Duration::HOUR, now + 2 * time::Duration::DAY);
    params
}
