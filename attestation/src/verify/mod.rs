//! Verification: a list of checks, each of which says what it found and what it does not prove.
//!
//! Signature first, and whose it is; then the statement's shape; then, where the evidence is given, everything is made again from the log:
//! tree, numbers, facts, and the statement itself, byte for byte. Where it is not given, what the signer says is weighed
//! for contradictions, and the verdict says that it is the signer's word. No key, no verification.
//!
//! The agent after signing, the collector, the command line and the tests call the same function.

mod boot;
mod canaries;
mod checks;
mod compare;
mod evidence;
mod identity;
mod inclusion;
mod platform;
mod seals;
mod sequence;
mod signers;
#[cfg(test)]
mod tests;
mod times;

use crate::codes;
use crate::dsse::{self, Envelope, EnvelopeError, PublicKey, Signature};
use crate::escape::{escape, unescape};
use crate::evidence::Limits;
use crate::identity::Identities;
use crate::merkle::Hash;
use crate::receipt::{LogKey, Receipt};
use crate::statement::{self, Claims, Item, ReadError};
use crate::timestamp::Authority;
use crate::trace::Finding;
use crate::x509::UnixSeconds;
use identity::Identified;
use platform::Quoted;
use std::io::{self, Read};
use times::Times;

pub use evidence::{Survey, survey, unsigned};
pub use inclusion::{ProveError, inclusion, prove};
pub use platform::{Platform, Sealed};
pub use seals::seals;
pub use sequence::sequence;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds, by what this verifier computed.
    Proven,
    /// It does not hold.
    Refused,
    /// The statement does not claim it, or nothing here could prove it.
    NotClaimed,
}

impl Outcome {
    /// In a word or two.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Refused => "refused",
            Self::NotClaimed => "not claimed",
        }
    }
}

impl Check {
    /// A refusal by what only the caller can see, such as a file that cannot be read. `says` is escaped.
    #[must_use]
    pub fn refused(name: &'static str, code: &'static str, says: &str) -> Self {
        checks::refused(name, code, escape(says.as_bytes()).into_owned(), "Nothing was looked at.")
    }
}

/// One check. Its texts may quote what the file says; they are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Name of the check.
    pub name: &'static str,
    /// What it found.
    pub outcome: Outcome,
    /// What was found, in a sentence.
    pub says: String,
    /// What that leaves open.
    pub does_not_prove: &'static str,
    /// Why it was refused, or what keeps it from being claimed.
    pub code: Option<&'static str>,
}

/// The evidence: objects by digest.
pub trait Objects {
    /// Opens the object with this SHA-256. What it reads is checked against the digest; the name alone proves nothing.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    fn open(&self, sha256: &Hash) -> io::Result<Box<dyn Read + '_>>;
}

/// Who signed a payload, and when, by something else than the envelope's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// Who: an identity.
    pub signer: String,
    /// The same in words, with who says so; escaped.
    pub says: String,
    /// A time at which the signature existed.
    pub at: UnixSeconds,
}

/// Something that vouches for payloads, such as a bundle of Sigstore's beside an envelope.
pub trait Voucher {
    /// Who signed this payload.
    ///
    /// # Errors
    /// Why nothing says so, escaped.
    fn vouch(&self, payload: &[u8]) -> Result<Vouched, String>;
}

/// How to verify.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Keys to trust. Without any, and without identities and machines, everything is refused.
    pub keys: &'a [PublicKey],
    /// Identities to trust.
    pub identities: Option<&'a Identities>,
    /// Timestamp authorities to trust.
    pub authorities: &'a [Authority],
    /// Logs whose receipts are trusted.
    pub logs: &'a [LogKey],
    /// Receipts of such logs. Those of other envelopes may be among them.
    pub receipts: &'a [Receipt],
    /// The time as of which it is verified: looked at with identities, authorities and logs only.
    pub now: UnixSeconds,
    /// The time that it is. Where it is verified as of an earlier one, an identity whose SVID has expired since needs a witness
    /// of the time all the same: who has its key could have signed today, for whoever verifies as of then.
    pub clock: UnixSeconds,
    /// What vouches for the payload beside its envelope.
    pub voucher: Option<&'a dyn Voucher>,
    /// What is given of the machine.
    pub platform: Platform<'a>,
    /// The evidence, where it is given.
    pub evidence: Option<&'a dyn Objects>,
    /// Whether an incomplete statement is accepted as such.
    pub accept_incomplete: bool,
    /// What of the log a reader is willing to take.
    pub limits: Limits,
}

