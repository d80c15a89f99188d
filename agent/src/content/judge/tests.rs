//! The rule of classes, held against every combination of what can be known.

use super::*;

const KINDS: [Kind; 3] = [Kind::Tested, Kind::Memory, Kind::Overlay];
const ENDS: [End; 5] = [End::Unknown, End::Gone, End::Replaced, End::Same, End::Other];
const WRITERS: [Writers; 3] = [Writers::None, Writers::Open, Writers::Unknown];

fn digest(byte: u8, writers: Writers) -> Digest {
    Digest { sha256: [byte; 32], mtime_sec: 0, mtime_nsec: 0, watch: 1, writers, measure: None }
}

/// Every third combination of what can be known.
fn every(mut check: impl FnMut(&Facts, &Verdict)) {
    let digests: Vec<(Digest, Digest)> =
        WRITERS.iter().map(|writers| (digest(1, *writers), digest(2, *writers))).collect();
    for case in (0..1u32 << 19).step_by(3) {
        let bit = |at: u32| case >> at & 1 == 1;
        let flags = u16::try_from(case & 0x7f).unwrap();
        let session = Session { survivors: bit(7), clock_set: bit(8), names_over_limit: bit(9), lossy: bit(18) };
        for (kind, end) in KINDS.iter().flat_map(|kind| ENDS.map(|end| (*kind, end))) {
            let (own, last) = &digests[case as usize / 3 % 3];
            let facts = Facts {
                flags,
                kind,
                made: bit(10),
                shared_at_birth: bit(11),
                outside: bit(12),
                end,
                own: bit(13).then_some(own),
                last: bit(14).then_some(last),
                unwritten: bit(17),
                silent: bit(15),
                ima: None,
                failure: bit(16).then_some(Reason::Unreadable),
                session,
            };
            check(&facts, &judge(&facts));
        }
    }
}

#[test]
fn nothing_is_stable_unless_every_condition_holds() {
    let mut seen = 0u32;
    every(|facts, verdict| {
        if verdict.class != Class::Stable {
            return;
        }
        seen += 1;
        let of_the_end = verdict.sha256 == Some([2; 32]);
        let used = if of_the_end { facts.last } else { facts.own }.unwrap();
        assert_eq!(facts.kind, Kind::Tested, "{facts:?}");
        assert_eq!(used.writers, Writers::None, "{facts:?}");
        assert!(!facts.session.survivors && !facts.session.clock_set, "{facts:?}");
        assert!(matches!(facts.end, End::Same | End::Other), "{facts:?}");
        assert!(of_the_end || facts.silent, "a version that is not the last needs its silence: {facts:?}");
        let reads = facts.flags & (flag::READ | flag::READ_WRITE) != 0;
        let only_left = facts.flags & flag::READ == 0 && facts.flags & (flag::CREATED | flag::WRITE) != 0;
        if reads && !only_left {
            assert_eq!(facts.flags & (flag::BUSY | flag::FUTURE), 0, "{facts:?}");
            let ours_alone = facts.made && !facts.shared_at_birth && !facts.outside && !facts.session.lossy;
            assert!(facts.flags & flag::FRESH == 0 || facts.unwritten && ours_alone, "{facts:?}");
            assert!(facts.end == End::Same || facts.silent || !of_the_end, "{facts:?}");
        }
    });
    assert!(seen > 0);
}

#[test]
fn nothing_is_ephemeral_unless_the_session_made_it_and_nobody_else_wrote_it() {
    let mut seen = 0u32;
    every(|facts, verdict| {
        if verdict.class != Class::Ephemeral {
            return;
        }
        seen += 1;
        assert!(facts.made && !facts.shared_at_birth && !facts.outside && !facts.session.lossy, "{facts:?}");
        assert_ne!(facts.kind, Kind::Overlay, "{facts:?}");
        assert!(matches!(facts.end, End::Gone | End::Replaced | End::Other), "{facts:?}");
        assert!(facts.end == End::Other || !facts.session.names_over_limit, "{facts:?}");
    });
    assert!(seen > 0);
}

#[test]
fn a_verdict_has_what_its_class_demands() {
    every(|facts, verdict| {
        let (digest, reason) = match verdict.class {
            Class::Stable => (true, false),
            Class::Raced => (true, true),
            Class::Ephemeral | Class::Absent => (false, true),
            Class::Kernel | Class::Unspecified => panic!("{facts:?}"),
        };
        assert_eq!((verdict.sha256.is_some(), verdict.reason.is_some()), (digest, reason), "{facts:?}");
        assert!(!verdict.product || facts.made && digest, "{facts:?}");
        assert!(!verdict.product || matches!(facts.end, End::Same | End::Other), "{facts:?}");
    });
}

/// A file that was under fs-verity at its accesses and at its hash, with everything else against it.
fn sealed<'a>(own: Option<&'a Digest>, last: Option<&'a Digest>) -> Facts<'a> {
    Facts {
        flags: flag::READ | flag::BUSY | flag::FRESH,
        kind: Kind::Tested,
        made: false,
        shared_at_birth: false,
        outside: true,
        end: End::Other,
        own,
        last,
        unwritten: false,
        silent: false,
        ima: None,
        failure: None,
        session: Session { survivors: true, clock_set: true, names_over_limit: true, lossy: true },
    }
}

