//! Several statements held against each other: those of one scope (host, signer, boot) are a chain (docs/format.md, section 11).

use super::checks::{not_claimed, proven, refused};
use super::{Check, Verdict};
use crate::codes;
use crate::escape::escape;
use crate::merkle::Hash;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const NAME: &str = "sequence";
const OPEN: &str =
    "What came before the first of them or after the last, or that a number that was skipped was never signed.";

/// A statement's place in its chain.
struct Place {
    number: u64,
    previous: Option<Hash>,
    payload: Hash,
}

/// A check for each scope that has two of these statements or more. Only who signed a statement places it in a chain.
#[must_use]
pub fn sequence<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Vec<Check> {
    let mut scopes: BTreeMap<(&str, &[String; 2]), Vec<Place>> = BTreeMap::new();
    for verdict in verdicts {
        if let (Some(claims), Some(payload)) = (&verdict.claims, verdict.payload_sha256)
            && let Some(number) = claims.meta.number
            && verdict.signers.contains(&claims.meta.signer)
        {
            let places = scopes.entry((&claims.meta.signer, &claims.host_and_boot)).or_default();
            places.push(Place { number, previous: claims.meta.previous, payload });
        }
    }
    scopes
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|((signer, _), places)| chain(signer, places))
        .collect()
}

fn chain(signer: &str, mut places: Vec<Place>) -> Check {
    places.sort_unstable_by_key(|place| (place.number, place.payload));
    // The same statement given twice is one.
    places.dedup_by_key(|place| (place.number, place.payload));
    let given: BTreeSet<Hash> = places.iter().map(|place| place.payload).collect();
    let mut named: BTreeSet<Hash> = places.first().and_then(|first| first.previous).into_iter().collect();
    let (mut missing, mut skipped) = (Vec::new(), Vec::new());
    for pair in places.windows(2) {
        let [one, next] = pair else { continue };
        let between = (one.number.saturating_add(1), next.number.saturating_sub(1));
        let has_between = between.0 <= between.1;
        // Nothing, or a statement that another follows already or that is given and is not the one before: that cannot be.
        let first = next.previous.is_none_or(|previous| !named.insert(previous));
        if next.previous == Some(one.payload) && next.number != one.number && !first {
            skipped.extend(has_between.then_some(between));
        } else if has_between && !first && next.previous.is_none_or(|previous| !given.contains(&previous)) {
            missing.push(between);
        } else {
            let says =
                format!("statements {} and {} of {} contradict each other", one.number, next.number, word(signer));
            return refused(NAME, codes::CHAIN_FORKED, says, OPEN);
        }
    }
    let ends = places.first().zip(places.last()).map_or((0, 0), |(first, last)| (first.number, last.number));
    let mut says = format!("{} statements of {}, numbers {}", places.len(), word(signer), span(&ends));
    let list = |spans: &[(u64, u64)]| spans.iter().map(span).collect::<Vec<_>>().join(", ");
    if !skipped.is_empty() {
        let _ = write!(says, "; skipped, by the word of the next: {}", list(&skipped));
    }
    if missing.is_empty() {
        return proven(NAME, says, OPEN);
    }
    let _ = write!(says, "; not given: {}", list(&missing));
    not_claimed(NAME, None, says, OPEN)
}

fn word(signer: &str) -> String {
    escape(signer.as_bytes()).into_owned()
}

fn span((from, to): &(u64, u64)) -> String {
    if from == to { from.to_string() } else { format!("{from} to {to}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{self, Meta};
    use crate::synthetic::{self, Session};
    use crate::verify::{Options, Outcome, verify};

    fn payload(number: u64) -> Hash {
        [u8::try_from(number).unwrap(); 32]
    }

    /// A statement with this number after that one.
    fn verdict(number: u64, previous: Option<u64>) -> Verdict {
        let session = Session::build();
        let (head, _) = session.write(1000).unwrap();
        let (trace, key) = (session.trace().unwrap(), synthetic::key().unwrap());
        let signer = key.public().keyid().to_owned();
        let meta = Meta { signer, number: Some(number), previous: previous.map(payload), ..Meta::default() };
        let mut envelope = Vec::new();
        let write = |out: &mut dyn std::io::Write| statement::write(out, &trace, &head, &meta);
        crate::dsse::write_envelope(&mut envelope, write, &[&key]).unwrap();
        let keys = [key.public().clone()];
        let options = Options { accept_incomplete: true, ..Options::by_keys(&keys) };
        let mut verdict = verify(envelope.as_slice(), &options);
        assert!(!verdict.refused());
        verdict.payload_sha256 = Some(payload(number));
        verdict
    }

    fn check(verdicts: &[Verdict]) -> (Outcome, String) {
        let [check] = sequence(verdicts).try_into().unwrap();
        (check.outcome, check.says)
    }

    #[test]
    fn a_chain_is_whole_in_any_order_and_its_skipped_numbers_are_told() {
        let (outcome, says) = check(&[verdict(6, Some(4)), verdict(3, None), verdict(4, Some(3)), verdict(3, None)]);
        assert_eq!(outcome, Outcome::Proven, "{says}");
        assert!(
            says.contains("3 statements") && says.contains("numbers 3 to 6") && says.ends_with("the next: 5"),
            "{says}"
        );
    }

    #[test]
    fn what_is_not_given_is_told() {
        let (outcome, says) = check(&[verdict(1, None), verdict(4, Some(3)), verdict(6, Some(5))]);
        assert_eq!(outcome, Outcome::NotClaimed);
        assert!(says.ends_with("not given: 2 to 3, 5"), "{says}");
    }

    #[test]
    fn a_fork_is_refused() {
        let mut replaced = verdict(2, Some(1));
        replaced.payload_sha256 = Some([99; 32]);
        let twice = check(&[verdict(1, None), verdict(2, Some(1)), replaced]);
        let broken = check(&[verdict(1, None), verdict(2, Some(9))]);
        let anew = check(&[verdict(1, None), verdict(2, None)]);
        // A statement that is left out hides none of these.
        let past_one = check(&[verdict(3, None), verdict(4, Some(3)), verdict(6, Some(3))]);
        let from_nothing = check(&[verdict(1, None), verdict(3, None)]);
        let same_before = check(&[verdict(4, Some(9)), verdict(6, Some(9))]);
        for (outcome, says) in [twice, broken, anew, past_one, from_nothing, same_before] {
            assert_eq!(outcome, Outcome::Refused, "{says}");
        }
    }

    #[test]
    fn a_statement_that_somebody_else_signed_has_no_place() {
        let mut foreign = verdict(2, Some(9));
        foreign.signers = vec!["another".to_owned()];
        assert!(sequence(&[verdict(1, None), foreign]).is_empty());
    }

    #[test]
    fn one_statement_and_those_without_a_number_are_no_chain() {
        let mut unnumbered = verdict(1, None);
        unnumbered.claims.as_mut().unwrap().meta.number = None;
        assert!(sequence(&[verdict(1, None)]).is_empty());
        assert!(sequence(&[verdict(1, None), unnumbered]).is_empty());
    }
}
