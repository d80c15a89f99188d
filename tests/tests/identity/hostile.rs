//! A Workload API that answers what no SPIRE does: nothing is run that nobody could sign, each in a sentence, and nobody else signs
//! without being named for it.

use std::fs;
use std::process::{Output, Stdio};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair, KeyUsagePurpose};
use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tests::workload_api::{Answer, Authority, ID, Svid, WorkloadApi, in_seconds, unknown_critical, uri};
use tests::{Scratch, need_root};

use crate::bench::{here, run_as, session, wait_for};

/// What the API answers, and what the run says.
struct Case {
    name: &'static str,
    answer: Answer,
    says: &'static str,
}

fn case(name: &'static str, svid: Svid, says: &'static str) -> Case {
    Case { name, answer: Answer::Svids(vec![svid]), says }
}

fn raw(name: &'static str, answer: Answer, says: &'static str) -> Case {
    Case { name, answer, says }
}

fn run(api: &WorkloadApi, scratch: &Scratch, name: &str, more: &[&str]) -> Output {
    let mut run = run_as(scratch, name);
    run.args(["--svid-wait", "1", "--signer", &api.signer()]).args(more);
    run.args(["--", "touch", &format!("{name}.ran")]).output().expect("testimony runs")
}

fn refused(case: &Case) {
    let (api, scratch) = (WorkloadApi::start(case.answer.clone()), Scratch::new());
    let output = run(&api, &scratch, "s", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{}: {said}", case.name);
    assert!(said.contains(case.says), "{}: {said}", case.name);
    assert_eq!(said.trim_end().lines().count(), 1, "{}: one sentence: {said}", case.name);
    assert!(!scratch.join("s.ran").exists(), "{}: it was run", case.name);
    assert!(!scratch.join("s.intoto.jsonl").exists(), "{}: it was signed", case.name);
}

/// What the certificates say that they may not.
fn certificates() -> Vec<Case> {
    let authority = Authority::new(|_| {});
    let leaf = |change: fn(&mut CertificateParams)| authority.svid(change);
    let of = |change: fn(&mut CertificateParams)| Authority::new(change).svid(|_| {});
    let other = Authority::new(|_| {});
    vec![
        case("expired", leaf(|params| params.not_after = in_seconds(-1)), "expired"),
        case("about to expire", leaf(|params| params.not_after = in_seconds(13)), "ends within"),
        case("not valid yet", leaf(|params| params.not_before = in_seconds(600)), "not valid yet"),
        case("two URIs", leaf(|params| params.subject_alt_names.push(uri("spiffe://example.org/two"))), "multiple URI"),
        case("no URI", leaf(|params| params.subject_alt_names.clear()), "2.5.29.17"),
        case(
            "no SPIFFE ID",
            leaf(|params| params.subject_alt_names = vec![uri("https://example.org/x")]),
            "missing SPIFFE ID",
        ),
        case("an authority's", leaf(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "CA flag"),
        case(
            "a key for certificates",
            leaf(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            "keyCertSign",
        ),
        case("no key usage", leaf(|params| params.key_usages.clear()), "2.5.29.15"),
        case(
            "an unknown critical extension",
            leaf(|params| params.custom_extensions.push(unknown_critical())),
            "UnsupportedCriticalExtension",
        ),
        case(
            "an authority without basic constraints",
            of(|params| params.is_ca = IsCa::NoCa),
            "not that of an authority",
        ),
        case(
            "an authority that has expired",
            of(|params| params.not_after = in_seconds(-1)),
            "no authority that was valid",
        ),
        case("an authority with a name constraint", of(constrained), "NameConstraintViolation"),
        case(
            "another authority's bundle",
            Svid { bundle: other.svid(|_| {}).bundle, ..leaf(|_| {}) },
            "chain does not hold",
        ),
        case("no bundle", Svid { bundle: vec![], ..leaf(|_| {}) }, "X509SVID.bundle"),
        case("another's key", Svid { key: leaf(|_| {}).key, ..leaf(|_| {}) }, "not that of the SVID"),
        case("a key on P-384", authority.svid_of(key(&PKCS_ECDSA_P384_SHA384), |_| {}), "P-256"),
        case("a key on Ed25519", authority.svid_of(key(&PKCS_ED25519), |_| {}), "P-256"),
        case("a chain that is none", Svid { chain: b"nonsense".to_vec(), ..leaf(|_| {}) }, "failed to parse"),
        case(
            "a chain of twenty",
            Svid { chain: leaf(|_| {}).chain.repeat(20), ..leaf(|_| {}) },
            "too many certificates",
        ),
    ]
}

fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).expect("a key")
}

/// Only names of URIs of another host, in DER: what rcgen does not write.
fn constrained(params: &mut CertificateParams) {
    let host = b"example.com";
    let nested = |tag: u8, inner: &[u8]| [&[tag, u8::try_from(inner.len()).expect("short")], inner].concat();
    let permitted = nested(0xa0, &nested(0x30, &nested(0x86, host)));
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], nested(0x30, &permitted));
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
}

