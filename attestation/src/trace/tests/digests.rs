//! Digests: what a class demands, and what of them holds.

use super::*;

#[test]
fn a_digest_that_its_class_does_not_allow_is_refused() {
    let mut session = Session::open();
    session.open_file(ROOT, file(1, b"/x"), 1, 0);
    let digest = |class: i32, bytes: usize, reason: &str| {
        let (sha256, reason) = (vec![0; bytes], reason.to_owned());
        frame::Body::Digest(log::ContentDigest { file_id: 1, class, sha256, reason, ..log::ContentDigest::default() })
    };
    for (class, bytes, reason) in [
        (Class::Stable, 0, ""),
        (Class::Stable, 31, ""),
        (Class::Stable, 33, ""),
        (Class::Stable, 32, codes::GONE),
        (Class::Kernel, 0, ""),
        (Class::Raced, 32, ""),
        (Class::Raced, 0, codes::CHANGED),
        (Class::Absent, 32, codes::GONE),
        (Class::Absent, 0, ""),
        (Class::Absent, 0, "because"),
        (Class::Ephemeral, 32, codes::MADE_AND_GONE),
    ] {
        assert_eq!(refused(&session, digest(class.into(), bytes, reason)), TraceError::DigestOfClass(1), "{class:?}");
    }
    for class in [0, 6, -1] {
        assert_eq!(refused(&session, digest(class, 32, "")), TraceError::Value("class"));
    }
    let other = log::ContentDigest { file_id: 2, class: 5, reason: "GONE".into(), ..log::ContentDigest::default() };
    assert_eq!(refused(&session, frame::Body::Digest(other)), TraceError::UnknownFile(2));
}

#[test]
fn a_measure_of_unknown_means_or_another_length_or_class_is_refused() {
    let mut session = Session::open();
    session.open_file(ROOT, file(1, b"/x"), 1, 0);
    let digest = |class: Class, by: i32, algorithm: i32, bytes: usize| {
        let reason = if class == Class::Raced { codes::CHANGED } else { "" };
        let measure = Some(log::Measure { by, algorithm, digest: vec![0; bytes] });
        let (class, sha256) = (class.into(), vec![0; 32]);
        frame::Body::Digest(log::ContentDigest {
            file_id: 1,
            class,
            sha256,
            reason: reason.into(),
            measure,
            ..Default::default()
        })
    };
    for (class, by, algorithm, bytes) in [
        (Class::Kernel, 0, 1, 32),
        (Class::Kernel, 3, 1, 32),
        (Class::Kernel, 1, 0, 32),
        (Class::Kernel, 1, 3, 32),
        (Class::Kernel, 1, 1, 0),
        (Class::Kernel, 1, 1, 31),
        (Class::Kernel, 1, 1, 64),
        (Class::Kernel, 2, 2, 32),
        (Class::Stable, 1, 1, 32),
        (Class::Raced, 1, 1, 32),
    ] {
        let seen = refused(&session, digest(class, by, algorithm, bytes));
        assert_eq!(seen, TraceError::DigestOfClass(1), "{class:?} {by} {algorithm} {bytes}");
    }
    session.push(digest(Class::Kernel, 1, 2, 64));
    let measure = |session: &Session| session.trace().unwrap().files().next().unwrap().measure.cloned();
    assert_eq!(measure(&session), Some(log::Measure { by: 1, algorithm: 2, digest: vec![0; 64] }));
    session.digest(1, Class::Stable, b"/x", "", false);
    assert_eq!(measure(&session), None);
}

#[test]
fn the_last_digest_of_an_id_holds_for_all_its_paths() {
    let mut session = Session::open();
    session.open_file(ROOT, file(1, b"/a"), 1, 0);
    session.digest(1, Class::Stable, b"first", "", false);
    session.open_file(ROOT, file(1, b"/b"), 1, 2);
    session.open_known(ROOT, 1, 2);
    session.digest(1, Class::Raced, b"second", codes::CHANGED, false);
    let trace = session.trace().unwrap();
    let files: Vec<_> = trace.files().map(|file| (file.path.to_vec(), file.class, file.accesses)).collect();
    assert_eq!(files, [(b"/a".to_vec(), Class::Raced, 2), (b"/b".to_vec(), Class::Raced, 3)]);
    assert!(trace.files().all(|file| file.sha256.unwrap().as_slice() == crate::synthetic::content(b"second")));
}

#[test]
fn a_file_without_a_digest_is_absent_and_says_so() {
    let mut session = Session::open();
    session.open_file(ROOT, file(1, b"/a"), 1, 0);
    let trace = session.trace().unwrap();
    let file = trace.files().next().unwrap();
    assert_eq!((file.class, file.reason, file.sha256), (Class::Absent, codes::NOT_HASHED, None));
}

#[test]
fn of_several_products_with_one_name_the_last_counts() {
    let mut session = Session::open();
    for id in 1..=3 {
        session.open_file(ROOT, file(id, format!("/tmp/{id}").as_bytes()), 2, 0);
        session.digest(id, Class::Stable, b"/out", "", true);
    }
    session.digest(3, Class::Ephemeral, b"", codes::MADE_AND_GONE, true);
    let trace = session.trace().unwrap();
    let digests: Vec<_> = trace.products().collect();
    assert_eq!(digests.len(), 1);
    assert_eq!(digests[0].0, b"/out");
}

#[test]
fn a_257th_reason_is_refused() {
    let mut session = Session::open();
    session.open_file(ROOT, file(1, b"/a"), 1, 0);
    let mut builder = builder(&session);
    let mut refusals = 0;
    for n in 0..300 {
        let reason = format!("R{n}");
        let digest = log::ContentDigest { file_id: 1, class: 5, reason, ..log::ContentDigest::default() };
        refusals += usize::from(builder.push(&Frame { body: Some(frame::Body::Digest(digest)) }).is_err());
    }
    // NOT_HASHED is there from the start.
    assert_eq!(refusals, 300 - 255);
}

#[test]
fn a_file_only_named_is_not_among_the_classes() {
    let mut session = Session::open();
    session.open_file(ROOT, file(1, b"/a"), access::PATH_ONLY, 0);
    let trace = session.trace().unwrap();
    assert_eq!(trace.class_counts(), [0; 5]);
    assert_eq!(trace.files().count(), 1);
}
