//! The numbers: which events came, which were folded, and what the kernel counted, per (epoch, hook, CPU).

use super::builder::TraceError;
use super::files::Files;
use proto::evidence as log;
use std::collections::BTreeMap;

/// (epoch, hook, cpu): what numbers are counted by.
pub(super) type Key = (u32, u32, u32);

/// What is known of one key.
#[derive(Debug, Default)]
pub(super) struct Cell {
    /// Which numbers came: 64 to an entry, so that a run of numbers costs little and a scattered one is still bounded.
    seen: BTreeMap<u64, u64>,
    pub(super) delivered: u64,
    pub(super) highest: u64,
    /// Events with a truncation flag.
    pub(super) flagged: u64,
    /// Sum of the folds' counts.
    pub(super) folded: u128,
    pub(super) account: Option<log::HookAccount>,
    /// (number, file) of events that are accesses, and (number, count) of folds: joined at the end.
    accesses: Vec<(u64, u32)>,
    folds: Vec<(u64, u64)>,
    /// Folds that stand for no event that came.
    pub(super) stray_folds: u64,
}

impl Cell {
    /// Marks a number; false if it was marked before.
    fn mark(&mut self, number: u64) -> bool {
        let word = self.seen.entry(number / 64).or_default();
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn has(&self, number: u64) -> bool {
        self.seen.get(&(number / 64)).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

/// All keys of a session.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    hooks: Vec<u32>,
    pub(super) cells: BTreeMap<Key, Cell>,
}

impl Accounts {
    /// Enters a hook of the session.
    pub(super) fn declare(&mut self, hook: u32) -> Result<(), TraceError> {
        match self.hooks.binary_search(&hook) {
            Ok(_) => Err(TraceError::HookTwice(hook)),
            Err(at) => {
                self.hooks.insert(at, hook);
                Ok(())
            }
        }
    }

    fn cell(&mut self, key: Key) -> Result<&mut Cell, TraceError> {
        match self.hooks.binary_search(&key.1) {
            Ok(_) => Ok(self.cells.entry(key).or_default()),
            Err(_) => Err(TraceError::UnknownHook(key.1)),
        }
    }

    /// Enters an event's number.
    pub(super) fn deliver(&mut self, event: &log::Event) -> Result<(), TraceError> {
        let (epoch, hook, cpu, number) = (event.epoch, event.hook, event.cpu, event.number);
        let cell = self.cell((epoch, hook, cpu))?;
        if !cell.mark(number) {
            return Err(TraceError::NumberTwice { epoch, hook, cpu, number });
        }
        cell.delivered += 1;
        cell.highest = cell.highest.max(number);
        if event.flags & super::FLAGS_TRUNCATED != 0 {
            cell.flagged += 1;
        }
        Ok(())
    }

    /// Remembers which file an event opened, for the folds that it will stand for.
    pub(super) fn points_to(&mut self, event: &log::Event, file: u32) {
        if let Some(cell) = self.cells.get_mut(&(event.epoch, event.hook, event.cpu)) {
            cell.accesses.push((event.number, file));
        }
    }

    pub(super) fn fold(&mut self, folded: &log::Folded) -> Result<(), TraceError> {
        let cell = self.cell((folded.epoch, folded.hook, folded.cpu))?;
        cell.folded += u128::from(folded.count);
        cell.folds.push((folded.number, folded.count));
        Ok(())
    }

    pub(super) fn account(&mut self, account: &log::HookAccount) -> Result<(), TraceError> {
        let (epoch, hook, cpu) = (account.epoch, account.hook, account.cpu);
        let cell = self.cell((epoch, hook, cpu))?;
        if cell.account.is_some() {
            return Err(TraceError::AccountTwice { epoch, hook, cpu });
        }
        cell.account = Some(*account);
        Ok(())
    }

    /// Adds each fold's count to the file that its event opened. Folds may come before their event.
    pub(super) fn attribute_folds(&mut self, files: &mut Files) {
        for cell in self.cells.values_mut() {
            let mut accesses = std::mem::take(&mut cell.accesses);
            accesses.sort_unstable();
            for (number, count) in std::mem::take(&mut cell.folds) {
                match accesses.binary_search_by_key(&number, |access| access.0) {
                    Ok(at) => files.repeat(accesses.get(at).map_or(0, |access| access.1), count),
                    Err(_) if cell.has(number) => {}
                    Err(_) => cell.stray_folds += 1,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn marks_are_a_set(numbers in proptest::collection::vec(prop_oneof![0u64..300, any::<u64>()], 0..200)) {
            let (mut cell, mut set) = (Cell::default(), HashSet::new());
            for number in numbers {
                prop_assert_eq!(cell.mark(number), set.insert(number));
                prop_assert!(cell.has(number));
            }
        }
    }
}
