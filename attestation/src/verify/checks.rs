//! The checks that need no evidence: pure functions from what was read to a [`Check`].

use super::{Check, Outcome, Verdict, known_code};
use crate::codes::{self, Code, Kind};
use crate::dsse::{EnvelopeError, Verified};
use crate::escape::escape;
use crate::hex;
use crate::statement::{Claims, HookClaim, Item, ReadError};
use crate::trace::{NAME_OBSERVATIONS, REQUIRED_OBSERVATIONS, Trace};
use std::error::Error;
use std::fmt::Write as _;

const SIGNATURE: &str = "signature";
const STATEMENT: &str = "statement";
const SIGNER_WORD: &str = "This is the signer's word: without the evidence nothing was recomputed.";

pub(super) fn refused(name: &'static str, code: &'static str, says: String, does_not_prove: &'static str) -> Check {
    Check { name, outcome: Outcome::Refused, says, does_not_prove, code: Some(code) }
}

pub(super) fn proven(name: &'static str, says: String, does_not_prove: &'static str) -> Check {
    Check { name, outcome: Outcome::Proven, says, does_not_prove, code: None }
}

pub(super) fn not_claimed(
    name: &'static str,
    code: Option<&'static str>,
    says: String,
    does_not_prove: &'static str,
) -> Check {
    Check { name, outcome: Outcome::NotClaimed, says, does_not_prove, code }
}

/// An error with its sources, escaped.
pub(super) fn chain(error: &dyn Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(source) = next {
        let _ = write!(text, ": {source}");
        next = source.source();
    }
    escape(text.as_bytes()).into_owned()
}

pub(super) fn no_anchor() -> Check {
    refused(SIGNATURE, codes::NO_ANCHOR, "no key to trust was given".into(), "Nothing was looked at.")
}

pub(super) fn not_an_envelope(error: &EnvelopeError) -> Check {
    refused(SIGNATURE, codes::ENVELOPE_MALFORMED, chain(error), "Nothing was verified.")
}

pub(super) fn untrusted(error: &EnvelopeError) -> Check {
    refused(SIGNATURE, codes::SIGNATURE_INVALID, chain(error), "Nothing of the payload was looked at.")
}

pub(super) fn payload_type(error: &EnvelopeError) -> Check {
    refused(SIGNATURE, codes::PAYLOAD_TYPE, chain(error), "A trusted key signed it, for something else.")
}

/// A signature by a trusted key over the payload.
pub(super) fn signature(verified: &Verified) -> Check {
    let payload = hex::encode(&verified.payload_sha256);
    if verified.keyids.is_empty() {
        let says = format!("no key that was given signed payload {payload}: a bundle vouches for it");
        return not_claimed(SIGNATURE, None, says, "Who signed the envelope.");
    }
    let says = format!("key {} signed payload {payload}", verified.keyids.join(", "));
    proven(SIGNATURE, says, "That what was signed is true, who holds the key, or when it was signed.")
}

pub(super) fn version(error: &ReadError) -> Check {
    refused(STATEMENT, codes::VERSION_UNKNOWN, chain(error), "Nothing but the signature was checked.")
}

pub(super) fn no_statement(error: &ReadError) -> Check {
    refused(STATEMENT, codes::STATEMENT_MALFORMED, chain(error), "Nothing but the signature was checked.")
}

/// The statement's shape, which reading established.
pub(super) fn statement(claims: &Claims) -> Check {
    let [processes, contacts] = claims.listed;
    let files: u64 = claims.counted_classes.iter().fold(0, |sum, count| sum.saturating_add(*count));
    let says = format!(
        "runtime-trace v0.1 of session {}: {processes} programs, {files} files, {contacts} contacts, {} subjects",
        hex::encode(&claims.log.session_id),
        claims.subjects.len()
    );
    proven(STATEMENT, says, "That its lists are whole: the checks below say what is known of that.")
}

/// Losslessness by the log's own numbers.
pub(super) fn lossless_recomputed(claims: &Claims, trace: &Trace) -> Check {
    const NAME: &str = "losslessness";
    const OPEN: &str = "That the kernel's counters were right, and that no hook was muted.";
    if claims.lossless != trace.lossless() || claims.hooks.len() != trace.coverage().len() {
        let says = format!("the statement says lossless: {}, its log {}", claims.lossless, trace.lossless());
        return refused(NAME, codes::NUMBERS_DIFFER, says, OPEN);
    }
    for (claim, row) in claims.hooks.iter().zip(trace.coverage()) {
        let log = [row.attempted, row.delivered, row.coalesced, row.lost, row.truncated];
        if claim.hook != row.hook.id || numbers(claim) != log || claim.misses != row.misses {
            let says = format!("the numbers of hook {} are not those of the log", claim.hook);
            return refused(NAME, codes::NUMBERS_DIFFER, says, OPEN);
        }
    }
    if trace.lossless() {
        proven(NAME, format!("recomputed: {}", sums(claims)), OPEN)
    } else {
        not_claimed(NAME, first_loss(&claims.gaps), format!("recomputed, and not lossless: {}", sums(claims)), OPEN)
    }
}

