//! From the shape of a statement to what it claims.

use super::{BlindSpot, Canaries, Gap, Hook, Log, Predicate, Session, Subject, Wire};
use crate::evidence::{LogHead, SegmentSummary};
use crate::hex;
use crate::json::{Bounded, Object};
use crate::statement::Meta;
use crate::statement::read::{CanaryClaim, Claims, HookClaim, Item, ReadError};
use crate::statement::rules::{SessionId, Text};
use crate::time;

impl Wire<'_> {
    pub(in crate::statement) fn claims(self) -> Result<Claims, ReadError> {
        let Predicate { testimony: Object(testimony), monitor_log: Object(listed), metadata, .. } = self.predicate.0;
        let Object(metadata) = metadata;
        let classes = testimony.digest_classes.0;
        if self.subject.0.is_empty() {
            return Err(ReadError::Subjects);
        }
        let subject =
            |Object(subject): Object<Subject<'_>>| (subject.name.into_string(), subject.digest.0.sha256.into_string());
        Ok(Claims {
            subjects: self.subject.0.into_iter().map(subject).collect(),
            complete: testimony.complete,
            lossless: testimony.lossless,
            coverage_level: testimony.coverage_level.into_string(),
            gaps: testimony.gaps.0.into_iter().map(|gap| gap.0.item()).collect(),
            blind_spots: testimony.blind_spots.0.into_iter().map(|spot| spot.0.item()).collect(),
            survivors: testimony.survivors.count(),
            hooks: testimony.coverage.0.into_iter().map(|hook| hook.0.claim()).collect(),
            log: testimony.log.0.head(&testimony.session.0.id)?,
            digest_classes: [classes.kernel, classes.stable, classes.ephemeral, classes.raced, classes.absent],
            counted_classes: listed.file_access.0,
            listed: [listed.process.count(), listed.network.count()],
            ended: metadata.build_finished_on.and_then(|text| time::seconds(text.as_str())),
            host_and_boot: [&testimony.session.0.host_id, &testimony.session.0.boot_id]
                .map(|id| id.as_str().to_owned()),
            meta: testimony.session.0.meta(),
        })
    }
}

impl Gap<'_> {
    fn item(self) -> Item {
        let detail = self.detail.map(Text::into_string).unwrap_or_default();
        Item { code: self.code.into_string(), detail, count: self.count.get(), ends_completeness: true }
    }
}

impl BlindSpot<'_> {
    fn item(self) -> Item {
        let detail = self.detail.map(Text::into_string).unwrap_or_default();
        let ends_completeness = self.ends_completeness;
        Item { code: self.code.into_string(), detail, count: self.count.get(), ends_completeness }
    }
}

impl Hook<'_> {
    fn claim(self) -> HookClaim {
        HookClaim {
            hook: self.hook,
            observation: self.observation.into_string(),
            method: self.method.into_string(),
            level: self.level.into_string(),
            attempted: self.attempted,
            delivered: self.delivered,
            coalesced: self.coalesced,
            lost: self.lost,
            truncated: self.truncated,
            misses: self.misses,
            canaries: self.canaries.map(|Object(canaries)| canaries.claim()),
        }
    }
}

impl Canaries<'_> {
    fn claim(self) -> CanaryClaim {
        let longest_ns = self.longest_ns.as_str().parse().unwrap_or(u64::MAX);
        CanaryClaim { seen: self.seen, silent: self.silent, longest_ns }
    }
}

impl Session<'_> {
    fn meta(self) -> Meta {
        let previous = self.previous.and_then(|text| hex::decode_sha256(text.as_str()));
        let co_signers = self.co_signers.map_or_else(Vec::new, |Bounded(names)| names);
        Meta {
            signer: self.signer.into_string(),
            co_signers: co_signers.into_iter().map(Text::into_string).collect(),
            instead_of: self.instead_of.map(Text::into_string),
            number: self.number,
            previous,
        }
    }
}

impl Log<'_> {
    fn head(self, session_id: &Text<'_, SessionId>) -> Result<LogHead, ReadError> {
        let id = hex::decode(session_id.as_str()).and_then(|id| id.try_into().ok());
        if self.segments.0.is_empty() {
            return Err(ReadError::Value("the list of segments"));
        }
        let root = hex::decode_sha256(self.root_sha256.as_str()).ok_or(ReadError::Value("the log's root"))?;
        let mut segments = Vec::with_capacity(self.segments.0.len());
        for (expected, Object(segment)) in (0..).zip(self.segments.0) {
            let sha256 = hex::decode_sha256(segment.sha256.as_str()).filter(|_| segment.sequence == expected);
            let sha256 = sha256.ok_or(ReadError::Value("the order of the segments"))?;
            let (frames, bytes) = (segment.frames.get(), segment.bytes.get());
            segments.push(SegmentSummary { sequence: expected, sha256, frames, bytes });
        }
        let session_id = id.ok_or(ReadError::Value("the session's id"))?;
        Ok(LogHead { session_id, tree_size: self.tree_size, root, segments })
    }
}
