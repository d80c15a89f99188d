//! The whole way, from a synthetic session to a verdict, and every way to bend it.

use super::*;
use crate::synthetic::{self, ROOT, Session, Signed};
use proptest::prelude::*;
use proto::evidence as log;
use proto::evidence::{Class, Frame, event, frame};
use std::collections::BTreeMap;

mod platform;

impl Objects for BTreeMap<Hash, Vec<u8>> {
    fn open(&self, sha256: &Hash) -> io::Result<Box<dyn Read + '_>> {
        match self.get(sha256) {
            Some(object) => Ok(Box::new(object.as_slice())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn keys() -> Vec<PublicKey> {
    vec![synthetic::key().unwrap().public().clone()]
}

fn check(envelope: &[u8], evidence: Option<&dyn Objects>, accept_incomplete: bool) -> Verdict {
    let keys = keys();
    verify(envelope, &Options { evidence, accept_incomplete, ..Options::by_keys(&keys) })
}

fn with_evidence(signed: &Signed) -> Verdict {
    check(&signed.envelope, Some(&signed.objects), false)
}

/// The code of the first check that was refused.
fn refusal(verdict: &Verdict) -> Option<&'static str> {
    verdict.checks.iter().find(|check| check.outcome == Outcome::Refused).and_then(|check| check.code)
}

#[test]
fn a_whole_session_is_complete_with_and_without_its_evidence() {
    for frames_per_segment in [1, 7, 1000] {
        let signed = Session::build().sign(frames_per_segment).unwrap();
        let verdict = with_evidence(&signed);
        assert_eq!((verdict.exit_code(), verdict.complete, verdict.recomputed), (0, true, true), "{verdict:#?}");
        let proven = verdict.checks.iter().filter(|check| check.outcome == Outcome::Proven).count();
        // It is of an agent that performed no known acts, and nobody but the host says when.
        assert_eq!(proven, verdict.checks.len() - 2);
        let verdict = check(&signed.envelope, None, false);
        assert_eq!((verdict.exit_code(), verdict.complete, verdict.recomputed), (0, true, false), "{verdict:#?}");
        assert!(verdict.checks.iter().any(|check| check.outcome == Outcome::NotClaimed));
    }
}

#[test]
fn without_a_key_nothing_is_verified() {
    let signed = Session::build().sign(100).unwrap();
    let options = Options { accept_incomplete: true, ..Options::by_keys(&[]) };
    let verdict = verify(signed.envelope.as_slice(), &options);
    assert_eq!((verdict.exit_code(), refusal(&verdict)), (1, Some(codes::NO_ANCHOR)));
}

#[test]
fn another_key_is_refused() {
    let signed = Session::build().sign(100).unwrap();
    let other = dsse::KeyFile::from_random(&[7; 32]).unwrap();
    let keys = [other.public().clone()];
    let options = Options { accept_incomplete: true, ..Options::by_keys(&keys) };
    let verdict = verify(signed.envelope.as_slice(), &options);
    assert_eq!((verdict.exit_code(), refusal(&verdict)), (1, Some(codes::SIGNATURE_INVALID)));
    assert!(verdict.claims.is_none());
}

#[test]
fn what_is_no_envelope_is_not_understood() {
    for bytes in [&b""[..], b"{}", b"[]", b"\0\xff", b"{\"payload\":1}", b"null", &[b'['; 100_000]] {
        let verdict = check(bytes, None, true);
        assert_eq!((verdict.exit_code(), refusal(&verdict)), (2, Some(codes::ENVELOPE_MALFORMED)));
    }
}

/// Signs any payload with the trusted key.
fn sign(payload: &[u8]) -> Vec<u8> {
    let (key, mut out) = (synthetic::key().unwrap(), Vec::new());
    dsse::write_envelope(&mut out, |sink| sink.write_all(payload), &[&key]).unwrap();
    out
}

fn payload(signed: &Signed) -> String {
    String::from_utf8(dsse::read(signed.envelope.as_slice()).unwrap().into_unverified()).unwrap()
}

/// Signs the statement with `from` replaced by `to`, which a signer who lies could do.
fn forged(signed: &Signed, from: &str, to: &str) -> Vec<u8> {
    let payload = payload(signed);
    assert!(payload.contains(from), "{from} not in {payload}");
    sign(payload.replacen(from, to, 1).as_bytes())
}

#[test]
fn a_signed_payload_of_another_kind_is_not_understood() {
    let signed = Session::build().sign(100).unwrap();
    let cases = [
        ("{\"_type\"", "[{\"_type\""),
        ("Statement/v1", "Statement/v0.1"),
        ("runtime-trace/v0.1", "runtime-trace/v9"),
        ("\"version\":1", "\"version\":2"),
        ("\"formatVersion\":1", "\"formatVersion\":2"),
        ("\"complete\":true", "\"complete\":true,\"complete\":true"),
        ("\"pid\":1000", "\"pid\":1000,\"pid\":1001"),
        ("\"treeSize\":", "\"treeSize\":-"),
        ("\"number\":1", "\"number\":\"1\""),
        ("\"class\":\"stable\"", "\"class\":\"certain\""),
        ("\"class\":\"ephemeral\"", "\"class\":\"stable\""),
        ("\"sequence\":0", "\"sequence\":1"),
        ("\"name\":\"/src/tool\",\"digest\":{\"sha256\":\"", "\"name\":\"/src/tool\",\"digest\":{\"sha256\":\"00"),
    ];
    for (from, to) in cases {
        let verdict = check(&forged(&signed, from, to), None, true);
        assert_eq!(verdict.exit_code(), 2, "{from}: {verdict:#?}");
    }
    for payload in [&b""[..], b"{}", b"null", &[b'{'; 1000]] {
        assert_eq!(check(&sign(payload), None, true).exit_code(), 2);
    }
}

#[test]
fn a_lie_that_contradicts_itself_is_refused_without_evidence() {
    let signed = Session::build().sign(100).unwrap();
    for (from, to) in [
        ("\"lost\":0", "\"lost\":1"),
        ("\"misses\":0", "\"misses\":null"),
        ("\"misses\":0", "\"misses\":3"),
        ("\"attempted\":2", "\"attempted\":3"),
        ("\"truncated\":0", "\"truncated\":1"),
        ("\"coverageLevel\":\"returned-object\"", "\"coverageLevel\":\"object\""),
        ("\"gaps\":[]", "\"gaps\":[{\"code\":\"LOST_EVENTS\",\"count\":1}]"),
        ("\"blindSpots\":[]", "\"blindSpots\":[{\"code\":\"X\",\"count\":1,\"endsCompleteness\":true}]"),
        ("\"blindSpots\":[]", "\"blindSpots\":[{\"code\":\"RECOVERED\",\"count\":1,\"endsCompleteness\":false}]"),
        ("\"blindSpots\":[]", "\"blindSpots\":[{\"code\":\"NEWER\",\"count\":1,\"endsCompleteness\":false}]"),
        ("\"observation\":\"exit\"", "\"observation\":\"exits\""),
        ("\"level\":\"object\"", "\"level\":\"none\""),
        ("\"survivors\":[]", "\"survivors\":[{\"pid\":1}]"),
        ("\"digestClasses\":{\"kernel\":3", "\"digestClasses\":{\"kernel\":4"),
    ] {
        let verdict = check(&forged(&signed, from, to), None, true);
        assert_eq!(
            (verdict.exit_code(), refusal(&verdict)),
            (1, Some(codes::CLAIM_CONTRADICTED)),
            "{from}: {verdict:#?}"
        );
    }
}

#[test]
fn a_lie_about_the_facts_is_named_where_the_evidence_is_given() {
    let signed = Session::build().sign(100).unwrap();
    for (from, to, place) in [
        (
            "\"processBinary\":\"/usr/bin/curl\"",
            "\"processBinary\":\"/usr/bin/true\"",
            "/predicate/monitorLog/process/2",
        ),
        ("\"ip\":\"192.0.2.7\"", "\"ip\":\"192.0.2.8\"", "/predicate/monitorLog/network/0/ip"),
        (
            "\"access\":\"write+created\"",
            "\"access\":\"read\"",
            "/predicate/monitorLog/fileAccess/5/annotations/access",
        ),
        ("\"buildStartedOn\":\"2023", "\"buildStartedOn\":\"2024", "/predicate/metadata/buildStartedOn"),
        ("\"cpus\":2", "\"cpus\":2,\"more\":3", "/predicate/testimony/platform"),
        ("sh\",\"-c\"", "sh\",\"-d\"", "/predicate/testimony/session/command/1"),
    ] {
        let verdict = check(&forged(&signed, from, to), Some(&signed.objects), true);
        assert_eq!((verdict.exit_code(), refusal(&verdict)), (1, Some(codes::TRACE_DIFFERS)), "{from}: {verdict:#?}");
        assert!(verdict.checks.iter().any(|check| check.says.contains(place)), "{place}: {verdict:#?}");
    }
    let verdict = check(&sign((payload(&signed) + " ").as_bytes()), Some(&signed.objects), true);
    assert_eq!(refusal(&verdict), Some(codes::STATEMENT_MALFORMED));
}

#[test]
fn a_lie_about_the_numbers_is_refused_where_the_evidence_is_given() {
    let signed = Session::build().sign(100).unwrap();
    let (from, to) = ("\"attempted\":2,\"delivered\":2", "\"attempted\":3,\"delivered\":3");
    assert_eq!(check(&forged(&signed, from, to), None, false).exit_code(), 0, "the signer's word");
    let verdict = check(&forged(&signed, from, to), Some(&signed.objects), false);
    assert_eq!((verdict.exit_code(), refusal(&verdict)), (1, Some(codes::NUMBERS_DIFFER)));
}

/// What a fold gave up depends on its limit, which is no part of the format.
#[test]
fn a_trace_that_was_too_large_is_the_signers_word_and_incomplete() {
    let signed = Session::build().sign(100).unwrap();
    let gap = "\"gaps\":[{\"code\":\"TRACE_TOO_LARGE\",\"count\":1}]";
    let claimed =
        payload(&signed).replacen("\"gaps\":[]", gap, 1).replacen("\"complete\":true", "\"complete\":false", 1);
    let envelope = sign(claimed.replacen("/usr/bin/curl", "/usr/bin/true", 1).as_bytes());
    let verdict = check(&envelope, Some(&signed.objects), true);
    assert_eq!((verdict.exit_code(), verdict.recomputed, verdict.complete), (0, false, false), "{verdict:#?}");
    assert_eq!(check(&envelope, Some(&signed.objects), false).exit_code(), 1);
    let root = sign(claimed.replacen("\"treeSize\":", "\"treeSize\":1", 1).as_bytes());
    assert_eq!(refusal(&check(&root, Some(&signed.objects), true)), Some(codes::LOG_ROOT));
}

#[test]
fn a_segment_that_is_missing_or_changed_or_not_named_is_refused() {
    let signed = Session::build().sign(10).unwrap();
    for segment in &signed.head.segments {
        let mut objects = signed.objects.clone();
        let object = objects.remove(&segment.sha256).unwrap();
        let verdict = check(&signed.envelope, Some(&objects), true);
        assert_eq!(refusal(&verdict), Some(codes::SEGMENT_MISSING), "{verdict:#?}");
        for changed in
            [object[..object.len() - 1].to_vec(), [object.clone(), vec![0]].concat(), vec![], b"zstd?".to_vec()]
        {
            objects.insert(segment.sha256, changed);
            let verdict = check(&signed.envelope, Some(&objects), true);
            assert_eq!(refusal(&verdict), Some(codes::SEGMENT_CHANGED), "{verdict:#?}");
        }
    }
    let last = signed.head.segments.last().unwrap();
    let entry = format!(
        ",{{\"sequence\":{},\"sha256\":\"{}\",\"frames\":{},\"bytes\":{}}}",
        last.sequence,
        hex(&last.sha256),
        last.frames,
        last.bytes
    );
    let verdict = check(&forged(&signed, &entry, ""), Some(&signed.objects), true);
    assert_eq!(refusal(&verdict), Some(codes::LOG_ROOT), "{verdict:#?}");
}

fn hex(bytes: &[u8]) -> String {
    crate::hex::encode(bytes)
}

#[test]
fn a_root_or_size_that_the_log_has_not_is_refused() {
    let signed = Session::build().sign(10).unwrap();
    let root = hex(&signed.head.root);
    for (from, to) in [
        (format!("\"rootSha256\":\"{root}\""), format!("\"rootSha256\":\"{}\"", "00".repeat(32))),
        (format!("\"treeSize\":{}", signed.head.tree_size), format!("\"treeSize\":{}", signed.head.tree_size + 1)),
    ] {
        let verdict = check(&forged(&signed, &from, &to), Some(&signed.objects), true);
        assert_eq!((verdict.exit_code(), refusal(&verdict)), (1, Some(codes::LOG_ROOT)));
    }
    let frames = signed.head.segments[0].frames;
    let verdict = check(&forged(&signed, &format!("\"frames\":{frames}"), "\"frames\":1"), Some(&signed.objects), true);
    assert_eq!(refusal(&verdict), Some(codes::LOG_MALFORMED));
}

#[test]
fn evidence_that_cannot_be_read_is_refused() {
    struct Broken;
    impl Objects for Broken {
        fn open(&self, _: &Hash) -> io::Result<Box<dyn Read + '_>> {
            struct Failing;
            impl Read for Failing {
                fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                    Err(io::Error::other("disk"))
                }
            }
            Ok(Box::new(Failing))
        }
    }
    let signed = Session::build().sign(10).unwrap();
    let verdict = check(&signed.envelope, Some(&Broken), true);
    assert_eq!((verdict.exit_code(), refusal(&verdict)), (1, Some(codes::SEGMENT_MISSING)));
}