fn numbers(claim: &HookClaim) -> [u64; 5] {
    [claim.attempted, claim.delivered, claim.coalesced, claim.lost, claim.truncated]
}

fn sums(claims: &Claims) -> String {
    let sum = |field: fn(&HookClaim) -> u64| claims.hooks.iter().map(|hook| u128::from(field(hook))).sum::<u128>();
    format!(
        "{} attempted = {} delivered + {} coalesced + {} lost, {} truncated",
        sum(|hook| hook.attempted),
        sum(|hook| hook.delivered),
        sum(|hook| hook.coalesced),
        sum(|hook| hook.lost),
        sum(|hook| hook.truncated)
    )
}

fn first_loss(gaps: &[Item]) -> Option<&'static str> {
    let known = gaps.iter().filter_map(|gap| codes::find(&gap.code));
    known.filter(|code| code.kind == Kind::Loss).map(|code| code.name).next()
}

/// What a statement without its evidence says of itself: weighed for contradictions, and not proven.
pub(super) fn without_evidence(claims: &Claims) -> Vec<Check> {
    let not_given = |name, says: &str| not_claimed(name, None, says.to_owned(), SIGNER_WORD);
    let head = format!("as signed: {} frames in {} segments", claims.log.tree_size, claims.log.segments.len());
    vec![
        not_given("log", &head),
        lossless_as_signed(claims),
        not_given("trace", "as signed: the facts were not made again from the log"),
    ]
}

/// A statement whose fold gave up facts, with its evidence: the log is proven, and nothing that follows from it.
pub(super) fn too_large(claims: &Claims) -> [Check; 2] {
    let says = "as signed: the session was beyond a limit, its facts cannot be made again from the log".to_owned();
    [lossless_as_signed(claims), not_claimed("trace", Some(codes::TRACE_TOO_LARGE), says, SIGNER_WORD)]
}

fn lossless_as_signed(claims: &Claims) -> Check {
    const NAME: &str = "losslessness";
    let adds_up = |hook: &HookClaim| {
        let sum = u128::from(hook.delivered) + u128::from(hook.coalesced) + u128::from(hook.lost);
        u128::from(hook.attempted) == sum && hook.lost == 0 && hook.truncated == 0 && hook.misses == Some(0)
    };
    let contradicted = claims.hooks.iter().find(|hook| !adds_up(hook));
    match (claims.lossless, contradicted, first_loss(&claims.gaps)) {
        (true, Some(hook), _) => {
            let says = format!("called lossless, but the numbers of hook {} do not add up", hook.hook);
            refused(NAME, codes::CLAIM_CONTRADICTED, says, SIGNER_WORD)
        }
        (true, None, Some(code)) => {
            let says = format!("called lossless, but {code} stands among the gaps");
            refused(NAME, codes::CLAIM_CONTRADICTED, says, SIGNER_WORD)
        }
        (true, None, None) => not_claimed(NAME, None, format!("as signed: {}", sums(claims)), SIGNER_WORD),
        (false, _, code) => not_claimed(NAME, code, format!("as signed, not lossless: {}", sums(claims)), SIGNER_WORD),
    }
}

/// The hooks: every needed observation is there, at a level that its claims can rest on.
pub(super) fn coverage(claims: &Claims, recomputed: bool) -> Check {
    const NAME: &str = "coverage";
    const OPEN: &str =
        "That the programs named were the ones that ran, and what the platform says: agent and host report themselves.";
    let hooks = claims.hooks.iter().filter(|hook| !observes_names(hook));
    let lowest = hooks.map(|hook| rank(&hook.level)).min().flatten();
    if rank(&claims.coverage_level) != lowest {
        let says = format!("called {}, which the hooks are not", escape(claims.coverage_level.as_bytes()));
        return refused(NAME, codes::CLAIM_CONTRADICTED, says, OPEN);
    }
    match (weak_hook(claims), missing_observation(claims)) {
        (Some(hook), _) => {
            let says =
                format!("hook {} observes {} at too low a level", hook.hook, escape(hook.observation.as_bytes()));
            not_claimed(NAME, Some(codes::WEAK_HOOK), says, OPEN)
        }
        (None, Some(name)) => {
            not_claimed(NAME, Some(codes::MISSING_OBSERVATION), format!("nothing observes {name}"), OPEN)
        }
        (None, None) => {
            let says = format!("{} hooks, level {}", claims.hooks.len(), escape(claims.coverage_level.as_bytes()));
            by_evidence(NAME, says, OPEN, recomputed)
        }
    }
}

