//! Chains of statements: what is missing between those that were kept, and what contradicts. Both are facts about a node, which are
//! told and refuse nothing: a statement that comes late closes its gap.

use std::collections::BTreeSet;

use attestation::merkle::Hash;
use serde::Serialize;

use crate::{
    list::line,
    settings::Settings,
    store::{Listed, Reader},
};

/// Gaps of a chain that are told at most.
const GAPS_MAX: usize = 1000;

/// A chain, as it is printed.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Chain {
    signer: String,
    host: String,
    boot: String,
    /// Statements of it.
    statements: u64,
    first: u64,
    last: u64,
    /// Numbers that nobody sent, and that no statement says were never signed: from and to.
    missing: Vec<[u64; 2]>,
    /// Numbers at which it says two things: the same number or the same predecessor twice, or another predecessor than was kept.
    contradicts: Vec<u64>,
}

/// What is known of a chain while it is read.
#[derive(Default)]
struct Reading {
    chain: Chain,
    last: Option<(u64, Hash)>,
    kept: BTreeSet<Hash>,
    named: BTreeSet<Hash>,
}

/// Prints all chains.
///
/// # Errors
/// Of the store.
pub(crate) fn print(settings: &Settings) -> anyhow::Result<()> {
    let mut chains = Vec::new();
    let mut reading: Option<Reading> = None;
    Reader::open(&settings.state)?.chains(|listed| {
        if reading.as_ref().is_none_or(|reading| !reading.is_of(&listed)) {
            chains.extend(reading.take().map(|reading| reading.chain));
            reading = Some(Reading::begin(&listed));
        }
        if let Some(reading) = &mut reading {
            reading.add(&listed);
        }
    })?;
    chains.extend(reading.map(|reading| reading.chain));
    for chain in &chains {
        if !line(chain)? {
            break;
        }
    }
    Ok(())
}

impl Reading {
    fn begin(listed: &Listed) -> Self {
        let Listed { signer, host, boot, number, .. } = listed.clone();
        let first = number.unwrap_or_default();
        Self { chain: Chain { signer, host, boot, first, ..Chain::default() }, ..Self::default() }
    }

    fn is_of(&self, listed: &Listed) -> bool {
        (&self.chain.signer, &self.chain.host, &self.chain.boot) == (&listed.signer, &listed.host, &listed.boot)
    }

    /// Adds the next one by its number (docs/format.md, section 11: what was skipped was never signed, if the next one names the one
    /// before it).
    fn add(&mut self, listed: &Listed) {
        let Some(number) = listed.number else { return };
        // The same statement in two envelopes is one.
        if !self.kept.insert(listed.payload_sha256) {
            return;
        }
        self.chain.statements += 1;
        self.chain.last = number;
        let fresh = listed.previous.is_none_or(|previous| self.named.insert(previous));
        match self.last {
            None if number > 1 && listed.previous.is_some() => self.gap(1, number - 1),
            None => {}
            Some((before, payload)) => {
                if number == before || !fresh || listed.previous.is_none() {
                    self.contradicts(number);
                } else if listed.previous != Some(payload) {
                    // It names one that was not kept: between them, or instead of what was.
                    if number == before + 1 { self.contradicts(number) } else { self.gap(before + 1, number - 1) }
                }
            }
        }
        self.last = Some((number, listed.payload_sha256));
    }

    fn gap(&mut self, from: u64, to: u64) {
        if self.chain.missing.len() < GAPS_MAX {
            self.chain.missing.push([from, to]);
        }
    }

    fn contradicts(&mut self, number: u64) {
        if self.chain.contradicts.len() < GAPS_MAX {
            self.chain.contradicts.push(number);
        }
    }
}

/// What is missing and what contradicts in one chain that is read whole.
#[cfg(test)]
pub(crate) fn of(all: &[Listed]) -> (Vec<[u64; 2]>, Vec<u64>) {
    let mut reading = Reading::begin(&all[0]);
    all.iter().for_each(|listed| reading.add(listed));
    (reading.chain.missing, reading.chain.contradicts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(number: u64, payload: u8, previous: Option<u8>) -> Listed {
        Listed {
            place: 0,
            payload_sha256: [payload; 32],
            received_s: 0,
            peer: String::new(),
            signer: "s".to_owned(),
            host: "h".to_owned(),
            boot: "b".to_owned(),
            number: Some(number),
            previous: previous.map(|byte| [byte; 32]),
            complete: true,
        }
    }

    fn chain(all: &[Listed]) -> (u64, Vec<[u64; 2]>, Vec<u64>) {
        let mut reading = Reading::begin(&all[0]);
        all.iter().for_each(|listed| reading.add(listed));
        (reading.chain.statements, reading.chain.missing, reading.chain.contradicts)
    }

    #[test]
    fn what_is_whole_misses_nothing() {
        let whole = [listed(1, 1, None), listed(2, 2, Some(1)), listed(2, 2, Some(1)), listed(3, 3, Some(2))];
        assert_eq!(chain(&whole), (3, vec![], vec![]));
        // A number that was lost to a crash: the next one names the one before it.
        assert_eq!(chain(&[listed(1, 1, None), listed(4, 4, Some(1))]), (2, vec![], vec![]));
    }

    #[test]
    fn what_was_not_sent_is_missing() {
        let gaps = [listed(3, 3, Some(2)), listed(4, 4, Some(3)), listed(7, 7, Some(6))];
        assert_eq!(chain(&gaps), (3, vec![[1, 2], [5, 6]], vec![]));
    }

    #[test]
    fn a_chain_that_says_two_things_contradicts() {
        assert_eq!(chain(&[listed(1, 1, None), listed(1, 9, None)]), (2, vec![], vec![1]));
        assert_eq!(chain(&[listed(1, 1, None), listed(2, 2, Some(1)), listed(3, 3, Some(1))]).2, [3]);
        assert_eq!(chain(&[listed(1, 1, None), listed(2, 2, Some(8))]).2, [2]);
        assert_eq!(chain(&[listed(1, 1, None), listed(2, 2, None)]).2, [2]);
    }
}
