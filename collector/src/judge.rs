//! What is made of a submission: verified by the functions that `testimony verify` has, and turned into what is kept, or refused.

use std::sync::{Arc, PoisonError, RwLock};

use attestation::{
    codes, dsse,
    platform::Machine,
    receipt::Entry,
    verify::{Outcome, Verdict},
};
use collector_api::{Lasting, Submission};
use sha2::{Digest as _, Sha256};
use testimony_verify::{
    describe,
    trust::{Sent, Trust},
};

use crate::{clock, store::Statement, trusted::Trusted};

/// Bytes of a refusal's reason at most.
const SAYS_BYTES_MAX: usize = 1024;

/// Why a statement is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A code of `testimony explain`.
    pub(crate) code: String,
    /// In a sentence, escaped.
    pub(crate) says: String,
    pub(crate) lasting: Lasting,
}

/// Who is trusted: what the configuration names, and machines as they are enrolled.
pub(crate) struct Judge {
    trusted: Arc<Trusted>,
    machines: RwLock<Arc<[Machine]>>,
}

impl Judge {
    pub(crate) fn new(trusted: Arc<Trusted>, machines: Vec<Machine>) -> Self {
        Self { trusted, machines: RwLock::new(machines.into()) }
    }

    /// From now on this machine is known.
    pub(crate) fn enrolled(&self, machine: Machine) {
        let mut machines = self.machines.write().unwrap_or_else(PoisonError::into_inner);
        // In place of what was known of its key.
        let others = machines.iter().filter(|known| known.key().name() != machine.key().name()).cloned();
        *machines = others.chain([machine.clone()]).collect();
    }

    /// Without what nobody looks at here: else the same statement could be sent again and again, with something else beside it.
    fn looked_at(trust: &Trust, mut submission: Submission) -> Submission {
        if submission.quote.is_empty() {
            submission.firmware_log.clear();
            submission.ima_list.clear();
        }
        if !trust.takes_bundles() {
            submission.bundle.clear();
        }
        submission
    }

    /// Verifies. What it costs is bounded by the submission's size.
    pub(crate) fn judge(&self, submission: Submission, peer: &str) -> Result<Statement, Refusal> {
        let now = clock::now();
        let (trust, quotes_required) = (self.trusted.now(), self.trusted.quotes_required());
        let submission = Self::looked_at(&trust, submission);
        let sha256 = digest(&submission);
        let Submission { number: _, envelope, quote, bundle, firmware_log, ima_list } = submission;
        let some = |bytes: Vec<u8>| Some(bytes).filter(|bytes| !bytes.is_empty());
        let sent = Sent { envelope, beside: [some(quote), some(firmware_log), some(ima_list)], bundle: some(bundle) };
        // A quote is held against the machines; where none came, that is a refusal only if it has to be.
        let wanted = sent.beside[0].is_some() || quotes_required;
        let machines = Arc::clone(&self.machines.read().unwrap_or_else(PoisonError::into_inner));
        let machines: &[Machine] = if wanted { &machines } else { &[] };
        let verdict = trust.verify_sent(&sent, machines, now);
        let no_machine = quotes_required && machines.is_empty();
        if let Some(refusal) = refusal(&verdict, sent.beside[0].is_some(), no_machine) {
            return Err(refusal);
        }
        let (Some(payload_sha256), Some(claims)) = (verdict.payload_sha256, &verdict.claims) else {
            return Err(Refusal::new(codes::NO_STATEMENT, "nothing was claimed", true));
        };
        let malformed = |error: dsse::EnvelopeError| Refusal::new(codes::UNREADABLE_FILE, &error.to_string(), true);
        let entry = Entry::of(&dsse::read(sent.envelope.as_slice()).map_err(malformed)?);
        // Only who signed it places it in a chain: else one node could make up another's gaps.
        let named = verdict.signers.contains(&claims.meta.signer);
        let signer = if named { Some(&claims.meta.signer) } else { verdict.signers.first() };
        let signer = signer.cloned().unwrap_or_default();
        let number = claims.meta.number.filter(|number| named && i64::try_from(*number).is_ok());
        let [host, boot] = claims.host_and_boot.clone();
        let [quote, firmware_log, ima_list] = sent.beside.map(Option::unwrap_or_default);
        Ok(Statement {
            sha256,
            payload_sha256,
            envelope: sent.envelope,
            quote,
            bundle: sent.bundle.unwrap_or_default(),
            firmware_log,
            ima_list,
            entry: entry.to_bytes(),
            received_s: now,
            peer: peer.to_owned(),
            signer,
            host,
            boot,
            number,
            previous: claims.meta.previous,
            complete: verdict.complete,
            verdict: describe(&verdict),
        })
    }
}

/// SHA-256 of all that was sent, each part with its length before it, so that nothing of one can pass for another's.
fn digest(submission: &Submission) -> [u8; 32] {
    let Submission { number: _, envelope, quote, bundle, firmware_log, ima_list } = submission;
    let parts = [envelope, quote, bundle, firmware_log, ima_list];
    let add = |sha256: Sha256, part: &Vec<u8>| {
        sha256.chain_update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes()).chain_update(part)
    };
    parts.into_iter().fold(Sha256::new(), add).finalize().into()
}

impl Refusal {
    /// What it says is cut: it may quote the statement, and goes to node and journal.
    fn new(code: &str, says: &str, quoted: bool) -> Self {
        let says = says[..says.floor_char_boundary(SAYS_BYTES_MAX)].to_owned();
        let lasting = if is_final(code, quoted) { Lasting::Final } else { Lasting::ForNow };
        Self { code: code.to_owned(), says, lasting }
    }
}

/// Whether it is the statement itself that is wrong, by what it says and what came with it. All else rests on what is trusted and known
/// here, which may change: keys and authorities, policies, machines, clocks, the versions and codes that this program knows.
fn is_final(code: &str, quoted: bool) -> bool {
    match code {
        codes::ENVELOPE_MALFORMED
        | codes::PAYLOAD_TYPE
        | codes::STATEMENT_MALFORMED
        | codes::UNREADABLE_FILE
        | codes::NO_STATEMENT
        | codes::CLOCK_CONTRADICTED => true,
        // No quote comes to be beside what was sent without one.
        codes::QUOTE_MISSING => !quoted,
        _ => false,
    }
}

/// The first reason not to take it. That it is incomplete is none: that stands in what is signed.
fn refusal(verdict: &Verdict, quoted: bool, no_machine: bool) -> Option<Refusal> {
    let refused = verdict.checks.iter().find(|check| check.outcome == Outcome::Refused);
    // Where no signature counts because of who made it, that is what helps.
    let why = verdict.checks.iter().find(|check| check.name == "identity" && check.code.is_some());
    let refused =
        refused.map(|refused| why.filter(|_| refused.code == Some(codes::SIGNATURE_INVALID)).unwrap_or(refused));
    let refused = refused.map(|check| {
        let code = check.code.unwrap_or(codes::VERSION_UNKNOWN);
        Refusal::new(code, &format!("{}: {}", check.name, check.says), quoted)
    });
    refused
        .or_else(|| no_machine.then(|| Refusal::new(codes::QUOTE_MISSING, "platform: no machine is enrolled", quoted)))
}