/// Every way to be incomplete, as an honest signer says it: refused, or accepted as such.
#[test]
fn an_incomplete_session_says_so_and_needs_to_be_accepted() {
    type Bend = fn(&mut Session);
    let cases: [(&str, Bend); 8] = [
        (codes::IO_URING_USED, |session| session.attention(ROOT, codes::IO_URING_USED)),
        (codes::UNKNOWN_CODE, |session| session.attention(ROOT, "SOMETHING_NEW")),
        (codes::UNKNOWN_PROCESS, |session| session.open_known(4711, 3, 1)),
        (codes::END_NOT_SEEN, |session| session.fork(ROOT, 1003)),
        (codes::JOINED_PROCESS, |session| {
            session.event(18, 1004, event::Body::Joined(log::Joined { start_ns: 3, ..log::Joined::default() }));
        }),
        (codes::TRUNCATED_ARGV, |session| {
            session.exec(ROOT, synthetic::file(2, b"/usr/bin/cc"), &[b"cc", b"-o", b"a-long-argument"]);
            drop_last_event(session);
        }),
        (codes::MALFORMED_LOG, |session| session.open_known(ROOT, 99, 1)),
        (codes::RECOVERED, |session| {
            let spot = log::BlindSpot { code: codes::RECOVERED.into(), detail: String::new(), ends_completeness: true };
            session.push(frame::Body::BlindSpot(spot));
        }),
    ];
    for (code, bend) in cases {
        let mut session = Session::build_open();
        bend(&mut session);
        session.accounts();
        session.close("ended", 0);
        expect_incomplete(&session, code);
    }
}

