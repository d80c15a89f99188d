//! The check `identity`: which workloads signed, by the word of their trust domains.

use super::checks::{not_claimed, proven, refused};
use super::times::{Existed, Times};
use super::{Check, Options, Vouched, checks};
use crate::codes;
use crate::dsse::{Certificates, Envelope, PublicKey, Signature};
use crate::escape::escape;
use crate::identity::{Chain, ChainError, Identities, Refused, SpiffeId, Svid, UnixSeconds};
use crate::time;

const NAME: &str = "identity";
const OPEN: &str =
    "That the workload was what its registration says. When it signed, the check of the time says, if anything does.";

/// The check of what vouches for the payload beside its envelope.
pub(super) fn vouched(found: &Result<Vouched, String>) -> Check {
    match found {
        Ok(vouched) => proven(NAME, format!("{}, in a bundle of Sigstore's", vouched.says), OPEN),
        Err(says) => refused(NAME, codes::BUNDLE_REFUSED, says.clone(), "Nothing of who signed."),
    }
}

/// What one signature's certificates say.
enum Found {
    /// An SVID that was accepted when the signature was made, or before: now, or when the signature is known to have existed.
    Accepted { svid: Svid, existed: Option<Existed> },
    /// An SVID that was accepted as long as it was valid. Who has its key now could have signed today.
    Expired(Svid),
    /// The certificate of a key that did not make the signature: whoever wrote it there.
    Pasted(SpiffeId),
    /// Neither.
    Refused(Refused),
}

/// What the certificates of all signatures say, in their order.
pub(super) struct Identified {
    found: Vec<Option<Found>>,
    clock: UnixSeconds,
}

impl Identified {
    /// Looks at the certificates of an envelope.
    pub(super) fn read(envelope: &Envelope, identities: &Identities, times: &Times, options: &Options<'_>) -> Self {
        // As of when, and as of now: what was not witnessed has to hold at both.
        let clock = options.clock.max(options.now);
        let without = [options.now, clock];
        let find = |(place, signature): (usize, &Signature)| match signature.certificates() {
            Certificates::None => None,
            Certificates::Malformed => Some(Found::Refused(ChainError::Certificate(0).into())),
            Certificates::Pem(pem) => {
                let signed = |key: &PublicKey| envelope.is_signed_by(place, key);
                Some(find(pem, signed, identities, times.existed(place), without))
            }
        };
        Self { found: envelope.signatures().iter().enumerate().map(find).collect(), clock }
    }

    /// The key of the SVID that one signature carries, where it is accepted: as good as a key that was given, for this
    /// signature alone. A timestamp says nothing of another by the same key.
    pub(super) fn key(&self, place: usize) -> Option<&PublicKey> {
        self.accepted(place).map(|(svid, _)| svid.key())
    }

    fn accepted(&self, place: usize) -> Option<(&Svid, Option<&Existed>)> {
        match self.found.get(place)?.as_ref()? {
            Found::Accepted { svid, existed } => Some((svid, existed.as_ref())),
            _ => None,
        }
    }