impl<'a> Options<'a> {
    /// By keys alone.
    #[must_use]
    pub fn by_keys(keys: &'a [PublicKey]) -> Self {
        let (evidence, limits) = (None, Limits::default());
        let (authorities, logs, receipts) = (&[], &[], &[]);
        Self {
            keys,
            identities: None,
            authorities,
            logs,
            receipts,
            now: 0,
            clock: 0,
            voucher: None,
            platform: Platform::default(),
            evidence,
            accept_incomplete: false,
            limits,
        }
    }
}

/// What verification came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The checks in the order in which they were made; it ends where nothing more could be checked.
    pub checks: Vec<Check>,
    /// Whether the statement is complete, recomputed or as signed; false if anything was refused before that was known.
    pub complete: bool,
    /// What ended completeness: recomputed or as signed.
    pub gaps: Vec<Finding>,
    /// Whether everything was recomputed from the evidence.
    pub recomputed: bool,
    /// False where the file was not understood at all.
    pub understood: bool,
    /// The statement's claims, once its signature held and it was understood.
    pub claims: Option<Box<Claims>>,
    /// SHA-256 of the payload, once its signature held.
    pub payload_sha256: Option<Hash>,
    /// Places in the envelope of the signatures that held.
    pub held: Vec<usize>,
    /// Who signed: ids of the keys whose signatures held, and SPIFFE IDs that were proven.
    pub signers: Vec<String>,
    /// What its machine's quote says of all seals of that boot, once it held.
    pub sealed: Option<Box<Sealed>>,
}

impl Verdict {
    /// 0: accepted. 1: refused. 2: not understood.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (self.understood, self.refused()) {
            (false, _) => 2,
            (true, true) => 1,
            (true, false) => 0,
        }
    }

    /// Whether any check was refused.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.checks.is_empty() || self.checks.iter().any(|check| check.outcome == Outcome::Refused)
    }

    fn new() -> Self {
        Self {
            checks: Vec::new(),
            complete: false,
            gaps: Vec::new(),
            recomputed: false,
            understood: true,
            claims: None,
            payload_sha256: None,
            held: Vec::new(),
            signers: Vec::new(),
            sealed: None,
        }
    }

    /// The verdict over a file that the caller could not even read.
    #[must_use]
    pub fn unreadable(check: Check) -> Self {
        Self::new().not_understood(check)
    }

    fn not_understood(mut self, check: Check) -> Self {
        self.understood = false;
        self.checks.push(check);
        self
    }

    fn refuse(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }
}

/// Verifies an envelope. Any bytes give a verdict.
#[must_use]
pub fn verify(envelope: impl Read, options: &Options<'_>) -> Verdict {
    let verdict = Verdict::new();
    let machines = options.platform.machines;
    if options.keys.is_empty() && options.identities.is_none() && machines.is_empty() && options.voucher.is_none() {
        return verdict.refuse(checks::no_anchor());
    }
    match dsse::read(envelope) {
        Ok(envelope) => verify_envelope(envelope, options),
        Err(error) => verdict.not_understood(checks::not_an_envelope(&error)),
    }
}

