//! Byte strings kept once: a build names the same paths thousands of times.

use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// Number of a byte string in its [`Interner`].
pub(crate) type Text = u32;

/// Byte strings in one arena, each with a number in the order of first sight.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    arena: Vec<u8>,
    /// Where each string ends; it begins where the one before ends.
    ends: Vec<u32>,
    table: HashTable<Text>,
    hasher: RandomState,
}

impl Interner {
    /// The string's number; `None` when the arena's 4 GiB are used up.
    pub(crate) fn intern(&mut self, bytes: &[u8]) -> Option<Text> {
        let hash = self.hasher.hash_one(bytes);
        let known = self.table.find(hash, |text| slice(&self.arena, &self.ends, *text) == bytes);
        if let Some(text) = known {
            return Some(*text);
        }
        let end = u32::try_from(self.arena.len() + bytes.len()).ok()?;
        let text = u32::try_from(self.ends.len()).ok()?;
        self.arena.extend_from_slice(bytes);
        self.ends.push(end);
        let Self { arena, ends, table, hasher } = self;
        table.insert_unique(hash, text, |text| hasher.hash_one(slice(arena, ends, *text)));
        Some(text)
    }

    pub(crate) fn get(&self, text: Text) -> &[u8] {
        slice(&self.arena, &self.ends, text)
    }

    /// Bytes of the strings.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Lets go of what only [`Interner::intern`] needs.
    pub(crate) fn seal(&mut self) {
        self.table = HashTable::new();
        self.arena.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

fn slice<'a>(arena: &'a [u8], ends: &[u32], text: Text) -> &'a [u8] {
    let at = text as usize;
    let begin = at.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    let end = ends.get(at).copied().unwrap_or(begin);
    arena.get(begin as usize..end as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_have_one_number_and_others_have_others() {
        let mut interner = Interner::default();
        let strings: Vec<Vec<u8>> = (0..2000u32).map(|n| n.to_string().into_bytes()).collect();
        let first: Vec<Text> = strings.iter().map(|string| interner.intern(string).unwrap()).collect();
        let again: Vec<Text> = strings.iter().map(|string| interner.intern(string).unwrap()).collect();
        assert_eq!(first, again);
        for (string, text) in strings.iter().zip(first) {
            assert_eq!(interner.get(text), string.as_slice());
        }
    }

    #[test]
    fn the_empty_string_and_a_foreign_number_are_empty() {
        let mut interner = Interner::default();
        let empty = interner.intern(b"").unwrap();
        assert_eq!(interner.get(empty), b"");
        assert_eq!(interner.get(77), b"");
    }
}
