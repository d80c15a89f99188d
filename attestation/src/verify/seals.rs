//! Statements of one boot of one machine held against each other: all seals of a boot stand in each quote of it, so that the quotes
//! have one list, of which an earlier one has the beginning (docs/format.md, section 15).

use super::checks::{proven, refused};
use super::{Check, Sealed, Verdict};
use crate::codes;
use crate::escape::escape;
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "seals";
const OPEN: &str = "What was not sealed there, and what was sealed before that boot or after the last of them.";
const OPEN_OF_OTHERS: &str =
    "What the sessions did that were sealed there and whose statements were not given, and what was not sealed there.";
const NOTHING: &str = "Which of them tells what the machine did.";

/// A check for each boot of a machine that two of these statements or more were sealed in. Only a quote that held says something.
#[must_use]
pub fn seals<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Vec<Check> {
    let mut boots: BTreeMap<_, Vec<&Sealed>> = BTreeMap::new();
    for sealed in verdicts.into_iter().filter_map(|verdict| verdict.sealed.as_deref()) {
        boots.entry(&sealed.scope).or_default().push(sealed);
    }
    boots.into_values().filter(|sealed| sealed.len() > 1).filter_map(of_boot).collect()
}

fn of_boot(mut all: Vec<&Sealed>) -> Option<Check> {
    all.sort_by_key(|sealed| sealed.list.count());
    let longest = all.last()?;
    let machine = escape(longest.machine.as_bytes());
    // Beginnings of one list are beginnings of each other.
    if let Some(number) = all.iter().find_map(|sealed| sealed.list.departs_from(&longest.list)) {
        let says = format!(
            "two of the statements of one boot of {machine} have another seal {number}: its TPM was set back, or is several"
        );
        return Some(refused(NAME, codes::SEAL_REFUSED, says, NOTHING));
    }
    if let Some(number) = all.iter().find_map(|sealed| goes_on(sealed, longest)) {
        let says = format!(
            "seal {number} of {machine} is of a session whose statement was sealed as whole before: it is of a part"
        );
        return Some(refused(NAME, codes::SEAL_REFUSED, says, NOTHING));
    }
    let given: BTreeSet<_> = all.iter().map(|sealed| sealed.session).collect();
    let sealed: BTreeSet<_> = longest.list.iter().map(|(_, seal)| seal.session).collect();
    let others = sealed.difference(&given).count();
    let says = format!(
        "{} statements of one boot of {machine} have one list of {} seals; of {} that were sealed there {others} have no statement among these",
        all.len(),
        longest.list.count(),
        sessions(sealed.len()),
    );
    Some(proven(NAME, says, if others == 0 { OPEN } else { OPEN_OF_OTHERS }))
}

/// The first seal of a session after the list that its own quote has: nothing follows the seal of its whole log.
fn goes_on(sealed: &Sealed, longest: &Sealed) -> Option<u64> {
    let mut later = longest.list.iter().skip(sealed.list.count());
    later.find_map(|(number, seal)| (seal.session == sealed.session).then_some(number))
}

fn sessions(count: usize) -> String {
    if count == 1 { "one session".to_owned() } else { format!("{count} sessions") }
}
