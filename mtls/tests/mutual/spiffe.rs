//! Identities of a Workload API: who is let in by whom, and what happens when they are rotated or taken back.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mtls::{Client, Identity, Peers};
use rcgen::CertificateParams;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::version::TLS12;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tests::workload_api::{Answer, Authority, Svid, WorkloadApi, in_seconds};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::bench::{AGENT, COLLECTOR, HOST, Served, id, ids, named, serve};
use crate::service::ask;

/// What gRPC says where there is no identity for who asks.
const PERMISSION_DENIED: u32 = 7;

/// Both ends, each with a Workload API of its own.
struct Ends {
    server: WorkloadApi,
    client: WorkloadApi,
}

fn svid(authority: &Authority, who: &str, change: impl FnOnce(&mut CertificateParams)) -> Svid {
    let named = named(&[who]);
    let svid = authority.svid(|params| {
        named(params);
        change(params);
    });
    Svid { id: who.to_owned(), ..svid }
}

fn gives(authority: &Authority, who: &str) -> Answer {
    Answer::Svids(vec![svid(authority, who, |_| ())])
}

fn identity(api: &WorkloadApi) -> Identity {
    Identity::Spiffe { socket: Some(format!("unix:{}", api.socket().display())) }
}

impl Ends {
    fn of(server: Answer, client: Answer) -> Self {
        Self { server: WorkloadApi::start(server), client: WorkloadApi::start(client) }
    }

    fn good(authority: &Authority) -> Self {
        Self::of(gives(authority, COLLECTOR), gives(authority, AGENT))
    }
}

/// The double has a runtime of its own, which is made and dropped outside of this one.
fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future);
}

async fn up(ends: &Ends, allowed: Peers) -> Served {
    serve(&identity(&ends.server), allowed).await
}

#[test]
fn who_asks_is_known_by_its_svid() {
    let ends = Ends::good(&Authority::new(|_| ()));
    run(async {
        let mut served = up(&ends, ids(&["spiffe://example.org/agent/*"])).await;
        let seen = served.asked(&identity(&ends.client), id(COLLECTOR)).await.unwrap();
        assert_eq!(seen.spiffe_id.as_deref(), Some(AGENT));
        served.refused_none();
    });
}

#[test]
fn another_than_who_is_expected_is_refused() {
    let ends = Ends::good(&Authority::new(|_| ()));
    run(async {
        let mut served = up(&ends, Peers::Any).await;
        for other in ["spiffe://example.org/collector/b", "spiffe://example.net/collector"] {
            served.asked(&identity(&ends.client), id(other)).await.unwrap_err();
            let why = served.why().await;
            assert!(why.contains("the TLS handshake failed"), "{why}");
        }
    });
}

#[test]
fn a_client_that_is_not_named_may_not_connect() {
    let ends = Ends::good(&Authority::new(|_| ()));
    run(async {
        for patterns in [&["spiffe://example.org/agent"][..], &["spiffe://example.net/**"], &[]] {
            let mut served = up(&ends, ids(patterns)).await;
            served.asked(&identity(&ends.client), id(COLLECTOR)).await.unwrap_err();
            let why = served.why().await;
            assert!(why.contains("not authorized") && why.contains(AGENT), "{why}");
        }
    });
}

#[test]
fn svids_of_another_authority_are_refused() {
    let (authority, other) = (Authority::new(|_| ()), Authority::new(|_| ()));
    let forged = |who| {
        let bundle = svid(&authority, who, |_| ()).bundle;
        Answer::Svids(vec![Svid { bundle, ..svid(&other, who, |_| ()) }])
    };
    let client = Ends::of(gives(&authority, COLLECTOR), forged(AGENT));
    let server = Ends::of(forged(COLLECTOR), gives(&authority, AGENT));
    run(async {
        let mut served = up(&client, Peers::Any).await;
        served.asked(&identity(&client.client), id(COLLECTOR)).await.unwrap_err();
        assert!(served.why().await.contains("the TLS handshake failed"));
        let mut served = up(&server, Peers::Any).await;
        served.asked(&identity(&server.client), id(COLLECTOR)).await.unwrap_err();
        assert!(served.why().await.contains("the TLS handshake failed"));
    });
}

