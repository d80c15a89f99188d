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
mod tests;
