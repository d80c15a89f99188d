//! The class of a row: a pure function of what was seen at its accesses, at the hash and at the end.

use proto::evidence::Class;

use super::filesystem::Kind;
use super::hash::{Digest, Writers};
use super::reason::Reason;
use super::table::flag;
use crate::probe::verity::Measure;

/// The file at the end, by the look of the last pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Not looked at in time.
    Unknown,
    /// No name leads to it.
    Gone,
    /// Its name leads to another file.
    Replaced,
    /// It is there in the row's version.
    Same,
    /// It is there in another version.
    Other,
}

/// What holds for the whole session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Session {
    /// A process was not followed to its end.
    pub(super) survivors: bool,
    /// The wall clock was set.
    pub(super) clock_set: bool,
    /// Moves of names were left out.
    pub(super) names_over_limit: bool,
    /// Reports of the kernel side were lost: who wrote what is not known.
    pub(super) lossy: bool,
}

/// All that the class of a row rests on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// Bits of [`flag`].
    pub(super) flags: u16,
    pub(super) kind: Kind,
    /// The session made the inode, before this row's first access.
    pub(super) made: bool,
    /// Somebody else had it open for writing when it was made.
    pub(super) shared_at_birth: bool,
    /// A task outside opened it for writing.
    pub(super) outside: bool,
    pub(super) end: End,
    /// Of the row's own version.
    pub(super) own: Option<&'a Digest>,
    /// Of the version at the end.
    pub(super) last: Option<&'a Digest>,
    /// No task of the session opened the inode for writing while it had the row's version, nor truncated it by name
    /// since the access.
    pub(super) unwritten: bool,
    /// Nothing was written between the own digest and the end, though ctime moved.
    pub(super) silent: bool,
    /// What IMA measured when it was executed.
    pub(super) ima: Option<&'a [u8; 32]>,
    /// Why there is no digest.
    pub(super) failure: Option<Reason>,
    pub(super) session: Session,
}

/// What the kernel answers for a content by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Measured {
    /// fs-verity, with the digest of its tree.
    Verity(Box<Measure>),
    /// IMA, by the content's SHA-256.
    Ima,
}

/// The class and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) class: Class,
    /// Of class `kernel`.
    pub(super) measure: Option<Measured>,
    pub(super) reason: Option<Reason>,
    pub(super) sha256: Option<[u8; 32]>,
    /// The session made the file and left it with this digest.
    pub(super) product: bool,
    /// The digest is of what stood there at the end.
    pub(super) last: bool,
}

/// The class of a row.
pub(super) fn judge(facts: &Facts) -> Verdict {
    let accessed = flag::READ | flag::READ_WRITE | flag::WRITE;
    if facts.flags & accessed == 0 {
        return absent(Reason::PathOnly);
    }
    if facts.end == End::Unknown {
        return absent(facts.failure.unwrap_or(Reason::TimedOut));
    }
    if facts.tells_what_was_left() {
        return left(facts);
    }
    let verdict = read(facts);
    match facts.sealed() {
        Some(digest) => measured(digest, &verdict),
        None => executed(facts, verdict),
    }
}

impl Facts<'_> {
    /// A row that made the file or only wrote it says what was left; any other says what was read.
    fn tells_what_was_left(&self) -> bool {
        self.flags & flag::CREATED != 0 || self.flags & (flag::READ | flag::READ_WRITE) == 0
    }

    /// Whether only tasks of the session can have written it, from its first byte.
    fn explained_by_its_writers(&self) -> bool {
        let only_by_us = self.made && !self.shared_at_birth && !self.outside;
        only_by_us && !self.session.lossy && self.kind.shows_writers()
    }

    /// Whether nobody can have changed it within the tick of its ctime after an access that saw no writer: every open for
    /// writing is seen, by whomever, and there was none.
    fn kept_since_its_access(&self) -> bool {
        self.unwritten && self.explained_by_its_writers()
    }

    /// The digest of an inode that was under fs-verity at every access and at the hash: it is of what was read, whatever
    /// became of the file's names and times, and of the file.
    fn sealed(&self) -> Option<&Digest> {
        let mut digests = [self.last, self.own].into_iter().flatten();
        let under = self.flags & flag::UNSEALED == 0 && self.kind.keeps_verity();
        digests.find(|digest| under && digest.measure.is_some())
    }

    fn gone(&self) -> bool {
        matches!(self.end, End::Gone | End::Replaced)
    }

    /// What stands between a digest and `stable`, whatever was accessed.
    fn ceiling(&self, digest: &Digest) -> Option<Reason> {
        let writers = match digest.writers {
            Writers::None => None,
            Writers::Open => Some(Reason::WriterOpen),
            Writers::Unknown => Some(Reason::NoLease),
        };
        let clock = self.session.clock_set.then_some(Reason::ClockSet);
        let holder = self.session.survivors.then_some(Reason::HolderLeft);
        self.kind.ceiling().or(writers).or(clock).or(holder)
    }

    /// What stands between a reading access and `stable`.
    fn access_ceiling(&self) -> Option<Reason> {
        if self.flags & flag::BUSY != 0 {
            Some(Reason::WriterOpen)
        } else if self.flags & flag::FUTURE != 0 {
            Some(Reason::FutureCtime)
        } else if self.flags & flag::FRESH != 0 && !self.kept_since_its_access() {
            Some(Reason::FreshCtime)
        } else {
            None
        }
    }

    fn no_digest(&self) -> Verdict {
        let reason = match self.end {
            End::Gone => Reason::Gone,
            End::Replaced => Reason::NotFoundAgain,
            End::Unknown => Reason::TimedOut,
            End::Same | End::Other => Reason::Changed,
        };
        absent(self.failure.unwrap_or(reason))
    }

    /// The file that the session made is not there any more.
    fn made_and_gone(&self) -> Verdict {
        if self.session.names_over_limit { absent(Reason::NamesOverLimit) } else { ephemeral(Reason::MadeAndGone) }
    }
}

