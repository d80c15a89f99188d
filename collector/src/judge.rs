//! What is made of a submission: verified by the functions that `testimony verify` has, and turned into what is kept, or refused.

use std::sync::{Arc, PoisonError, RwLock};

use attestation::{
    codes, dsse,
    merkle::Hash,
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

use crate::{
    clock,
    store::{Proven, Statement},
    trusted::Trusted,
};

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

/// A statement to keep, or why it is not.
pub(crate) type Judged = Result<Statement, Refusal>;

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

    /// What is trusted now, and what of a submission is looked at by that.
    pub(crate) fn begin(&self, submission: Submission) -> (Arc<Trust>, Submission) {
        let trust = self.trusted.now();
        let submission = Self::looked_at(&trust, submission);
        (trust, submission)
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
    pub(crate) fn judge(&self, trust: &Trust, submission: Submission, sha256: Hash, peer: &str) -> Judged {
        let (now, quotes_required) = (clock::now(), self.trusted.quotes_required());
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
        // Of what was verified: whatever else stands in the envelope makes no other statement of it.
        let envelope = dsse::read(sent.envelope.as_slice()).map_err(malformed)?;
        let entry = Entry::of_places(&envelope, &verdict.held);
        // Only who signed it places it in a chain: else one node could make up another's gaps.
        let named = verdict.signers.contains(&claims.meta.signer);
        let signer = if named { Some(&claims.meta.signer) } else { verdict.signers.first() };
        let signer = signer.cloned().unwrap_or_default();
        let number = claims.meta.number.filter(|number| named && i64::try_from(*number).is_ok());
        let [host, boot] = claims.host_and_boot.clone();
        let [quote, firmware_log, ima_list] = sent.beside.map(Option::unwrap_or_default);
        let proven = Proven { quote: verdict.sealed.is_some(), bundle: trust.takes_bundles() && sent.bundle.is_some() };
        Ok(Statement {
            sha256,
            proven,
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

    /// SHA-256 of all that is looked at, each part with its length before it, so that nothing of one can pass for another's.
    pub(crate) fn digest(submission: &Submission) -> Hash {
        let Submission { number: _, envelope, quote, bundle, firmware_log, ima_list } = submission;
        let parts = [envelope, quote, bundle, firmware_log, ima_list];
        let add = |sha256: Sha256, part: &Vec<u8>| {
            sha256.chain_update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes()).chain_update(part)
        };
        parts.into_iter().fold(Sha256::new(), add).finalize().into()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_could_change_is_final() {
        for code in [codes::ENVELOPE_MALFORMED, codes::PAYLOAD_TYPE, codes::STATEMENT_MALFORMED] {
            assert!(is_final(code, true) && is_final(code, false), "{code}");
        }
        for code in [
            codes::SIGNATURE_INVALID,
            codes::SIGNATURE_MISSING,
            codes::IDENTITY_REFUSED,
            codes::SVID_EXPIRED,
            codes::QUOTE_REFUSED,
            codes::BOOT_REFUSED,
            codes::TIMESTAMP_REFUSED,
            codes::VERSION_UNKNOWN,
        ] {
            assert!(!is_final(code, true) && !is_final(code, false), "{code}");
        }
        // A quote that came may be held against a machine that is enrolled later; one that did not come never comes.
        assert!(is_final(codes::QUOTE_MISSING, false) && !is_final(codes::QUOTE_MISSING, true));
    }

    #[test]
    fn what_a_refusal_says_has_a_limit() {
        let refusal = Refusal::new(codes::SIGNATURE_INVALID, &"\u{e9}".repeat(SAYS_BYTES_MAX), true);
        assert_eq!((refusal.says.len(), refusal.lasting), (SAYS_BYTES_MAX, Lasting::ForNow));
        let odd = format!("x{}", "\u{e9}".repeat(SAYS_BYTES_MAX));
        assert_eq!(Refusal::new(codes::SIGNATURE_INVALID, &odd, true).says.len(), SAYS_BYTES_MAX - 1);
    }
}