fn drop_last_event(session: &mut Session) {
    session.frames.pop();
}

fn expect_incomplete(session: &Session, code: &str) {
    let signed = session.sign(50).unwrap();
    for evidence in [None, Some(&signed.objects as &dyn Objects)] {
        let verdict = check(&signed.envelope, evidence, false);
        assert_eq!((verdict.exit_code(), refusal(&verdict)), (1, Some(codes::INCOMPLETE)), "{code}: {verdict:#?}");
        assert!(verdict.gaps.iter().any(|gap| gap.code == code), "{code}: {:#?}", verdict.gaps);
        assert!(!verdict.complete);
        let verdict = check(&signed.envelope, evidence, true);
        assert_eq!((verdict.exit_code(), verdict.complete), (0, false), "{code}: {verdict:#?}");
    }
}

#[test]
fn a_session_without_an_end_is_incomplete() {
    expect_incomplete(&Session::build_open(), codes::NOT_CLOSED);
}

#[test]
fn a_session_that_was_cut_or_failed_is_incomplete() {
    for (reason, status, code) in
        [("signal", -1, codes::SESSION_CUT), ("failed", 0, codes::SESSION_FAILED), ("because", 0, codes::UNKNOWN_CODE)]
    {
        let mut session = Session::build_open();
        session.accounts();
        session.close(reason, status);
        expect_incomplete(&session, code);
    }
}

