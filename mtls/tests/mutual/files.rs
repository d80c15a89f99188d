//! Identities in files: who is let in by whom, and what happens when they are renewed.

use mtls::{Client, Peers};
use rcgen::{CertificateParams, DnType};
use tests::workload_api::{Authority, in_seconds};

use crate::bench::{AGENT, Bench, COLLECTOR, HOST, NAME, id, ids, name, named, own, put, serve};
use crate::service::ask;

fn authority() -> Authority {
    Authority::new(|_| ())
}

#[tokio::test]
async fn who_asks_is_known_by_id_and_certificate() {
    let (bench, authority) = (Bench::new(), authority());
    let (server, client) = bench.pair(&authority);
    let mut served = serve(&server, ids(&["spiffe://example.org/agent/*"])).await;
    let seen = served.asked(&client, id(COLLECTOR)).await.unwrap();
    assert_eq!(seen.spiffe_id.as_deref(), Some(AGENT));
    assert_eq!(seen.certificate_sha256.len(), 32);
    assert_eq!(served.asked(&client, name(NAME)).await.unwrap(), seen);
    served.refused_none();
}

#[tokio::test]
async fn names_that_are_no_id_of_a_workload_are_none() {
    let (bench, authority) = (Bench::new(), authority());
    let (server, _) = bench.pair(&authority);
    let served = serve(&server, Peers::Any).await;
    let (two, web) =
        (["spiffe://example.org/a", "spiffe://example.org/b"], ["spiffe://example.org/a", "https://a.example"]);
    for names in [&["agent.example.org"][..], &two, &web, &["https://a.example"], &["spiffe://example.org"]] {
        let client = bench.write("client", &own(&authority, named(names)), &authority);
        assert_eq!(served.asked(&client, id(COLLECTOR)).await.unwrap().spiffe_id, None, "{names:?}");
    }
}

