//! Whoever speaks to a collector, or to a node, without being the program that should: by the same protocol, or below it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use collector_api::collector_client::CollectorClient;
use collector_api::{Answer, Submission};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tests::collector::{Collector, names};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::Channel;

/// Somebody with a certificate of a name, whose files are in the collector's folder.
pub(crate) struct Peer {
    files: mtls::Files,
    port: u16,
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Files of an identity.
pub(crate) fn files(folder: &Path, who: &str) -> mtls::Files {
    let file = |what: &str| folder.join(format!("{who}-{what}.pem"));
    mtls::Files { certificate: file("certificate"), key: file("key"), authorities: file("authorities") }
}

impl Peer {
    pub(crate) fn new(collector: &Collector, who: &str) -> Self {
        let folder = collector.folder.path();
        let san = names(&format!("spiffe://example.org/node/{who}"), "");
        let _ = collector.authority.tls(&folder, who, &san);
        Self { files: files(&folder, who), port: collector.port }
    }

    /// A connection, as a node has it.
    pub(crate) async fn connect(&self) -> Result<CollectorClient<Channel>, mtls::Error> {
        let expected = mtls::Expected::SpiffeId("spiffe://example.org/collector".parse().expect("an id"));
        let client = mtls::Client::new(&mtls::Identity::Files(self.files.clone()), expected).await?;
        Ok(CollectorClient::new(client.connect("localhost", self.port).await?))
    }

    /// A connection on which HTTP/2 is spoken by hand.
    pub(crate) async fn tls(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_file_iter(&self.files.authorities).expect("authorities") {
            roots.add(authority.expect("a certificate")).expect("an authority");
        }
        let chain = CertificateDer::pem_file_iter(&self.files.certificate).expect("a certificate");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(&self.files.key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let config = config.expect("TLS 1.3").with_root_certificates(roots);
        let mut config = config.with_client_auth_cert(chain, key).expect("an identity");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS")
    }

    /// Submits these, and waits for the answer of each.
    pub(crate) async fn submit(&self, envelopes: Vec<Vec<u8>>) -> Result<Vec<Answer>, Status> {
        let mut client = self.connect().await.expect("a connection");
        let submission = |(number, envelope)| Submission { number, envelope, ..Submission::default() };
        let submissions: Vec<Submission> = (1..).zip(envelopes).map(submission).collect();
        let mut answered = client.submit(futures_util::stream::iter(submissions)).await?.into_inner();
        let mut answers = Vec::new();
        while let Some(answer) = answered.message().await? {
            answers.push(answer);
        }
        Ok(answers)
    }
}

/// What takes longer than that does not come.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}