#[test]
fn an_svid_that_ended_meanwhile_is_refused() {
    let authority = Authority::new(|_| ());
    let ends = Ends::good(&authority);
    let short = svid(&authority, AGENT, |params| params.not_after = in_seconds(3));
    ends.client.answer(Answer::Svids(vec![short]));
    run(async {
        let mut served = up(&ends, Peers::Any).await;
        let client = Client::new(&identity(&ends.client), id(COLLECTOR)).await.unwrap();
        ask(client.connect(HOST, served.port).await.unwrap()).await.unwrap();
        served.refused_none();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let asked = match client.connect(HOST, served.port).await {
            Ok(channel) => ask(channel).await.map_err(|status| status.to_string()),
            Err(error) => Err(error.to_string()),
        };
        asked.unwrap_err();
        assert!(served.why().await.contains("the TLS handshake failed"));
    });
}

#[test]
fn what_was_rotated_is_used_by_the_next_connection() {
    let ends = Ends::good(&Authority::new(|_| ()));
    run(async {
        let served = up(&ends, ids(&[AGENT])).await;
        let client = Client::new(&identity(&ends.client), id(COLLECTOR)).await.unwrap();
        let standing = client.connect(HOST, served.port).await.unwrap();
        let before = ask(standing.clone()).await.unwrap();
        // The authority is another too.
        let authority = Authority::new(|_| ());
        ends.server.answer(gives(&authority, COLLECTOR));
        ends.client.answer(gives(&authority, AGENT));
        // Until both have heard of it.
        let mut after = before.clone();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let Ok(channel) = client.connect(HOST, served.port).await else { continue };
            let Ok(seen) = ask(channel).await else { continue };
            after = seen;
            if after != before {
                break;
            }
        }
        assert_ne!(after.certificate_sha256, before.certificate_sha256);
        assert_eq!(after.spiffe_id, before.spiffe_id);
        assert_eq!(ask(standing).await.unwrap(), before, "a connection that stands is left alone");
    });
}

#[test]
fn what_was_taken_back_is_used_no_more() {
    let ends = Ends::good(&Authority::new(|_| ()));
    run(async {
        let served = up(&ends, Peers::Any).await;
        let client = Client::new(&identity(&ends.client), id(COLLECTOR)).await.unwrap();
        ask(client.connect(HOST, served.port).await.unwrap()).await.unwrap();
        ends.client.answer(Answer::Status(PERMISSION_DENIED));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = match client.connect(HOST, served.port).await {
            Ok(channel) => ask(channel).await.map_err(|status| status.to_string()),
            Err(error) => Err(error.to_string()),
        };
        asked.unwrap_err();
    });
}

#[test]
fn an_old_version_is_refused_at_both_ends() {
    let authority = Authority::new(|_| ());
    let ends = Ends::good(&authority);
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = |svid: &Svid| vec![CertificateDer::from(svid.chain.clone())];
    let key = |svid: &Svid| PrivateKeyDer::try_from(svid.key.clone()).unwrap();
    let (agent, collector) = (svid(&authority, AGENT, |_| ()), svid(&authority, COLLECTOR, |_| ()));
    run(async {
        // As good a client as any.
        let mut served = up(&ends, Peers::Any).await;
        let old = rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS12]).unwrap();
        let old = old.dangerous().with_custom_certificate_verifier(Arc::new(Blind));
        let old = old.with_client_auth_cert(chain(&agent), key(&agent)).unwrap();
        let stream = TcpStream::connect((HOST, served.port)).await.unwrap();
        let _ = TlsConnector::from(Arc::new(old)).connect(ServerName::try_from(HOST).unwrap(), stream).await;
        let why = served.why().await;
        assert!(why.contains("it is not TLS 1.3"), "{why}");

        // As good a server as any.
        let old = rustls::ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS12]).unwrap();
        let mut old = old.with_no_client_auth().with_single_cert(chain(&collector), key(&collector)).unwrap();
        old.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind((HOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = TlsAcceptor::from(Arc::new(old)).accept(stream).await;
        });
        let client = Client::new(&identity(&ends.client), id(COLLECTOR)).await.unwrap();
        let told = crate::bench::chain(&client.connect(HOST, port).await.unwrap_err());
        assert!(told.contains("it is not TLS 1.3"), "{told}");
        server.await.unwrap();
    });
}

/// Takes any server: it is not this end that is tested.
#[derive(Debug)]
struct Blind;

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[test]
fn one_trust_domain_cannot_speak_for_another() {
    let authority = Authority::new(|_| ());
    // An authority of example.org gives an ID of example.net, of which nobody has a bundle.
    let stranger = svid(&authority, "spiffe://example.net/collector", |_| ());
    let ends = Ends::of(Answer::Svids(vec![stranger]), gives(&authority, AGENT));
    run(async {
        let mut served = up(&ends, Peers::Any).await;
        served.asked(&identity(&ends.client), id("spiffe://example.net/collector")).await.unwrap_err();
        assert!(served.why().await.contains("the TLS handshake failed"));
    });
}