    /// The accepted SVIDs that signed, given the signatures that held and the key of each.
    fn signed<'a>(&'a self, held: &'a [(usize, String)]) -> impl Iterator<Item = (&'a Svid, Option<&'a Existed>)> {
        let own =
            |(place, keyid): &'a (usize, String)| self.accepted(*place).filter(|(svid, _)| svid.key().keyid() == keyid);
        held.iter().filter_map(own)
    }

    /// SPIFFE IDs that are proven, given the signatures that held.
    pub(super) fn proven(&self, held: &[(usize, String)]) -> Vec<String> {
        self.signed(held).map(|(svid, _)| svid.id().to_string()).collect()
    }

    /// The check, given the signatures that held and the key of each.
    pub(super) fn check(&self, held: &[(usize, String)]) -> Check {
        let signed: Vec<String> = self.signed(held).map(|(svid, existed)| self.says(svid, existed)).collect();
        if !signed.is_empty() {
            return proven(NAME, signed.join("; "), OPEN);
        }
        let expired = self.found.iter().flatten().find_map(|found| match found {
            Found::Expired(svid) => Some(svid),
            _ => None,
        });
        if let Some(svid) = expired {
            let says = format!("{}, and nothing says that it signed before that", self.says(svid, None));
            return not_claimed(NAME, Some(codes::SVID_EXPIRED), says, "Who signed.");
        }
        let wrong = self.found.iter().flatten().find_map(|found| match found {
            Found::Refused(error) => Some(checks::chain(error)),
            Found::Pasted(id) => Some(format!("the certificate is that of {id}, and the signature is not")),
            Found::Accepted { .. } | Found::Expired(_) => None,
        });
        let says = wrong.unwrap_or_else(|| "no signature carries a certificate".to_owned());
        refused(NAME, codes::IDENTITY_REFUSED, says, "Nothing of who signed.")
    }

    /// An SVID in a sentence. Its ID has no characters to escape, and is escaped.
    fn says(&self, svid: &Svid, existed: Option<&Existed>) -> String {
        let id = svid.id().to_string();
        let until = time::utc(svid.not_after());
        let tense = if svid.not_after() < self.clock { "valid until" } else { "valid now, until" };
        let before = existed.map(|existed| format!(", and the signature existed at {}", time::utc(existed.at)));
        let (id, before) = (escape(id.as_bytes()), before.unwrap_or_default());
        format!("{id}, by an SVID {tense} {until}, serial {}{before}", svid.serial())
    }
}

fn find(
    pem: &[Vec<u8>],
    signed: impl Fn(&PublicKey) -> bool,
    identities: &Identities,
    existed: &[Existed],
    without: [UnixSeconds; 2],
) -> Found {
    let Some((own, between)) = pem.split_first() else {
        return Found::Refused(ChainError::Certificate(0).into());
    };
    let chain = match Chain::from_pem(own, between) {
        Ok(chain) => chain,
        Err(error) => return Found::Refused(error.into()),
    };
    // Before any path is looked for: that costs the verifier more than it cost whoever wrote the certificates there.
    if let Ok(svid) = Svid::read(chain.leaf())
        && !signed(svid.key())
    {
        return Found::Pasted(svid.id().clone());
    }
    let [then, clock] = without;
    let error = match identities.accept(&chain, then).and_then(|_| identities.accept(&chain, clock)) {
        Ok(svid) => return Found::Accepted { svid, existed: None },
        Err(error) => error,
    };
    for existed in existed {
        if let Ok(svid) = identities.accept(&chain, existed.at) {
            return Found::Accepted { svid, existed: Some(existed.clone()) };
        }
    }
    when_it_was_valid(&chain, identities, clock, error)
}