#[test]
fn a_command_that_ended_by_a_signal_is_complete() {
    let mut session = Session::build_open();
    session.accounts();
    session.close("signal", 15);
    assert_eq!(with_evidence(&session.sign(50).unwrap()).exit_code(), 0);
}

#[test]
fn a_survivor_ends_completeness() {
    let mut session = Session::build_open();
    session.fork(ROOT, 1003);
    session.accounts();
    session.push(frame::Body::Survivor(log::Survivor { pid: 1003, start_ns: 0 }));
    session.close("ended", 0);
    expect_incomplete(&session, codes::SURVIVOR);
    let signed = session.sign(50).unwrap();
    assert_eq!(check(&signed.envelope, None, true).gaps.len(), 1);
}

#[test]
fn a_survey_of_what_a_dead_run_left_is_never_complete_and_can_be_sealed() {
    let session = Session::build();
    let (head, objects) = session.write(20).unwrap();
    let mut in_order: Vec<&[u8]> = head.segments.iter().map(|segment| objects[&segment.sha256].as_slice()).collect();
    let whole = survey(in_order.iter().copied(), Limits::default());
    assert!(whole.ended.is_none() && whole.trace.unwrap().complete());
    let last = in_order.pop().unwrap();
    in_order.push(&last[..last.len() / 2]);
    let cut = survey(in_order, Limits::default());
    assert!(matches!(cut.ended, Some(crate::evidence::LogError::Truncated)));
    assert!(!cut.trace.unwrap().complete());
    assert_eq!(cut.head.segments.len(), head.segments.len() - 1);
}

