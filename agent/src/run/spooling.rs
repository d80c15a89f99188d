//! The statement's way into the node's spool, and what it says of those before it that were dropped there.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use attestation::{codes, time};
use prost::Message as _;
use proto::collector::Submission;
use spool::{Dropped, ITEM_BYTES_MAX, Item, Spool};

use super::{output::Signed, quote, summary};
use crate::{
    evidence::Log,
    session::{self, blind_spot},
};

/// The spool of a run.
pub(super) struct Spooling {
    spool: Spool,
    /// What the statement says.
    said: Dropped,
}

impl Spooling {
    /// Opens the spool of a folder.
    ///
    /// # Errors
    /// If it cannot be used: that is known before the command starts.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let spool = Spool::open(folder, None).with_context(|| format!("--spool {}", folder.display()))?;
        Ok(Self { spool, said: Dropped::default() })
    }

    /// Has the log say what was dropped since the last statement that said so.
    pub(super) fn tell(&mut self, log: &mut Log) -> Result<(), session::Error> {
        match self.spool.dropped() {
            Ok(dropped) if dropped.is_none() => {}
            Ok(dropped) => {
                log.append(blind_spot(codes::STATEMENTS_DROPPED, &detail(&dropped), false))?;
                self.said = dropped;
            }
            Err(error) => {
                let why = crate::sign::chain_of(&error);
                summary::warn(&format!("what was dropped from the spool is not known: {why}"));
                log.append(blind_spot(codes::STATEMENTS_DROPPED, &format!("not known: {why}"), false))?;
            }
        }
        Ok(())
    }

    /// Puts the statement, with what stands beside it. Its file is there whatever comes of this.
    pub(super) fn put(mut self, signed: &Signed) -> Option<u64> {
        // First: the statement says it, wherever it goes.
        if !self.said.is_none()
            && let Err(error) = self.spool.settle(&self.said, &signed.payload_sha256)
        {
            summary::warn(&format!("the next statement says once more what was dropped: {error}"));
        }
        let put = self.try_to(signed);
        put.inspect_err(|error| summary::warn(&format!("the statement was not put into the spool: {error:#}"))).ok()
    }

    fn try_to(&mut self, signed: &Signed) -> anyhow::Result<u64> {
        let name = signed.statement.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let content = submission(signed)?.encode_to_vec();
        Ok(self.spool.put(&Item { name, payload_sha256: signed.payload_sha256, content })?)
    }
}

/// Statement, quote, logs and bundle, as a collector takes them.
fn submission(signed: &Signed) -> anyhow::Result<Submission> {
    let mut file = &signed.file;
    file.rewind()?;
    let envelope = all(file).context("the statement cannot be read again")?;
    let beside = |path: &PathBuf| all(&File::open(path)?).with_context(|| path.display().to_string());
    let [quote, firmware_log, ima_list] = match &signed.quote {
        None => [const { Vec::new() }; 3],
        Some(path) => {
            let logs = quote::logs_of(path).map(|log| log.filter(|log| log.exists()));
            let [firmware, ima] = logs.map(|log| log.as_ref().map_or(Ok(Vec::new()), beside));
            [beside(path)?, firmware?, ima?]
        }
    };
    let bundle = signed.bundle.as_ref().map_or(Ok(Vec::new()), beside)?;
    Ok(Submission { number: 0, envelope, quote, bundle, firmware_log, ima_list })
}

/// One byte more than is taken, so that what is too large is told.
fn all(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(ITEM_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn detail(dropped: &Dropped) -> String {
    let reasons =
        [(dropped.full, "for want of room"), (dropped.old, "for their age"), (dropped.refused, "after a refusal")];
    let reasons = reasons.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}"));
    let span = dropped.span_s.map(|(from, to)| format!(", from {} to {}", time::utc(from), time::utc(to)));
    format!("{}{}", reasons.collect::<Vec<_>>().join(", "), span.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_told_by_reason_and_time() {
        let dropped = Dropped { full: 2, old: 0, refused: 1, span_s: Some((0, 86_400)) };
        let told = "2 for want of room, 1 after a refusal, from 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z";
        assert_eq!(detail(&dropped), told);
    }
}