/// Expired is another thing than wrong: the same chain is looked at in the last second of its SVID.
fn when_it_was_valid(chain: &Chain, identities: &Identities, now: UnixSeconds, error: Refused) -> Found {
    match Svid::read(chain.leaf()) {
        Ok(svid) if svid.not_after() < now => match identities.accept(chain, svid.not_after()) {
            Ok(svid) => Found::Expired(svid),
            Err(error) => Found::Refused(error),
        },
        _ => Found::Refused(error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dsse::{KeyFile, SignError, Signer, write_envelope};
    use crate::identity::tests::{Authority, HOUR, ID, NOW, authority, root, workload};
    use crate::merkle::Hash;
    use crate::statement::{self, Meta};
    use crate::synthetic::{Session, key};
    use crate::verify::{Options, Outcome, Verdict, verify};

    pub(in crate::verify) struct Svids {
        key: KeyFile,
        certificates: Vec<Vec<u8>>,
    }

    impl Signer for Svids {
        fn keyid(&self) -> &str {
            self.key.keyid()
        }

        fn certificates(&self) -> &[Vec<u8>] {
            &self.certificates
        }

        fn sign_prehash(&self, sha256: &Hash) -> Result<Vec<u8>, SignError> {
            self.key.sign_prehash(sha256)
        }
    }

    /// A workload with an SVID.
    pub(in crate::verify) fn svids(root: &Authority, seed: u8) -> Svids {
        let key = KeyFile::from_random(&[seed; 32]).unwrap();
        let certificates = vec![root.certifies(&workload(), &key.to_pem().unwrap())];
        Svids { key, certificates }
    }

    /// A statement that is signed so, and says so.
    fn signed(meta: &Meta, signers: &[&dyn Signer]) -> Vec<u8> {
        let session = Session::build();
        let (head, _) = session.write(8).unwrap();
        let trace = session.trace().unwrap();
        let mut envelope = Vec::new();
        write_envelope(&mut envelope, |out| statement::write(out, &trace, &head, meta), signers).unwrap();
        envelope
    }

    pub(in crate::verify) fn named(signer: &str, others: &[&str]) -> Meta {
        let co_signers = others.iter().map(|name| (*name).to_owned()).collect();
        Meta { signer: signer.to_owned(), co_signers, ..Meta::default() }
    }

    fn check(envelope: &[u8], root: &Authority, now: UnixSeconds, keys: &[PublicKey]) -> Verdict {
        let identities = root.trusted();
        let identities = Some(&identities);
        verify(envelope, &Options { identities, now, accept_incomplete: true, ..Options::by_keys(keys) })
    }

    pub(in crate::verify) fn found(verdict: &Verdict, name: &str) -> Option<(Outcome, Option<&'static str>)> {
        verdict.checks.iter().find(|check| check.name == name).map(|check| (check.outcome, check.code))
    }

    #[test]
    fn an_identity_is_proven_while_its_svid_is_valid_and_not_claimed_afterwards() {
        let root = root(authority("root"));
        let envelope = signed(&named(ID, &[]), &[&svids(&root, 1)]);
        let verdict = check(&envelope, &root, NOW, &[]);
        assert_eq!((found(&verdict, NAME), verdict.exit_code()), (Some((Outcome::Proven, None)), 0));
        assert_eq!(verdict.signers[0], ID);
        for later in [NOW + HOUR + 1, NOW + 1000 * HOUR] {
            let verdict = check(&envelope, &root, later, &[]);
            assert_eq!(found(&verdict, NAME), Some((Outcome::NotClaimed, Some(codes::SVID_EXPIRED))));
            assert_eq!(found(&verdict, "signature"), Some((Outcome::Refused, Some(codes::SIGNATURE_INVALID))));
        }
    }

    #[test]
    fn a_key_beside_it_still_holds_when_the_svid_has_expired() {
        let (root, beside) = (root(authority("root")), key().unwrap());
        let meta = named(ID, &[beside.public().keyid()]);
        let envelope = signed(&meta, &[&svids(&root, 1), &beside]);
        let keys = [beside.public().clone()];
        let now = check(&envelope, &root, NOW, &keys);
        assert_eq!((found(&now, "signers"), now.exit_code()), (Some((Outcome::Proven, None)), 0));
        let later = check(&envelope, &root, NOW + 2 * HOUR, &keys);
        assert_eq!(found(&later, NAME), Some((Outcome::NotClaimed, Some(codes::SVID_EXPIRED))));
        assert_eq!((found(&later, "signers"), later.exit_code()), (Some((Outcome::NotClaimed, None)), 0));
        assert_eq!(later.signers, [beside.public().keyid()]);
    }

    #[test]
    fn a_signature_that_was_taken_away_is_missed() {
        let (root, beside) = (root(authority("root")), key().unwrap());
        let meta = named(ID, &[beside.public().keyid()]);
        let envelope = signed(&meta, &[&beside]);
        let verdict = verify(envelope.as_slice(), &Options::by_keys(&[beside.public().clone()]));
        assert_eq!(found(&verdict, "signers"), Some((Outcome::Refused, Some(codes::SIGNATURE_MISSING))));
        // The same signature once more is no other's.
        let twice = signed(&meta, &[&beside, &beside]);
        let verdict = check(&twice, &root, NOW, &[beside.public().clone()]);
        assert_eq!(found(&verdict, "signers"), Some((Outcome::Refused, Some(codes::SIGNATURE_MISSING))));
        assert_eq!(found(&verdict, NAME), Some((Outcome::Refused, Some(codes::IDENTITY_REFUSED))));
    }

    #[test]
    fn a_statement_that_names_another_signer_is_refused() {
        let root = root(authority("root"));
        let other = signed(&named("spiffe://example.org/ci/other", &[]), &[&svids(&root, 1)]);
        let verdict = check(&other, &root, NOW, &[]);
        assert_eq!(found(&verdict, NAME), Some((Outcome::Proven, None)));
        assert_eq!(found(&verdict, "signers"), Some((Outcome::Refused, Some(codes::SIGNATURE_MISSING))));
        // Whoever trusts the key of an SVID by itself cannot tell whose it is.
        let svid = svids(&root, 1);
        let keys = [svid.key.public().clone()];
        let verdict = verify(signed(&named(ID, &[]), &[&svid]).as_slice(), &Options::by_keys(&keys));
        assert_eq!((found(&verdict, "signers"), verdict.exit_code()), (None, 0));
    }

    #[test]
    fn an_expired_certificate_beside_anothers_signature_says_nothing() {
        let (root, beside) = (root(authority("root")), key().unwrap());
        let expired = svids(&root, 1);
        let pasted = Svids { key: beside.clone(), certificates: expired.certificates };
        let envelope = signed(&named(beside.public().keyid(), &[]), &[&pasted]);
        let verdict = check(&envelope, &root, NOW + 2 * HOUR, &[beside.public().clone()]);
        assert_eq!(found(&verdict, NAME), Some((Outcome::Refused, Some(codes::IDENTITY_REFUSED))));
        assert_eq!(verdict.exit_code(), 1);
    }

    #[test]
    fn who_stands_in_is_said() {
        let beside = key().unwrap();
        let meta = Meta { instead_of: Some(ID.into()), ..named(beside.public().keyid(), &[]) };
        let verdict = verify(signed(&meta, &[&beside]).as_slice(), &Options::by_keys(&[beside.public().clone()]));
        let said = verdict.checks.iter().find(|check| check.name == "signers").unwrap();
        assert_eq!(said.outcome, Outcome::Proven);
        assert!(said.says.contains(&format!("instead of {ID}")), "{}", said.says);
    }

    #[test]
    fn anothers_certificate_beside_a_signature_proves_nothing() {
        let root = root(authority("root"));
        let (one, two) = (svids(&root, 1), svids(&root, 2));
        let stolen = Svids { key: two.key.clone(), certificates: one.certificates };
        for keys in [vec![], vec![two.key.public().clone()]] {
            let verdict = check(&signed(&named(ID, &[]), &[&stolen]), &root, NOW, &keys);
            assert_eq!(found(&verdict, NAME), Some((Outcome::Refused, Some(codes::IDENTITY_REFUSED))));
            assert_eq!(verdict.exit_code(), 1);
            assert!(!verdict.signers.iter().any(|name| name == ID));
        }
    }

    #[test]
    fn certificates_that_are_none_cost_no_key_its_envelope() {
        let (root, beside) = (root(authority("root")), key().unwrap());
        let envelope = String::from_utf8(signed(&named(beside.public().keyid(), &[]), &[&beside])).unwrap();
        let keys = [beside.public().clone()];
        for fields in [
            "\"certificate\":1",
            "\"certificate\":\"AAAA\"",
            "\"certificate\":\"?\"",
            "\"intermediates\":[\"AAAA\"]",
            "\"certificate\":{\"a\":[[]]}",
            "\"intermediates\":7",
        ] {
            let carries = envelope.replace("{\"keyid\"", &format!("{{{fields},\"keyid\""));
            assert_ne!(carries, envelope);
            assert_eq!(verify(carries.as_bytes(), &Options::by_keys(&keys)).exit_code(), 0, "{fields}");
            let verdict = check(carries.as_bytes(), &root, NOW, &keys);
            assert_eq!(found(&verdict, NAME), Some((Outcome::Refused, Some(codes::IDENTITY_REFUSED))), "{fields}");
        }
        let verdict = check(envelope.as_bytes(), &root, NOW, &keys);
        assert_eq!(found(&verdict, NAME), Some((Outcome::Refused, Some(codes::IDENTITY_REFUSED))));
    }
}
