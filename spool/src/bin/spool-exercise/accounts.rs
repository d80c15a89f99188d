//! What processes told, held against what the queue has.

use std::collections::{BTreeMap, BTreeSet};

use spool::{Counts, Error, Spool, State};

use crate::items::{self, Made};

/// How many of the last receipts are looked up: fewer than are ever forgotten.
const RECEIPTS: usize = 100;

/// The receipt for an item.
pub fn receipt(number: u64) -> Vec<u8> {
    format!("receipt of {number}").into_bytes()
}

/// What was told.
#[derive(Default)]
pub struct Accounts {
    /// By the number that the queue gave: writer and number there.
    puts: BTreeMap<u64, (u64, u64)>,
    /// In the order in which they were told.
    acknowledged: Vec<u64>,
    refused: BTreeSet<u64>,
    turned_away: u64,
    settled: Counts,
    faults: Vec<String>,
}

impl Accounts {
    /// Reads lines, those of a process in its order. A last line without an end tells nothing.
    pub fn read(told: &str) -> Result<Self, String> {
        let mut accounts = Self::default();
        let mut last = BTreeMap::new();
        for line in told.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let mut words = line.split(' ');
            let act = words.next().unwrap_or_default();
            let numbers: Option<Vec<u64>> = words.map(|word| word.parse().ok()).collect();
            let numbers = numbers.ok_or_else(|| format!("a line that tells nothing: {line}"))?;
            match (act, &numbers[..]) {
                ("put", &[writer, number, given]) => {
                    let before = last.insert(writer, (number, given));
                    let ordered = before.is_none_or(|before| before.0 < number && before.1 < given);
                    let fresh = accounts.puts.insert(given, (writer, number)).is_none();
                    accounts.hold(ordered && fresh, || format!("not in order, or twice: {line}"));
                }
                ("full", [_, _]) => accounts.turned_away += 1,
                ("said", &[full, old, refused]) => {
                    let Counts { full: a, old: b, refused: c } = accounts.settled;
                    accounts.settled = Counts { full: a.max(full), old: b.max(old), refused: c.max(refused) };
                }
                ("ack", &[number]) => accounts.acknowledged.push(number),
                ("refuse", &[number]) => {
                    let fresh = accounts.refused.insert(number);
                    accounts.hold(fresh, || format!("refused twice: {number}"));
                }
                _ => return Err(format!("a line that tells nothing: {line}")),
            }
        }
        Ok(accounts)
    }

    /// Everything that is not as it was told. Each process that was killed may have done one act that it did not tell.
    pub fn compare(&self, spool: &Spool, killed: u64) -> Result<Vec<String>, Error> {
        let mut found = Self { faults: self.faults.clone(), ..Self::default() };
        let state = spool.state()?;
        let waiting = self.compare_waiting(spool, &mut found)?;
        self.compare_answers(spool, &waiting, &mut found)?;
        self.compare_counts(spool, &state, killed, &mut found)?;
        found.hold(waiting.len() as u64 == state.waiting, || format!("{} wait, and {state:?}", waiting.len()));
        // Only the oldest are dropped or answered, so nothing is missing after the first that waits.
        let first = waiting.first().copied().unwrap_or(state.newest + 1);
        let all = (state.newest + 1).saturating_sub(first);
        found.hold(waiting.len() as u64 == all, || format!("items are missing between {first} and {}", state.newest));
        Ok(found.faults)
    }

    /// What waits is what was put, under the numbers that were told, in each writer's order.
    fn compare_waiting(&self, spool: &Spool, found: &mut Self) -> Result<BTreeSet<u64>, Error> {
        let (mut numbers, mut last) = (BTreeSet::new(), BTreeMap::new());
        for held in spool.waiting(0, u64::MAX)? {
            let number = held.number;
            numbers.insert(number);
            let Some(origin) = items::origin(&held) else {
                found.hold(false, || format!("{number} was never put"));
                continue;
            };
            let told = self.puts.get(&number).is_none_or(|told| *told == origin);
            found.hold(told, || format!("{number} is {origin:?}, and that is not what was told"));
            let ordered = last.insert(origin.0, origin.1).is_none_or(|before| before < origin.1);
            found.hold(ordered, || format!("{number} is {origin:?}, out of order or twice"));
        }
        Ok(numbers)
    }

    /// What was answered waits no more, and the last receipts are there.
    fn compare_answers(&self, spool: &Spool, waiting: &BTreeSet<u64>, found: &mut Self) -> Result<(), Error> {
        let acknowledged: BTreeSet<u64> = self.acknowledged.iter().copied().collect();
        found.hold(acknowledged.len() == self.acknowledged.len(), || "one is acknowledged twice".to_owned());
        let back = acknowledged.union(&self.refused).find(|number| waiting.contains(number));
        found.hold(back.is_none(), || format!("{back:?} was answered and waits"));
        for number in self.acknowledged.iter().rev().take(RECEIPTS) {
            // One that was acknowledged before its put was told is known by its number alone.
            let Some((writer, at)) = self.puts.get(number) else { continue };
            let made = Made::of(*writer, *at);
            let receipt = spool.receipt_of(made.item().kind, &made.item().sha256)?;
            found.hold(receipt == Some(self::receipt(*number)), || format!("no receipt for {number}"));
        }
        Ok(())
    }

    /// Totals are those that were told, but for acts that nobody lived to tell of. With the account of the queue itself, in which
    /// every number is in one place, that makes the number of dropped items exact.
    fn compare_counts(&self, spool: &Spool, state: &State, killed: u64, found: &mut Self) -> Result<(), Error> {
        let dropped = spool.dropped()?;
        let waited = state.dropped_total.full + state.dropped_total.old - state.turned_away_total;
        let refused = spool.refused()?.len() as u64 + state.dropped_total.refused;
        for (what, told, held) in [
            ("numbers", self.puts.len() as u64, state.newest),
            ("receipts", self.acknowledged.len() as u64, state.acknowledged_total),
            ("refusals", self.refused.len() as u64, state.refused_total),
            ("items that stayed out", self.turned_away, state.turned_away_total),
        ] {
            let within = (told..=told + killed).contains(&held);
            found.hold(within, || format!("{what}: {told} were told and {held} are held; {killed} were killed"));
        }
        let gone = state.newest - state.waiting - state.acknowledged_total - state.refused_total;
        found.hold(waited == gone, || format!("{gone} items are gone and {waited} are counted"));
        found.hold(refused == state.refused_total, || format!("{refused} refused items of {}", state.refused_total));
        let settled = |of: fn(Counts) -> u64| of(self.settled) + of(dropped.counts) <= of(dropped.until);
        let all = settled(|counts| counts.full) && settled(|counts| counts.old) && settled(|counts| counts.refused);
        found.hold(all, || format!("{:?} was said, and {dropped:?}", self.settled));
        Ok(())
    }

    fn hold(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }

    /// How much was compared.
    pub fn summary(&self) -> String {
        let Self { puts, acknowledged, refused, turned_away, settled, .. } = self;
        let (puts, acknowledged, refused) = (puts.len(), acknowledged.len(), refused.len());
        format!(
            "{puts} put, {acknowledged} acknowledged, {refused} refused, {turned_away} stayed out, {} said",
            settled.sum()
        )
    }
}