#[test]
fn no_event_fold_or_end_can_be_left_out_or_repeated() {
    let session = Session::build();
    for (at, frame) in session.frames.iter().enumerate() {
        let needed = |body: &frame::Body| {
            use frame::Body::{Closed, Event, Folded, Opened};
            matches!(body, Event(_) | Folded(_) | Closed(_) | Opened(_))
        };
        if !frame.body.as_ref().is_some_and(needed) {
            continue;
        }
        let (mut without, mut twice) = (session.clone(), session.clone());
        without.frames.remove(at);
        twice.frames.insert(at, frame.clone());
        assert!(!without.trace().is_ok_and(|trace| trace.complete()), "without {frame:?}");
        assert!(!twice.trace().is_ok_and(|trace| trace.complete()), "twice {frame:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A byte that changes is noticed, or was none that says anything (a key id, white space).
    #[test]
    fn no_changed_byte_of_an_envelope_gives_another_statement(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let signed = Session::build().sign(1000).unwrap();
        let mut envelope = signed.envelope.clone();
        envelope[at.index(signed.envelope.len())] ^= 1 << bit;
        let verdict = check(&envelope, Some(&signed.objects), false);
        let original = with_evidence(&signed);
        prop_assert!(verdict.exit_code() != 0 || verdict == original);
    }

    #[test]
    fn no_changed_byte_of_a_segment_is_accepted(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let signed = Session::build().sign(1000).unwrap();
        let mut objects = signed.objects.clone();
        let object = objects.values_mut().next().unwrap();
        let place = at.index(object.len());
        object[place] ^= 1 << bit;
        let verdict = check(&signed.envelope, Some(&objects), false);
        prop_assert_eq!(refusal(&verdict), Some(codes::SEGMENT_CHANGED));
    }

    #[test]
    fn any_bytes_give_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(check(&bytes, None, true).exit_code(), 2);
        prop_assert_eq!(check(&sign(&bytes), None, true).exit_code(), 2);
    }

    /// Frames left out, repeated, moved or changed: whatever comes of it, signer and verifier agree, and nobody panics.
    #[test]
    fn a_bent_log_never_panics_and_agrees_with_itself(
        bends in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..4), 1..6),
    ) {
        let mut session = Session::build();
        for (from, to, kind) in bends {
            bend(&mut session.frames, from, to, kind);
        }
        if session.trace().is_ok() {
            let signed = session.sign(1000).unwrap();
            let verdict = check(&signed.envelope, Some(&signed.objects), true);
            prop_assert_eq!(verdict.exit_code(), 0, "{:#?}", verdict);
        }
    }
}

fn bend(frames: &mut Vec<Frame>, from: prop::sample::Index, to: prop::sample::Index, kind: u8) {
    if frames.is_empty() {
        return;
    }
    let (from, to) = (from.index(frames.len()), to.index(frames.len()));
    match kind {
        0 => drop(frames.remove(from)),
        1 => frames.insert(to, frames[from].clone()),
        2 => frames.swap(from, to),
        _ => bend_event(&mut frames[from]),
    }
}

fn bend_event(frame: &mut Frame) {
    match &mut frame.body {
        Some(frame::Body::Event(event)) => event.number ^= 1 << 40,
        Some(frame::Body::Account(account)) => account.attempted = u64::MAX,
        Some(frame::Body::Digest(digest)) => digest.class = Class::Raced.into(),
        Some(frame::Body::Folded(folded)) => folded.count = u64::MAX,
        _ => {}
    }
}