/// Others: one of the same name, and one of another.
fn others() -> [(Authority, &'static str); 2] {
    let renamed = |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, "another");
    [(authority(), "BadSignature"), (Authority::new(renamed), "UnknownIssuer")]
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let (bench, authority) = (Bench::new(), authority());
    let (server, _) = bench.pair(&authority);
    let mut served = serve(&server, Peers::Any).await;
    for (other, says) in others() {
        let client = bench.write("client", &own(&other, named(&[AGENT])), &authority);
        served.asked(&client, id(COLLECTOR)).await.unwrap_err();
        let why = served.why().await;
        assert!(why.contains("the TLS handshake failed") && why.contains(says), "{why}");
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (bench, authority) = (Bench::new(), authority());
    let (_, client) = bench.pair(&authority);
    for (other, says) in others() {
        let server = bench.write("server", &own(&other, named(&[COLLECTOR, NAME])), &authority);
        let served = serve(&server, Peers::Any).await;
        for expected in [id(COLLECTOR), name(NAME)] {
            let told = served.asked(&client, expected).await.unwrap_err();
            assert!(told.contains(says), "{told}");
        }
    }
}

#[tokio::test]
async fn who_is_not_valid_now_is_refused() {
    let (bench, authority) = (Bench::new(), authority());
    for (from, until, says) in [(-60, -1, "expired"), (60, 120, "not valid yet")] {
        let limited = |names: &[&str]| {
            let named = named(names);
            own(&authority, |params| {
                named(params);
                (params.not_before, params.not_after) = (in_seconds(from), in_seconds(until));
            })
        };
        let (server, _) = bench.pair(&authority);
        let mut served = serve(&server, Peers::Any).await;
        let client = bench.write("client", &limited(&[AGENT]), &authority);
        served.asked(&client, id(COLLECTOR)).await.unwrap_err();
        let why = served.why().await;
        assert!(why.contains(says), "{why}");

        let (_, client) = bench.pair(&authority);
        let server = bench.write("server", &limited(&[COLLECTOR, NAME]), &authority);
        let served = serve(&server, Peers::Any).await;
        for expected in [id(COLLECTOR), name(NAME)] {
            let told = served.asked(&client, expected).await.unwrap_err();
            assert!(told.contains(says), "{told}");
        }
    }
}

#[tokio::test]
async fn another_than_who_is_expected_is_refused() {
    let (bench, authority) = (Bench::new(), authority());
    let (server, client) = bench.pair(&authority);
    let mut served = serve(&server, Peers::Any).await;
    for other in ["spiffe://example.org/collector/b", "spiffe://example.org/agent/a", "spiffe://example.net/collector"]
    {
        let told = served.asked(&client, id(other)).await.unwrap_err();
        assert!(told.contains(&format!("the certificate is {COLLECTOR}'s, not {other}'s")), "{told}");
        let why = served.why().await;
        assert!(why.contains("the TLS handshake failed"), "{why}");
    }
    for other in ["example.org", "b.example.org", "x.collector.example.org"] {
        let told = served.asked(&client, name(other)).await.unwrap_err();
        assert!(told.contains("not valid for name"), "{told}");
    }
    let server = bench.write("server", &own(&authority, named(&[NAME])), &authority);
    let served = serve(&server, Peers::Any).await;
    let told = served.asked(&client, id(COLLECTOR)).await.unwrap_err();
    assert!(told.contains("the certificate has no SPIFFE ID"), "{told}");
    served.asked(&client, name(NAME)).await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_not_named_may_not_connect() {
    let (bench, authority) = (Bench::new(), authority());
    let (server, client) = bench.pair(&authority);
    for patterns in [&["spiffe://example.org/agent"][..], &["spiffe://example.net/**", "spiffe://example.org/b/*"], &[]]
    {
        let mut served = serve(&server, ids(patterns)).await;
        served.asked(&client, id(COLLECTOR)).await.unwrap_err();
        let why = served.why().await;
        assert!(why.contains(&format!("the certificate of {AGENT} is not one that may connect")), "{why}");
    }
    let mut served = serve(&server, ids(&["spiffe://example.org/**"])).await;
    let client = bench.write("client", &own(&authority, named(&[NAME])), &authority);
    served.asked(&client, id(COLLECTOR)).await.unwrap_err();
    let why = served.why().await;
    assert!(why.contains("the certificate has no SPIFFE ID"), "{why}");
}

#[tokio::test]
async fn renewed_files_are_used_by_the_next_connection() {
    let (bench, authority) = (Bench::new(), authority());
    let (server, client) = bench.pair(&authority);
    let mut served = serve(&server, Peers::Any).await;
    let agent = Client::new(&client, id(COLLECTOR)).await.unwrap();
    let standing = agent.connect(HOST, served.port).await.unwrap();
    let before = ask(standing.clone()).await.unwrap();

    // Everything is another, the authority too.
    bench.pair(&self::authority());
    let after = ask(agent.connect(HOST, served.port).await.unwrap()).await.unwrap();
    assert_ne!(after.certificate_sha256, before.certificate_sha256);
    assert_eq!(ask(standing).await.unwrap(), before, "a connection that stands is left alone");

    // Whoever still has the old ones is refused, though the server never stopped.
    let old = Bench::new();
    let (_, client) = old.pair(&authority);
    served.asked(&client, id(COLLECTOR)).await.unwrap_err();
    served.why().await;
}

#[tokio::test]
async fn files_that_broke_give_no_connection_until_they_are_mended() {
    let (bench, authority) = (Bench::new(), authority());
    let (server, client) = bench.pair(&authority);
    let mut served = serve(&server, Peers::Any).await;
    let (files, kept) = (bench.files("server"), std::fs::read_to_string(bench.files("server").key).unwrap());
    for (key, says) in
        [(own(&authority, |_| ()).key, "no TLS can be spoken"), (String::new(), "has no private key in PEM")]
    {
        put(&files.key, &key, 0o600);
        served.asked(&client, id(COLLECTOR)).await.unwrap_err();
        let why = served.why().await;
        assert!(why.contains("the server's own identity cannot be read") && why.contains(says), "{why}");
    }
    put(&files.key, &kept, 0o600);
    served.asked(&client, id(COLLECTOR)).await.unwrap();

    // The client's too.
    let agent = Client::new(&client, id(COLLECTOR)).await.unwrap();
    std::fs::remove_file(bench.files("client").certificate).unwrap();
    let error = agent.connect(HOST, served.port).await.unwrap_err();
    let told = crate::bench::chain(&error);
    assert!(told.contains("client.crt cannot be read"), "{told}");
}

#[tokio::test]
async fn a_channel_without_a_connection_makes_one_when_there_is_a_server() {
    let (bench, authority) = (Bench::new(), authority());
    let (server, client) = bench.pair(&authority);
    let served = serve(&server, Peers::Any).await;
    let agent = Client::new(&client, id(COLLECTOR)).await.unwrap();
    let channel = agent.channel(HOST, served.port).unwrap();
    ask(channel.clone()).await.unwrap();
    // Without a server nobody answers.
    served.task.abort();
    let channel = agent.channel(HOST, 1).unwrap();
    ask(channel).await.unwrap_err();
}
