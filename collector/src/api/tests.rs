//! The API without a network: its document is the one that is checked in, and nobody who has no right is told anything.

use std::sync::Arc;

use attestation::hex;
use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;

use super::{
    answer::Asker,
    settings::{Reader, Right},
    *,
};
use crate::{counts::Counts, index};

const DOCUMENT: &str = "../docs/openapi.json";

#[test]
fn the_document_is_what_the_code_answers() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == document(),
        "docs/openapi.json is behind: GOLDEN_WRITE=1 cargo test -p testimony-collector openapi"
    );
}

struct Bench {
    _folder: tempfile::TempDir,
    router: axum::Router,
}

impl Bench {
    fn new() -> Self {
        let folder = index::tests::kept();
        let token = |token: &str, right| Reader {
            spiffe_id: None,
            token_sha256: Some(hex::encode(&Sha256::digest(token))),
            rights: vec![right],
        };
        let readers = vec![token("f", Right::Facts), token("s", Right::Statements), token("m", Right::Metrics)];
        let settings = Settings { readers, ..Settings::default() };
        let state = State::new(folder.path().to_owned(), &settings, None, Arc::new(Counts::new()));
        Self { router: handlers::router(Arc::new(state)), _folder: folder }
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(path).extension(Asker::default());
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// Every path of the document, with the right that it needs.
fn paths() -> Vec<(String, &'static str)> {
    let document: serde_json::Value = serde_json::from_str(&document()).unwrap();
    let payload = hex::encode(&index::tests::golden()[0].payload_sha256);
    let paths = document["paths"].as_object().unwrap().keys();
    let right = |path: &str| match path {
        "/metrics" => "m",
        path if path.ends_with("/envelope") => "s",
        _ => "f",
    };
    let asked = |path: &String| {
        let with = match path.as_str() {
            "/v1/files" => format!("?sha256={payload}"),
            "/v1/contacts" => "?peer=192.0.2.7".to_owned(),
            _ => String::new(),
        };
        (path.replace("{payload}", &payload) + &with, right(path))
    };
    paths.map(asked).collect()
}

#[tokio::test]
async fn each_path_is_answered_to_who_has_its_right_and_to_nobody_else() {
    let bench = Bench::new();
    let paths = paths();
    assert_eq!(paths.len(), 12);
    for (path, right) in paths {
        for token in ["f", "s", "m"] {
            let (status, body) = bench.ask("GET", &path, Some(token)).await;
            let wanted = if token == right { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(status, wanted, "{path} {token}: {body}");
        }
        for token in [None, Some("wrong"), Some("")] {
            let (status, body) = bench.ask("GET", &path, token).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {token:?}");
            assert!(body.starts_with("{\"code\":\"unauthorized\""), "{body}");
        }
    }
}

#[tokio::test]
async fn who_may_ask_nothing_is_not_told_what_there_is() {
    let bench = Bench::new();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/nothing"),
        ("POST", "/v1/statements"),
        ("DELETE", "/v1/statements"),
        ("GET", "/v1/statements/x"),
    ] {
        assert_eq!(bench.ask(method, path, None).await.0, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    assert_eq!(bench.ask("GET", "/", Some("f")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(bench.ask("POST", "/v1/statements", Some("f")).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn what_is_not_understood_is_said_in_a_sentence() {
    let bench = Bench::new();
    let long = "x".repeat(5000);
    for (path, says) in [
        ("/v1/statements?subject=x", "subject is no SHA-256"),
        ("/v1/statements?limit=0", "limit is not from 1 to 1000"),
        ("/v1/statements?limit=1001", "limit is not from 1 to 1000"),
        ("/v1/statements?limit=-1", "limit"),
        ("/v1/statements?from=yesterday", "from is no time"),
        ("/v1/statements?verdict=good", "verdict is neither"),
        ("/v1/statements?gap=%27", "gap is no code"),
        ("/v1/statements?cursor=%27", "the cursor is none of this list"),
        ("/v1/statements?unknown=1", "unknown"),
        ("/v1/statements?host=a&host=b", "duplicate"),
        (&format!("/v1/statements?host={long}"), "more than 4096 bytes"),
        ("/v1/files", "sha256"),
        ("/v1/files?sha256=0", "sha256 is no SHA-256"),
        ("/v1/contacts?peer=", "peer is empty"),
        ("/v1/statements/ABC", "no SHA-256"),
        ("/v1/statements/%00/envelope", "no SHA-256"),
    ] {
        let token = if path.ends_with("envelope") { "s" } else { "f" };
        let (status, body) = bench.ask("GET", path, Some(token)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
        assert!(body.contains(says), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_whole_statement_is_given_as_it_was_sent() {
    let bench = Bench::new();
    let golden = index::tests::golden();
    let path = format!("/v1/statements/{}/envelope", hex::encode(&golden[1].payload_sha256));
    assert_eq!(
        bench.ask("GET", &path, Some("s")).await,
        (StatusCode::OK, String::from_utf8(golden[1].envelope.clone()).unwrap())
    );
    let nothing = format!("/v1/statements/{}/envelope", "0".repeat(64));
    assert_eq!(bench.ask("GET", &nothing, Some("s")).await.0, StatusCode::NOT_FOUND);
}

#[test]
fn whoever_is_not_said_well_is_a_fault() {
    let said = |text: &str| {
        let refused = config::parse::<Settings>("c", text).expect_err("faults");
        refused.faults.iter().map(|fault| fault.path.clone()).collect::<Vec<_>>()
    };
    assert!(said("listen = \"127.0.0.1:1\"\n").contains(&"readers".to_owned()));
    let text = "listen = \"x\"\n[[readers]]\nspiffe_id = \"x\"\nrights = [\"facts\"]\n[[readers]]\ntoken_sha256 = \"0\"\nrights = []\n";
    let faults = said(text);
    for wanted in ["listen", "readers[0].spiffe_id", "readers[1].token_sha256", "readers[1].rights"] {
        assert!(faults.iter().any(|fault| fault == wanted), "{wanted}: {faults:?}");
    }
    assert!(!said("listen = \"127.0.0.1:1\"\n[[readers]]\ntoken_sha256 = \"0\"\nrights = [\"all\"]\n").is_empty());
}