/// What the answers are that they may not be.
fn answers() -> Vec<Case> {
    let authority = Authority::new(|_| {});
    let many = vec![authority.svid(|_| {}); 5000];
    let large = Svid { bundle: vec![0x30; 64 << 20], ..authority.svid(|_| {}) };
    vec![
        raw("silence", Answer::Silence, "has not answered"),
        raw("a closed connection", Answer::Close, "gave no SVID within 1 s"),
        raw("permission denied", Answer::Status(7), "ermission"),
        raw("nonsense", Answer::Bytes(b"nonsense".to_vec()), "gave no SVID within 1 s"),
        raw("no SVID", Answer::Svids(vec![]), "gave no SVID within 1 s"),
        raw("five thousand SVIDs", Answer::Svids(many), "limit"),
        raw("a bundle of 64 MiB", Answer::Svids(vec![large]), "limit"),
    ]
}

#[test]
fn nothing_is_run_by_an_svid_that_nobody_could_verify() {
    if !here() {
        return;
    }
    need_root();
    let cases: Vec<Case> = certificates().into_iter().chain(answers()).collect();
    // Each waits for a second.
    thread::scope(|scope| {
        for part in cases.chunks(8) {
            scope.spawn(move || part.iter().for_each(refused));
        }
    });
}

#[test]
fn who_signs_is_said_by_the_certificate() {
    if !here() {
        return;
    }
    need_root();
    let authority = Authority::new(|_| {});
    let (api, scratch) = (WorkloadApi::start(Answer::Silence), Scratch::new());
    for name in ["spiffe://example.org/other", "spiffe://example.com/ci/builder"] {
        api.answer(Answer::Svids(vec![Svid { id: name.to_owned(), ..authority.svid(|_| {}) }]));
        let output = run(&api, &scratch, "s", &[]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read(scratch.join("s.intoto.jsonl")).expect("a statement");
        assert_eq!(session(&text)["signer"], ID);
        fs::remove_file(scratch.join("s.intoto.jsonl")).expect("removed");
        fs::remove_dir_all(scratch.join("s.evidence")).expect("removed");
    }
}

#[test]
fn who_stands_in_for_a_bad_svid_was_named_and_is_said() {
    if !here() {
        return;
    }
    need_root();
    let authority = Authority::new(|_| {});
    let expired = || Answer::Svids(vec![authority.svid(|params| params.not_after = in_seconds(-1))]);
    let (api, scratch) = (WorkloadApi::start(Answer::Svids(vec![authority.svid(|_| {})])), Scratch::new());
    assert_eq!(run(&api, &scratch, "good", &[]).status.code(), Some(0));
    api.answer(expired());
    assert_eq!(run(&api, &scratch, "bad", &[]).status.code(), Some(125));
    let second = format!("key:{}", scratch.join("second").display());
    let output = run(&api, &scratch, "second", &["--second-signer", &second]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("the second signer does") && said.contains("expired"), "{said}");
    let signed = |name: &str| fs::read(scratch.join(format!("{name}.intoto.jsonl"))).expect("a statement");
    let certificate = |name: &str| String::from_utf8_lossy(&signed(name)).contains("\"certificate\"");
    assert!(certificate("good") && !certificate("second"));
}

/// Nothing that is not valid at the end, or not given any more, signs; the evidence stays.
#[test]
fn what_turns_bad_while_the_command_runs_does_not_sign() {
    if !here() {
        return;
    }
    need_root();
    let authority = Authority::new(|_| {});
    let good = || Answer::Svids(vec![authority.svid(|_| {})]);
    let short = Answer::Svids(vec![authority.svid(|params| params.not_after = in_seconds(18))]);
    let other = authority.svid(|params| params.subject_alt_names = vec![uri("spiffe://example.org/ci/other")]);
    let cases = [
        ("late", short, None, "ends within"),
        ("revoked", good(), Some(Answer::Status(7)), "ermission"),
        ("another", good(), Some(Answer::Svids(vec![other])), "gives no SVID of"),
    ];
    thread::scope(|scope| {
        for (name, before, meanwhile, says) in cases {
            scope.spawn(move || {
                let (api, scratch) = (WorkloadApi::start(before), Scratch::new());
                let mut run = run_as(&scratch, name);
                run.args(["--svid-wait", "1", "--signer", &api.signer(), "--", "sh", "-c", "touch began; sleep 5"]);
                let run = run.stderr(Stdio::piped()).spawn().expect("testimony runs");
                wait_for(&scratch.join("began"));
                meanwhile.into_iter().for_each(|answer| api.answer(answer));
                let output = run.wait_with_output().expect("it ends");
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(121), "{name}: {said}");
                assert!(said.contains(says), "{name}: {said}");
                let evidence = scratch.join(format!("{name}.evidence"));
                assert!(evidence.is_dir() && !scratch.join(format!("{name}.intoto.jsonl")).exists(), "{name}");
            });
        }
    });
}
