//! `doctor` says whether a run here could have a keyless signature, and which variables of the environment its client honours.

use std::process::{Command, Stdio};

use serde_json::Value;
use tests::{ISSUER, ended};

use crate::bench::{Bench, ID};
use crate::here;

const GIVEN: [&str; 4] = ["--keyless", "signing_config.json", "--keyless-trusted-root", "trusted_root.json"];
const NAMES: [&str; 5] = ["keyless", "keyless token", "keyless CA", "keyless log", "keyless time"];

/// What `doctor` says of keyless signatures: name, status, words, and what to do.
type Said = Vec<[String; 4]>;

fn doctor(bench: &Bench, options: &[&str], change: impl FnOnce(&mut Command)) -> Said {
    let mut doctor = bench.testimony("doctor");
    doctor.args(["--json", "--key", "key"]).args(options);
    change(&mut doctor);
    let said = doctor.stderr(Stdio::inherit()).output().expect("testimony runs");
    let answer: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fields = |check: &Value| ["name", "status", "says", "action"].map(|field| text(&check[field]));
    let checks = answer["checks"].as_array().expect("checks").iter().map(fields);
    let found: Said = checks.filter(|[name, ..]| name.starts_with("keyless")).collect();
    let failed = found.iter().any(|[_, status, ..]| status == "fail");
    assert!(!failed || said.status.code() == Some(1), "{found:?}");
    found
}

fn without_socket(doctor: &mut Command) {
    doctor.env_remove("SPIFFE_ENDPOINT_SOCKET");
}

fn statuses(said: &Said) -> Vec<&str> {
    said.iter().map(|[_, status, ..]| status.as_str()).collect()
}

#[test]
fn doctor_says_who_could_sign_keyless_and_what_is_missing() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    ended(&bench.run("first", &[]), 0);
    let logged = bench.logged();
    let said = doctor(&bench, &GIVEN, |_| ());
    assert_eq!(said.iter().map(|[name, ..]| name.as_str()).collect::<Vec<_>>(), NAMES);
    assert_eq!(statuses(&said), ["ok"; 5], "{said:?}");
    assert!(said[1][2].contains(ID) && said[1][2].contains(ISSUER) && said[2][2].contains(ISSUER), "{said:?}");
    assert_eq!(bench.logged(), logged, "a question was published");
    // By no log of certificates, and by the authorities of somebody else.
    let root = |name| [&GIVEN[..3], &[name]].concat();
    assert_eq!(statuses(&doctor(&bench, &root("without_ct.json"), |_| ()))[0], "warn");
    let stranger = Bench::new();
    std::fs::copy(stranger.sigstore.path("trusted_root.json"), bench.scratch.join("stranger.json")).expect("copied");
    let said = doctor(&bench, &root("stranger.json"), |_| ());
    assert_eq!(statuses(&said), ["ok", "ok", "warn", "ok", "warn"], "{said:?}");
    assert!(said[2][3].contains("--keyless-trusted-root") && said[4][3].contains("--keyless-trusted-root"));
    // Nobody there.
    for service in ["certificates", "log", "stamps"] {
        bench.sigstore.stop(service);
    }
    let said = doctor(&bench, &GIVEN, without_socket);
    assert_eq!(statuses(&said), ["ok", "fail", "warn", "warn", "warn"], "{said:?}");
    assert!(said[1..].iter().all(|[.., action]| !action.is_empty()), "{said:?}");
    assert!(said[2][2].contains("127.0.0.1:4002") && said[1][3].contains("--keyless-token"), "{said:?}");
    // Nothing given, and nothing that could be.
    let said = doctor(&bench, &[], without_socket);
    let [[name, status, says, action]] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((name.as_str(), status.as_str(), action.as_str()), ("keyless", "ok", ""));
    for missing in ["--keyless ", "--keyless-trusted-root", "SPIFFE_ENDPOINT_SOCKET", "--keyless-token"] {
        assert!(says.contains(missing), "{says}");
    }
    let said = doctor(&bench, &[&GIVEN[..1], &["nowhere"], &GIVEN[2..]].concat(), |_| ());
    assert!(said.len() == 1 && statuses(&said) == ["fail"] && said[0][2].contains("nowhere"), "{said:?}");
}

#[test]
fn the_client_honours_ssl_cert_file_and_proxies() {
    if !here() {
        return;
    }
    let bench = Bench::new();
    ended(&bench.run("out", &[]), 0);
    let stamp = |authority: &str, variables: &[(&str, &str)]| {
        let mut stamp = bench.testimony("timestamp");
        stamp.args(["--authority", authority, "out.intoto.jsonl"]);
        // The machine may have its own.
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"] {
            stamp.env_remove(variable);
        }
        stamp.envs(variables.iter().copied());
        stamp.output().expect("testimony runs")
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    // The issuer is no authority; that it says so shows that its certificate was taken.
    let root = bench.sigstore.path("tls-root.pem");
    let issuer = format!("{ISSUER}/stamp");
    let unknown = said(&stamp(&issuer, &[]));
    assert!(unknown.contains("did not answer"), "{unknown}");
    let known = said(&stamp(&issuer, &[("SSL_CERT_FILE", root.to_str().expect("a path"))]));
    assert!(known.contains("HTTP status"), "{known}");
    let nobody = said(&stamp(&issuer, &[("SSL_CERT_FILE", "nowhere")]));
    assert!(nobody.contains("no HTTP client could be made"), "{nobody}");
    // A proxy that is not there.
    let (stamps, proxy) = ("http://127.0.0.1:4007/api/v1/timestamp", ("HTTP_PROXY", "http://127.0.0.1:9"));
    let through = said(&stamp(stamps, &[proxy]));
    assert!(through.contains("did not answer"), "{through}");
    ended(&stamp(stamps, &[proxy, ("NO_PROXY", "127.0.0.1")]), 0);
}
