//! Whoever reaches the port with something else in mind.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mtls::{HANDSHAKE_SECONDS_MAX, HANDSHAKES_MAX, Identity, Peers, Server};
use rustls::RootCertStore;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tests::workload_api::Authority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::bench::{Bench, COLLECTOR, HOST, NAME, Served, id, serve};

async fn served(bench: &Bench) -> (Served, Identity) {
    let (server, client) = bench.pair(&Authority::new(|_| ()));
    (serve(&server, Peers::Any).await, client)
}

async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect((HOST, served.port)).await.expect("a connection")
}

/// As good a client as any, that speaks TLS 1.2.
fn old(bench: &Bench) -> TlsConnector {
    let files = bench.files("client");
    let chain =
        CertificateDer::pem_file_iter(files.certificate).expect("a file").map(|item| item.expect("a certificate"));
    let key = PrivateKeyDer::from_pem_file(files.key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS12]);
    let config = config.expect("TLS 1.2").with_root_certificates(authorities(bench));
    TlsConnector::from(Arc::new(config.with_client_auth_cert(chain.collect(), key).expect("a client")))
}

fn authorities(bench: &Bench) -> RootCertStore {
    let mut authorities = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(bench.files("client").authorities).expect("a file") {
        authorities.add(authority.expect("a certificate")).expect("an authority");
    }
    authorities
}

/// TLS by who knows the authorities, and has no certificate.
fn without_certificate(bench: &Bench) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
    let config = config.expect("TLS 1.3").with_root_certificates(authorities(bench));
    TlsConnector::from(Arc::new(config.with_no_client_auth()))
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let bench = Bench::new();
    let (mut served, client) = served(&bench).await;
    let name = ServerName::try_from(NAME).unwrap();
    let mut stream = without_certificate(&bench).connect(name, connect(&served).await).await.unwrap();
    // It learns so by what it reads.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let told = stream.read(&mut [0]).await.unwrap_err().to_string();
    assert!(told.contains("CertificateRequired"), "{told}");
    let why = served.why().await;
    assert!(why.contains("peer sent no certificates"), "{why}");
    served.asked(&client, id(COLLECTOR)).await.unwrap();
}

#[tokio::test]
async fn a_client_that_speaks_an_old_version_is_refused() {
    let bench = Bench::new();
    let (mut served, _) = served(&bench).await;
    let name = ServerName::try_from(NAME).unwrap();
    let told = old(&bench).connect(name, connect(&served).await).await.unwrap_err().to_string();
    assert!(told.contains("ProtocolVersion"), "{told}");
    let why = served.why().await;
    assert!(why.contains("the TLS handshake failed"), "{why}");
}

#[tokio::test]
async fn a_client_without_tls_is_refused() {
    let bench = Bench::new();
    let (mut served, client) = served(&bench).await;
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 4096], &[0xff; 20_000]] {
        let mut stream = connect(&served).await;
        let _ = stream.write_all(bytes).await;
        let why = served.why().await;
        assert!(why.contains("the TLS handshake failed"), "{why}");
        // No byte of an answer but the alert.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() <= 7, "{answer:?}");
    }
    served.asked(&client, id(COLLECTOR)).await.unwrap();
    served.refused_none();
}

#[tokio::test]
async fn a_client_that_goes_away_ends_nothing() {
    let bench = Bench::new();
    let (mut served, client) = served(&bench).await;
    for bytes in [&[][..], &[22], &[22, 3, 1, 2, 0, 1]] {
        connect(&served).await.write_all(bytes).await.unwrap();
        let why = served.why().await;
        assert!(why.contains("the TLS handshake failed"), "{why}");
    }
    served.asked(&client, id(COLLECTOR)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_refused_in_time() {
    let bench = Bench::new();
    let (mut served, client) = served(&bench).await;
    let began = Instant::now();
    let silent = connect(&served).await;
    let why = served.why().await;
    assert!(why.contains("was not over within 10 s"), "{why}");
    assert!(began.elapsed() >= Duration::from_secs(HANDSHAKE_SECONDS_MAX));
    drop(silent);
    tokio::time::resume();
    served.asked(&client, id(COLLECTOR)).await.unwrap();
}

#[tokio::test]
async fn one_less_than_the_handshakes_that_may_be_hold_nobody_up() {
    let bench = Bench::new();
    let (mut served, client) = served(&bench).await;
    let silent = join_all((1..HANDSHAKES_MAX).map(|_| connect(&served))).await;
    tokio::time::timeout(Duration::from_secs(HANDSHAKE_SECONDS_MAX / 2), served.asked(&client, id(COLLECTOR)))
        .await
        .unwrap()
        .unwrap();
    drop(silent);
    assert!(served.why().await.contains("the TLS handshake failed"));
}

#[tokio::test]
async fn as_many_handshakes_as_may_be_make_others_wait_until_one_is_over() {
    let bench = Bench::new();
    let (served, client) = served(&bench).await;
    let mut silent = join_all((0..HANDSHAKES_MAX).map(|_| connect(&served))).await;
    let asked = served.asked(&client, id(COLLECTOR));
    tokio::pin!(asked);
    let early = tokio::time::timeout(Duration::from_secs(1), &mut asked).await;
    assert!(early.is_err(), "{early:?}");
    silent.pop();
    asked.await.unwrap();
}

#[tokio::test]
async fn who_drops_the_stream_listens_no_more() {
    let bench = Bench::new();
    let (server, _) = bench.pair(&Authority::new(|_| ()));
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Server::new(&server, Peers::Any).await.unwrap().accept(listener);
    let mut open = TcpStream::connect(address).await.unwrap();
    drop(connections);
    // A handshake that was under way ends too.
    assert!(matches!(open.read(&mut [0]).await, Ok(0) | Err(_)));
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
