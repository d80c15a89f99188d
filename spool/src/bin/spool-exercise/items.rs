//! Items that follow from two numbers, so that whoever reads one knows whether it was put.

use sha2::{Digest, Sha256};
use spool::{Held, Item, Kind};

/// An item of a writer.
pub struct Made {
    kind: Kind,
    name: String,
    sha256: [u8; 32],
    envelope: Vec<u8>,
    made_s: u64,
}

impl Made {
    /// The item of this number of this writer. Most are small, some go over many pages.
    pub fn of(writer: u64, number: u64) -> Self {
        let name = format!("{writer}-{number}");
        let sha256: [u8; 32] = Sha256::digest(name.as_bytes()).into();
        let scale = if number.is_multiple_of(8) { 40_000 } else { 3_000 };
        let bytes = usize::from(u16::from_be_bytes([sha256[0], sha256[1]])) % scale;
        let kind = Kind::ALL[usize::from(sha256[2] % 4)];
        let envelope = sha256.iter().copied().cycle().take(bytes).collect();
        Self { kind, name, sha256, envelope, made_s: 1_700_000_000 + number }
    }

    pub fn item(&self) -> Item<'_> {
        let Self { kind, name, sha256, envelope, made_s } = self;
        Item { kind: *kind, name, sha256: *sha256, envelope, evidence: None, made_s: *made_s }
    }
}

/// Writer and number of an item, if it is one that could have been put.
pub fn origin(held: &Held) -> Option<(u64, u64)> {
    let (writer, number) = held.name.split_once('-')?;
    let (writer, number) = (writer.parse().ok()?, number.parse().ok()?);
    let made = Made::of(writer, number);
    let Item { kind, name, sha256, envelope, made_s, .. } = made.item();
    let same = (held.kind, &held.name[..], held.sha256, &held.envelope[..], held.made_s, &held.evidence)
        == (kind, name, sha256, envelope, made_s, &None);
    same.then_some((writer, number))
}