fn observes_names(hook: &HookClaim) -> bool {
    NAME_OBSERVATIONS.contains(&hook.observation.as_str())
}

/// Place of a level; none where nothing can rest on it.
fn rank(level: &str) -> Option<usize> {
    ["user-argument", "returned-object", "object"].iter().position(|known| *known == level)
}

fn weak_hook(claims: &Claims) -> Option<&HookClaim> {
    claims.hooks.iter().find(|hook| match rank(&hook.level) {
        None => true,
        Some(0) => !observes_names(hook),
        Some(_) => false,
    })
}

fn missing_observation(claims: &Claims) -> Option<&'static str> {
    let observed = |name: &&&str| claims.hooks.iter().any(|hook| hook.observation == ***name);
    REQUIRED_OBSERVATIONS.iter().find(|name| !observed(name)).copied()
}

/// Proven where it was recomputed, else the signer's word.
pub(super) fn by_evidence(name: &'static str, says: String, open: &'static str, recomputed: bool) -> Check {
    if recomputed {
        proven(name, says, open)
    } else {
        not_claimed(name, None, format!("as signed: {says}"), SIGNER_WORD)
    }
}

/// What the agent saw and could not follow.
pub(super) fn blind_spots(claims: &Claims, recomputed: bool) -> Check {
    const NAME: &str = "blind spots";
    const OPEN: &str = "That nothing else escaped: docs/threats.md lists what can.";
    let understated =
        |item: &&Item| !item.ends_completeness && codes::find(&item.code).is_none_or(Code::ends_completeness);
    if let Some(spot) = claims.blind_spots.iter().find(understated) {
        let says = format!("{} ends completeness, and is said not to", escape(spot.code.as_bytes()));
        return refused(NAME, codes::CLAIM_CONTRADICTED, says, OPEN);
    }
    let listed = |item: &&Item| item.ends_completeness;
    let ends = claims.blind_spots.iter().filter(listed).count();
    match claims.blind_spots.iter().find(listed) {
        Some(first) => {
            let says = format!("{ends} ended completeness, {} first", escape(first.code.as_bytes()));
            not_claimed(NAME, Some(known_code(&first.code)), says, OPEN)
        }
        None => by_evidence(
            NAME,
            format!("none that ends completeness, {} noted", claims.blind_spots.len()),
            OPEN,
            recomputed,
        ),
    }
}

/// The counts by class are those of the list.
pub(super) fn digest_classes(claims: &Claims, recomputed: bool) -> Check {
    const NAME: &str = "digest classes";
    const OPEN: &str = "The digests themselves: the log has what the agent hashed, not the files.";
    let [kernel, stable, ephemeral, raced, absent] = claims.counted_classes;
    let says = format!("{kernel} kernel, {stable} stable, {ephemeral} ephemeral, {raced} raced, {absent} absent");
    if claims.digest_classes == claims.counted_classes {
        return by_evidence(NAME, says, OPEN, recomputed);
    }
    refused(NAME, codes::CLAIM_CONTRADICTED, format!("the list has {says}, the summary says otherwise"), OPEN)
}

/// Whether the whole is complete, and whether that is demanded.
pub(super) fn completeness(claims: &Claims, verdict: &Verdict, accept_incomplete: bool) -> Check {
    const NAME: &str = "completeness";
    const OPEN: &str = "More than the checks above.";
    let gaps = verdict.gaps.len();
    let hooks_hold = weak_hook(claims).is_none() && missing_observation(claims).is_none();
    if claims.complete != (claims.lossless && gaps == 0 && claims.survivors == 0 && hooks_hold) {
        let says = format!("called complete: {}, against {gaps} gaps", claims.complete);
        return refused(NAME, codes::CLAIM_CONTRADICTED, says, OPEN);
    }
    let basis = if verdict.recomputed { "recomputed" } else { "as signed" };
    match (claims.complete && verdict.complete, accept_incomplete) {
        (true, _) => by_evidence(NAME, "nothing ended completeness".into(), OPEN, verdict.recomputed),
        (false, true) => {
            let says = format!("{basis}: incomplete, {gaps} gaps; accepted as such");
            not_claimed(NAME, Some(codes::INCOMPLETE), says, OPEN)
        }
        (false, false) => refused(NAME, codes::INCOMPLETE, format!("{basis}: incomplete, {gaps} gaps"), OPEN),
    }
}