fn measured_digest() -> Digest {
    Digest { measure: Some(Box::new(Measure::Sha256([9; 32]))), ..digest(1, Writers::Unknown) }
}

#[test]
fn what_is_sealed_is_kernel_whatever_became_of_the_file() {
    let digest = measured_digest();
    for (end, own, last) in [
        (End::Same, None, Some(&digest)),
        (End::Other, Some(&digest), None),
        (End::Other, None, Some(&digest)),
        (End::Gone, Some(&digest), None),
        (End::Replaced, Some(&digest), None),
    ] {
        let verdict = judge(&Facts { end, ..sealed(own, last) });
        assert_eq!((verdict.class, verdict.reason, verdict.sha256), (Class::Kernel, None, Some([1; 32])), "{end:?}");
        assert_eq!(verdict.measure, digest.measure.clone().map(Measured::Verity), "{end:?}");
        assert!(!verdict.product, "{end:?}");
    }
}

#[test]
fn what_was_not_sealed_at_an_access_or_at_the_hash_is_not_kernel() {
    let (digest, plain) = (measured_digest(), digest(1, Writers::None));
    let whole = sealed(None, Some(&digest));
    assert_eq!(judge(&whole).class, Class::Kernel);
    for facts in [
        Facts { flags: whole.flags | flag::UNSEALED, ..whole },
        Facts { last: Some(&plain), ..whole },
        Facts { kind: Kind::Btrfs, ..whole },
        Facts { kind: Kind::Overlay, ..whole },
        Facts { flags: flag::WRITE, ..whole },
        Facts { flags: flag::READ | flag::CREATED, ..whole },
        Facts { flags: 0, ..whole },
        Facts { end: End::Unknown, ..whole },
    ] {
        let verdict = judge(&facts);
        assert!(verdict.class != Class::Kernel && verdict.measure.is_none(), "{facts:?}");
    }
}

#[test]
fn what_ima_measured_at_every_exec_is_kernel_if_the_hash_is_the_same() {
    let last = digest(2, Writers::Unknown);
    let facts = Facts {
        flags: flag::READ | flag::UNSEALED,
        end: End::Same,
        outside: false,
        ima: Some(&[2; 32]),
        session: Session { survivors: true, lossy: true, ..Session::default() },
        ..sealed(None, Some(&last))
    };
    let verdict = judge(&facts);
    assert_eq!((verdict.class, verdict.reason, verdict.measure), (Class::Kernel, None, Some(Measured::Ima)));
    for also in [flag::NOT_EXECUTED, flag::UNMEASURED, flag::READ_WRITE, flag::FRESH, flag::FUTURE, flag::BUSY] {
        assert_eq!(judge(&Facts { flags: facts.flags | also, ..facts }).class, Class::Raced, "{also}");
    }
    for kind in [Kind::Overlay, Kind::Memory] {
        assert_eq!(judge(&Facts { kind, ..facts }).class, Class::Raced, "{kind:?}");
    }
    let clock_set = Session { clock_set: true, ..facts.session };
    assert_eq!(judge(&Facts { session: clock_set, ..facts }).class, Class::Raced);
    assert_ne!(judge(&Facts { end: End::Other, ..facts }).class, Class::Kernel);
    assert_ne!(judge(&Facts { outside: true, ..facts }).class, Class::Kernel);
    assert_eq!(judge(&Facts { last: None, ..facts }).class, Class::Absent);
    let stable = digest(2, Writers::None);
    let calm = Facts { last: Some(&stable), session: Session::default(), outside: false, ..facts };
    let verdict = judge(&Facts { ima: Some(&[3; 32]), ..calm });
    assert_eq!((verdict.class, verdict.reason, verdict.measure), (Class::Raced, Some(Reason::MeasuresDiffer), None));
    assert_eq!(judge(&Facts { ima: None, ..calm }).class, Class::Stable);
    let sealed = Facts { flags: flag::READ, ima: Some(&[3; 32]), ..calm };
    assert_eq!(judge(&sealed).class, Class::Stable, "its measure is no digest of the content");
}

#[test]
fn without_the_kernels_word_on_writers_there_is_no_stable() {
    let last = digest(2, Writers::Unknown);
    let facts = Facts {
        flags: flag::READ,
        kind: Kind::Tested,
        made: false,
        shared_at_birth: false,
        outside: false,
        end: End::Same,
        own: None,
        last: Some(&last),
        unwritten: false,
        silent: false,
        ima: None,
        failure: None,
        session: Session::default(),
    };
    assert_eq!(judge(&facts).reason, Some(Reason::NoLease));
    let last = digest(2, Writers::None);
    assert_eq!(judge(&Facts { last: Some(&last), ..facts }).class, Class::Stable);
}
