//! A signed statement, as far as the demo and the benchmark count in it. What it says is verified by `testimony verify`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The payload of an envelope.
pub(crate) struct Statement {
    payload: Value,
}

/// An entry of the statement's list of files.
pub(crate) struct FileEntry<'a> {
    pub(crate) path: &'a str,
    pub(crate) class: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) size_bytes: u64,
    pub(crate) read: bool,
    pub(crate) written: bool,
    pub(crate) executed: bool,
    /// What tells a version of a file from every other.
    pub(crate) version: [&'a str; 3],
}

impl Statement {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let envelope: Value = serde_json::from_str(&text)?;
        let payload = STANDARD.decode(envelope["payload"].as_str().context("the envelope has no payload")?)?;
        Ok(Statement { payload: serde_json::from_slice(&payload)? })
    }

    #[cfg(test)]
    pub(super) fn of(payload: Value) -> Self {
        Statement { payload }
    }

    pub(crate) fn complete(&self) -> bool {
        self.payload["predicate"]["testimony"]["complete"] == true
    }

    pub(crate) fn lossless(&self) -> bool {
        self.payload["predicate"]["testimony"]["lossless"] == true
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = FileEntry<'_>> {
        list(&self.payload["predicate"]["monitorLog"]["fileAccess"]).map(FileEntry::of)
    }

    /// Rows of the coverage: one for each hook.
    pub(crate) fn coverage(&self) -> impl Iterator<Item = &Value> {
        list(&self.payload["predicate"]["testimony"]["coverage"])
    }

    /// Processes and paths, in words.
    pub(super) fn summary(&self) -> String {
        let programs = list(&self.payload["predicate"]["monitorLog"]["process"]);
        let processes: BTreeSet<u64> = programs.filter_map(|program| program["id"].as_u64()).collect();
        let paths: BTreeSet<&str> = self.files().map(|file| file.path).collect();
        format!("{} processes and {} files", processes.len(), paths.len())
    }
}

impl<'a> FileEntry<'a> {
    fn of(entry: &'a Value) -> Self {
        let text = |name: &str| entry["annotations"][name].as_str().unwrap_or_default();
        let accessed = |how: &str| text("access").split('+').any(|word| word == how);
        FileEntry {
            path: entry["name"].as_str().unwrap_or_default(),
            class: text("class"),
            reason: text("reason"),
            size_bytes: entry["annotations"]["size"].as_u64().unwrap_or_default(),
            read: accessed("read"),
            written: accessed("write"),
            executed: accessed("exec"),
            version: [text("dev"), text("ino"), text("ctime")],
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