/// A row that made the file, or only wrote it: what its writers left.
fn left(facts: &Facts) -> Verdict {
    if facts.gone() {
        return if facts.explained_by_its_writers() { facts.made_and_gone() } else { facts.no_digest() };
    }
    let Some(digest) = facts.last else { return facts.no_digest() };
    // Somebody else read it under the same id.
    let reader = if facts.flags & flag::READ == 0 {
        None
    } else {
        facts.access_ceiling().or((facts.end == End::Other).then_some(Reason::Changed))
    };
    let outside = (facts.outside || facts.made && facts.shared_at_birth).then_some(Reason::OutsideWriter);
    digested(digest, reader.or(outside).or(facts.ceiling(digest)), facts.made).at_the_end()
}

/// A row that was read: what was read.
fn read(facts: &Facts) -> Verdict {
    match facts.end {
        End::Same => match facts.last {
            Some(digest) => digested(digest, facts.access_ceiling().or(facts.ceiling(digest)), facts.made).at_the_end(),
            None => facts.no_digest(),
        },
        End::Other => rewritten(facts),
        End::Gone | End::Replaced if facts.explained_by_its_writers() => facts.made_and_gone(),
        End::Gone | End::Replaced => match facts.own {
            Some(digest) => digested(digest, Some(Reason::GoneSince), false),
            None => facts.no_digest(),
        },
        End::Unknown => absent(Reason::TimedOut),
    }
}

/// A row that was read and whose file has another version at the end.
fn rewritten(facts: &Facts) -> Verdict {
    if let Some(digest) = facts.own.filter(|_| facts.silent) {
        // Links, renames and modes moved ctime, not content.
        let verdict = digested(digest, facts.access_ceiling().or(facts.ceiling(digest)), facts.made);
        if verdict.class == Class::Stable || !facts.explained_by_its_writers() {
            return verdict;
        }
    }
    if facts.explained_by_its_writers() {
        return ephemeral(Reason::MadeAndRewritten);
    }
    if facts.flags & flag::READ_WRITE != 0
        && let Some(digest) = facts.last
    {
        return digested(digest, Some(Reason::Modified), false).at_the_end();
    }
    facts.own.map_or(facts.no_digest(), |digest| digested(digest, Some(Reason::Changed), false))
}

impl Verdict {
    fn at_the_end(self) -> Self {
        Self { last: true, ..self }
    }
}

fn digested(digest: &Digest, reason: Option<Reason>, product: bool) -> Verdict {
    let class = if reason.is_some() { Class::Raced } else { Class::Stable };
    Verdict { class, measure: None, reason, sha256: Some(digest.sha256), product, last: false }
}

/// Nothing is asked about it that the kernel does not answer for.
fn measured(digest: &Digest, verdict: &Verdict) -> Verdict {
    let (sha256, measure) = (Some(digest.sha256), digest.measure.clone().map(Measured::Verity));
    Verdict { class: Class::Kernel, measure, reason: None, sha256, product: verdict.product, last: verdict.last }
}

/// What IMA measured at each exec holds if it is what was hashed too, and nobody read the version in another way. It stands for a
/// lease that was not given and for who may hold the file still, and for nothing else: a truncation by name does not end what IMA
/// remembers of a file, nor does a store below an overlay or in a tmpfs, so the version must be one that only one content had.
fn executed(facts: &Facts, verdict: Verdict) -> Verdict {
    let (Some(ima), Some(sha256)) = (facts.ima, verdict.sha256) else { return verdict };
    if *ima != sha256 {
        // Of a file that is sealed IMA may have the measure of fs-verity, which is no digest of the content.
        if facts.flags & flag::UNSEALED == 0 {
            return verdict;
        }
        return Verdict { class: Class::Raced, reason: Some(Reason::MeasuresDiffer), ..verdict };
    }
    let other_accesses = flag::READ_WRITE | flag::WRITE | flag::CREATED | flag::NOT_EXECUTED | flag::UNMEASURED;
    let times_tell_nothing = flag::FRESH | flag::FUTURE | flag::BUSY;
    let one_content = facts.flags & times_tell_nothing == 0
        && matches!(facts.kind, Kind::Tested)
        && !facts.session.clock_set
        && !facts.outside
        && (facts.end == End::Same || facts.silent);
    if facts.flags & other_accesses != 0 || !one_content {
        return verdict;
    }
    Verdict { class: Class::Kernel, measure: Some(Measured::Ima), reason: None, ..verdict }
}

fn ephemeral(reason: Reason) -> Verdict {
    Verdict { class: Class::Ephemeral, measure: None, reason: Some(reason), sha256: None, product: false, last: false }
}

pub(super) fn absent(reason: Reason) -> Verdict {
    Verdict { class: Class::Absent, measure: None, reason: Some(reason), sha256: None, product: false, last: false }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(
                (verdict.class, verdict.reason, verdict.sha256),
                (Class::Kernel, None, Some([1; 32])),
                "{end:?}"
            );
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
        assert_eq!(
            (verdict.class, verdict.reason, verdict.measure),
            (Class::Raced, Some(Reason::MeasuresDiffer), None)
        );
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
}
