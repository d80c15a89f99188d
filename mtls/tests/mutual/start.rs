//! Identities that are refused before anything listens or is sent.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mtls::{Client, Error, FILE_BYTES_MAX, Files, Identity, Peers, Server};
use tests::workload_api::Authority;

use crate::bench::{Bench, COLLECTOR, chain, id, name, own, put, source};

/// Why neither end starts with these files.
async fn refused(files: &Files) -> Error {
    let identity = Identity::Files(files.clone());
    let client = Client::new(&identity, id(COLLECTOR)).await.expect_err("refused");
    let server = Server::new(&identity, Peers::Any).await.expect_err("refused");
    assert_eq!((client.to_string(), source(&client)), (server.to_string(), source(&server)));
    server
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused() {
    let (bench, authority) = (Bench::new(), Authority::new(|_| ()));
    let (server, _) = bench.pair(&authority);
    let files = bench.files("server");
    for mode in [0o640, 0o604, 0o660, 0o620, 0o644, 0o777, 0o610] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(&files).await;
        let says = format!(
            "others than its owner may read the key {} (mode {mode:o}): take that from them, `chmod go-rwx`",
            files.key.display()
        );
        assert!(matches!(error, Error::KeyIsOpen { .. }) && error.to_string() == says, "{error}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        Server::new(&server, Peers::Any).await.unwrap();
    }
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be_are_refused() {
    let (bench, authority) = (Bench::new(), Authority::new(|_| ()));
    bench.pair(&authority);
    let good = bench.files("server");
    put(&bench.path("empty"), "", 0o600);
    put(&bench.path("large"), &"#".repeat(FILE_BYTES_MAX + 1), 0o600);
    put(&bench.path("cut"), "-----BEGIN CERTIFICATE-----\nMIIB\n", 0o600);
    put(&bench.path("none"), &attestation::identity::pem(b"no certificate"), 0o600);
    type Set = fn(&mut Files, std::path::PathBuf);
    let places: [(Set, &str); 3] = [
        (|files, path| files.certificate = path, "certificate"),
        (|files, path| files.key = path, "private key"),
        (|files, path| files.authorities = path, "authority's certificate"),
    ];
    for (set, what) in places {
        let with = |name: &str| {
            let mut files = good.clone();
            set(&mut files, bench.path(name));
            files
        };
        let missing = refused(&with("missing")).await;
        assert!(missing.to_string().ends_with("missing cannot be read"), "{missing}");
        assert!(source(&missing).contains("No such file"), "{missing}");
        let folder = refused(&with(".")).await;
        assert!(source(&folder).contains("it is no file"), "{folder}");
        assert!(matches!(refused(&with("large")).await, Error::TooLarge(_)));
        let empty = refused(&with("empty")).await;
        assert!(empty.to_string().ends_with(&format!("empty has no {what} in PEM")), "{empty}");
        assert!(matches!(refused(&with("cut")).await, Error::Pem { .. }));
    }
    let none = refused(&Files { authorities: bench.path("none"), ..good.clone() }).await;
    assert!(matches!(none, Error::Authority { .. }), "{none}");
    let none = refused(&Files { certificate: bench.path("none"), ..good.clone() }).await;
    assert!(matches!(none, Error::Unfit { .. }), "{none}");
}

#[tokio::test]
async fn a_key_of_another_certificate_is_refused() {
    let (bench, authority) = (Bench::new(), Authority::new(|_| ()));
    bench.pair(&authority);
    let files = bench.files("server");
    put(&files.key, &own(&authority, |_| ()).key, 0o600);
    let error = refused(&files).await;
    assert!(error.to_string().contains("no TLS can be spoken with the certificate"), "{error}");
    assert!(
        source(&error).contains("keys may not be consistent") || source(&error).contains("KeyMismatch"),
        "{error:?}"
    );
}

#[tokio::test]
async fn hosts_that_are_none_are_refused() {
    let (bench, authority) = (Bench::new(), Authority::new(|_| ()));
    let (_, client) = bench.pair(&authority);
    for expected in [id(COLLECTOR), name("a.example")] {
        let client = Client::new(&client, expected).await.unwrap();
        for host in ["", "a b", "user@host", "host:1", "[::1]", "host/path", "https://host", "host?x", "-", "a..b"] {
            let error = client.connect(host, 1).await.unwrap_err();
            assert!(matches!(error, Error::Host(_)), "{host}: {error}");
        }
        for host in ["localhost", "127.0.0.1", "::1", "a-b.example"] {
            assert!(client.channel(host, 1).is_ok(), "{host}");
        }
    }
}

#[tokio::test]
async fn with_svids_nobody_is_expected_by_name() {
    let identity = Identity::Spiffe { socket: Some("unix:/nowhere".to_owned()) };
    let error = Client::new(&identity, name("a.example")).await.unwrap_err();
    assert!(matches!(error, Error::NameAmongSvids(_)), "{error}");
}

#[tokio::test]
async fn a_workload_api_that_nobody_named_is_an_error_at_once() {
    // The tests are started without one.
    assert!(std::env::var_os("SPIFFE_ENDPOINT_SOCKET").is_none_or(|socket| socket.is_empty()));
    let error = Server::new(&Identity::Spiffe { socket: None }, Peers::Any).await.unwrap_err();
    assert!(matches!(error, Error::NoSocket), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_workload_api_that_is_not_there_is_an_error_in_time() {
    let identity = Identity::Spiffe { socket: Some("unix:/nowhere/api.sock".to_owned()) };
    let server = Server::new(&identity, Peers::Any).await.unwrap_err();
    let client = Client::new(&identity, id(COLLECTOR)).await.unwrap_err();
    for error in [server, client] {
        assert!(matches!(error, Error::WorkloadApi(_)), "{error}");
        // Why is said too.
        assert!(chain(&error).contains("No such file"), "{}", chain(&error));
    }
}
