//! Identities in files, a server that is up, and whoever tries to reach it.

use std::error::Error as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use mtls::{Client, Expected, Files, Identity, Peers, Refused, Server};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use tempfile::TempDir;
use tests::workload_api::{Authority, uri};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::service::{Answer, Who, ask};

pub(crate) const HOST: &str = "127.0.0.1";
pub(crate) const COLLECTOR: &str = "spiffe://example.org/collector";
pub(crate) const AGENT: &str = "spiffe://example.org/agent/a";
pub(crate) const NAME: &str = "collector.example.org";

/// Files of identities.
pub(crate) struct Bench(TempDir);

/// An identity's certificate and key, in PEM.
pub(crate) struct Own {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn own(authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Own {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let pem = key.serialize_pem();
    let svid = authority.svid_of(key, change);
    Own { certificate: attestation::identity::pem(&svid.chain), key: pem }
}

/// Names in a certificate: SPIFFE IDs and hosts.
pub(crate) fn named(names: &[&str]) -> impl FnOnce(&mut CertificateParams) + use<> {
    let name = |name: &&str| match name.contains("://") {
        true => uri(name),
        false => SanType::DnsName((*name).try_into().expect("a name")),
    };
    let names: Vec<SanType> = names.iter().map(name).collect();
    |params| params.subject_alt_names = names
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// Where the files of one end are.
    pub(crate) fn files(&self, name: &str) -> Files {
        let path = |end: &str| self.0.path().join(format!("{name}.{end}"));
        Files { certificate: path("crt"), key: path("key"), authorities: path("ca") }
    }

    /// Writes, or writes anew, the files of one end.
    pub(crate) fn write(&self, name: &str, own: &Own, trusted: &Authority) -> Identity {
        let files = self.files(name);
        put(&files.certificate, &own.certificate, 0o644);
        put(&files.key, &own.key, 0o600);
        put(&files.authorities, &trusted.pem(), 0o644);
        Identity::Files(files)
    }

    /// A collector and an agent of one authority.
    pub(crate) fn pair(&self, authority: &Authority) -> (Identity, Identity) {
        let server = self.write("server", &own(authority, named(&[COLLECTOR, NAME])), authority);
        (server, self.write("client", &own(authority, named(&[AGENT])), authority))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Under another name first: others read it meanwhile.
pub(crate) fn put(path: &std::path::Path, text: &str, mode: u32) {
    let part = path.with_extension("part");
    fs::write(&part, text).expect("written");
    fs::set_permissions(&part, fs::Permissions::from_mode(mode)).expect("changed");
    fs::rename(part, path).expect("renamed");
}

/// A server that is up until it is dropped.
pub(crate) struct Served {
    pub(crate) port: u16,
    refused: UnboundedReceiver<Refused>,
    pub(crate) task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn serve(identity: &Identity, allowed: Peers) -> Served {
    let (sender, refused) = unbounded_channel();
    let server = Server::new(identity, allowed).await.expect("a server");
    let server = server.on_refused(move |refused| drop(sender.send(refused)));
    let listener = TcpListener::bind((HOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connections = server.accept(listener);
    let task = tokio::spawn(async {
        tonic::transport::Server::builder().serve_with_incoming(Who, connections).await.expect("served");
    });
    Served { port, refused, task }
}

impl Served {
    /// Whom the server sees when this client asks, or what the client was told.
    pub(crate) async fn asked(&self, identity: &Identity, expected: Expected) -> Result<Answer, String> {
        let client = Client::new(identity, expected).await.expect("a client");
        let channel = client.connect(HOST, self.port).await.map_err(|error| chain(&error))?;
        ask(channel).await.map_err(|status| chain(&status))
    }

    /// Why a connection was not taken, which must have happened.
    pub(crate) async fn why(&mut self) -> String {
        let refused = tokio::time::timeout(Duration::from_secs(60), self.refused.recv()).await;
        chain(&refused.expect("in time").expect("a server"))
    }

    /// That no connection was refused that is not accounted for.
    pub(crate) fn refused_none(&mut self) {
        assert!(self.refused.try_recv().is_err());
    }
}

/// An error and what is behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

pub(crate) fn id(text: &str) -> Expected {
    Expected::SpiffeId(text.parse().expect("a SPIFFE ID"))
}

pub(crate) fn name(text: &str) -> Expected {
    Expected::Name(text.to_owned().try_into().expect("a name"))
}

pub(crate) fn ids(patterns: &[&str]) -> Peers {
    Peers::Ids(patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect())
}

/// What an error says of where it came from, for those that are typed.
pub(crate) fn source(error: &mtls::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}