fn verify_envelope(envelope: Envelope, options: &Options<'_>) -> Verdict {
    let mut verdict = Verdict::new();
    let signatures = envelope.signatures().len();
    let certified: Vec<bool> = envelope.signatures().iter().map(Signature::is_certified).collect();
    let times = Times::read(&envelope, options);
    let identified = options.identities.map(|identities| Identified::read(&envelope, identities, &times, options));
    let own = |place: usize| identified.as_ref().and_then(|identified| identified.key(place));
    let quoted = Quoted::read(&options.platform);
    // Who gave a key or an identity wants that one to have signed, and the machine besides.
    let alone = options.keys.is_empty() && options.identities.is_none() && options.voucher.is_none();
    let certified_key = quoted.certified_key().filter(|_| alone);
    let trusted: Vec<PublicKey> = options.keys.iter().cloned().chain(certified_key).collect();
    let in_time = |vouched: Vouched| {
        let late = "its time is later than that as of which it is verified";
        if vouched.at <= options.now.saturating_add(times::SKEW_S) { Ok(vouched) } else { Err(late.to_owned()) }
    };
    let vouched = options.voucher.map(|voucher| voucher.vouch(envelope.unverified()).and_then(in_time));
    let by_voucher = vouched.as_ref().is_some_and(Result::is_ok);
    let verified = match envelope.verify_each(&trusted, own, by_voucher) {
        Ok(verified) => verified,
        Err(error @ EnvelopeError::PayloadType) => return verdict.not_understood(checks::payload_type(&error)),
        Err(error) => {
            verdict.checks.push(checks::untrusted(&error));
            verdict.checks.extend(identified.iter().map(|identified| identified.check(&[])));
            verdict.checks.extend(vouched.as_ref().map(identity::vouched));
            return verdict;
        }
    };
    verdict.payload_sha256 = Some(verified.payload_sha256);
    verdict.held = verified.held.iter().map(|(place, _)| *place).collect();
    verdict.held.dedup();
    verdict.checks.push(checks::signature(&verified));
    verdict.checks.extend(vouched.as_ref().map(identity::vouched));
    let vouched = vouched.and_then(Result::ok);
    verdict.signers.extend(vouched.iter().map(|vouched| vouched.signer.clone()));
    if let Some(identified) = &identified {
        verdict.checks.push(identified.check(&verified.held));
        verdict.signers.extend(identified.proven(&verified.held));
    }
    let keys =
        |(place, keyid): &(usize, String)| trusted.iter().chain(own(*place)).find(|key| key.keyid() == keyid).cloned();
    let keys: Vec<PublicKey> = verified.held.iter().filter_map(keys).collect();
    verdict.signers.extend(verified.keyids);
    match statement::read(&verified.payload) {
        Ok(claims) => {
            let by_identity = |place, keyid: &str| own(place).is_some_and(|key| key.keyid() == keyid);
            verdict.checks.push(times.check(&verified.held, by_identity, vouched.as_ref(), &claims));
            // Without identities to trust, a signature with a certificate may be by whomever that names.
            let may_be = |(place, _): &&(usize, String)| certified.get(*place) == Some(&true);
            let unproven = identified.is_none().then(|| verified.held.iter().filter(may_be).count());
            let signed = signers::check(&claims.meta, signatures, &verified.held, unproven, &verdict.signers);
            verdict.checks.extend(signed);
            verify_statement(verdict, &verified.payload, claims, (&quoted, &keys), options)
        }
        Err(error @ ReadError::Version(_)) => verdict.not_understood(checks::version(&error)),
        Err(error) => verdict.not_understood(checks::no_statement(&error)),
    }
}

fn verify_statement(
    mut verdict: Verdict,
    payload: &[u8],
    claims: Claims,
    (quoted, keys): (&Quoted<'_>, &[PublicKey]),
    options: &Options<'_>,
) -> Verdict {
    let mut heads = quoted.heads();
    verdict.checks.push(checks::statement(&claims));
    verdict.gaps = gaps_of(&claims);
    verdict.complete = claims.complete;
    match options.evidence {
        Some(objects) => {
            let trace = evidence::log(objects, &claims, options.limits, &mut heads, &mut verdict.checks);
            trace.iter().for_each(|trace| heads.whole(trace));
            if trace.is_some() && gave_up(&claims.gaps) {
                verdict.checks.extend(checks::too_large(&claims));
            } else if let Some(trace) = trace {
                verdict.gaps = trace.incompleteness().cloned().collect();
                verdict.complete = trace.complete();
                verdict.recomputed = true;
                verdict.checks.push(checks::lossless_recomputed(&claims, &trace));
                verdict.checks.push(compare::trace(payload, &claims, &trace));
            }
        }
        None => verdict.checks.extend(checks::without_evidence(&claims)),
    }
    let (platform, sealed) = quoted.checks(&verdict, &claims, keys, &heads);
    verdict.checks.extend(platform);
    verdict.sealed = sealed;
    verdict.checks.push(checks::coverage(&claims, verdict.recomputed));
    verdict.checks.push(canaries::check(&claims, verdict.recomputed));
    verdict.checks.push(checks::blind_spots(&claims, verdict.recomputed));
    verdict.checks.push(checks::digest_classes(&claims, verdict.recomputed));
    verdict.checks.push(checks::completeness(&claims, &verdict, options.accept_incomplete));
    verdict.claims = Some(Box::new(claims));
    verdict
}

/// Whether a statement says that its fold gave up facts. Which, depends on its limit: nothing can be made again.
fn gave_up(gaps: &[Item]) -> bool {
    gaps.iter().any(|gap| gap.code == codes::TRACE_TOO_LARGE)
}

/// What ended completeness, as signed.
fn gaps_of(claims: &Claims) -> Vec<Finding> {
    let ends = claims.gaps.iter().chain(&claims.blind_spots).filter(|item| item.ends_completeness);
    let plain = |text: &str| unescape(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let finding = |item: &Item| Finding {
        code: item.code.clone(),
        detail: plain(&item.detail).unwrap_or_else(|_| item.detail.clone()),
        count: item.count,
        ends_completeness: true,
    };
    ends.map(finding).collect()
}

/// A code that stands in the list, for a check that quotes the file.
fn known_code(code: &str) -> &'static str {
    codes::find(code).map_or(codes::UNKNOWN_CODE, |code| code.name)
}
