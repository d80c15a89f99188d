//! Forgeries: copies of the outputs with one byte changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The exit status of a refusal.
pub(super) const REFUSED: i32 = 1;

pub(super) const ALL: [Forgery; 2] = [
    Forgery { what: "statement", folder: "forged-statement", change: change_statement },
    Forgery { what: "evidence", folder: "forged-evidence", change: change_segment },
];

/// A change, and the folder below the demo's where the copy stands.
pub(super) struct Forgery {
    pub(super) what: &'static str,
    folder: &'static str,
    change: fn(&Path) -> Result<()>,
}

impl Forgery {
    /// Copies statement and evidence, and changes the copy; its statement.
    pub(super) fn make(&self, from: &Path) -> Result<PathBuf> {
        let to = from.join(self.folder);
        let evidence = to.join("build.evidence");
        fs::create_dir_all(&evidence)?;
        let statement = to.join("build.intoto.jsonl");
        fs::copy(from.join("build.intoto.jsonl"), &statement)?;
        for entry in fs::read_dir(from.join("build.evidence"))? {
            let entry = entry?;
            fs::copy(entry.path(), evidence.join(entry.file_name()))?;
        }
        (self.change)(&to)?;
        Ok(statement)
    }
}

/// A character in the middle of the encoded payload becomes another: the text stays whole, what it says does not.
fn change_statement(dir: &Path) -> Result<()> {
    change(&dir.join("build.intoto.jsonl"), |byte| if byte == b'A' { b'B' } else { b'A' })
}

/// A bit in the middle of a segment of the log.
fn change_segment(dir: &Path) -> Result<()> {
    let mut entries = fs::read_dir(dir.join("build.evidence"))?;
    let segment = entries.next().context("the evidence has no segment")??;
    change(&segment.path(), |byte| byte ^ 1)
}

/// Changes the byte in the middle.
fn change(file: &Path, to: impl Fn(u8) -> u8) -> Result<()> {
    let mut bytes = fs::read(file)?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).with_context(|| format!("{} is empty", file.display()))?;
    *byte = to(*byte);
    fs::write(file, bytes)?;
    println!("byte {middle} of {}", file.display());
    Ok(())
}
