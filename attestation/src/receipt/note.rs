//! Signed notes: text, and lines with signatures below it. Here the text is a checkpoint: origin, size and root of a tree.

use super::{decimal, hash};
use crate::merkle::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Signatures of a note at most.
const SIGNATURES_MAX: usize = 64;

/// A note that could be read.
#[derive(Debug, Clone)]
pub(super) struct Note {
    text: String,
    signatures: Vec<(String, Vec<u8>)>,
}

impl Note {
    pub(super) fn read(note: &str) -> Option<Self> {
        let (text, lines) = note.split_once("\n\n")?;
        let lines = lines.strip_suffix('\n')?;
        if lines.is_empty() || note.chars().any(|character| character.is_control() && character != '\n') {
            return None;
        }
        let signatures: Vec<_> = lines.split('\n').map(signature).collect::<Option<_>>()?;
        (signatures.len() <= SIGNATURES_MAX).then(|| Self { text: format!("{text}\n"), signatures })
    }

    /// What is signed, with its last line end.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Names, and what stands beside them: four bytes of the key's id, and the signature.
    pub(super) fn signatures(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.signatures.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// The log that the checkpoint is of.
    pub(super) fn origin(&self) -> &str {
        self.text.split('\n').next().unwrap_or_default()
    }

    /// Size and root of its tree. Lines that follow are extensions, which say nothing here.
    pub(super) fn tree(&self) -> Option<(u64, Hash)> {
        let mut lines = self.text.split('\n').skip(1);
        Some((decimal(lines.next()?)?, hash(lines.next()?)?))
    }
}

fn signature(line: &str) -> Option<(String, Vec<u8>)> {
    let (name, bytes) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    if name.is_empty() {
        return None;
    }
    Some((name.to_owned(), STANDARD.decode(bytes).ok()?))
}
