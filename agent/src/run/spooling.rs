//! The statement's way into the node's spool, and what it says of those before it that were dropped there.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    path::PathBuf,
};

use anyhow::Context as _;
use attestation::{codes, hex, time};
use collector_api::Submission;
use prost::Message as _;
use spool::{Counts, Dropped, ITEM_BYTES_MAX, Item, Kind, Spool};

use super::{output::Signed, quote, summary};
use crate::{
    daemon::{self, SpoolSettings},
    evidence::Log,
    session::{self, blind_spot},
};

/// Characters of a statement's name that are kept, of four bytes at most.
const NAME_CHARS_MAX: usize = spool::NAME_BYTES_MAX / 4;

/// The spool of a run.
pub(crate) struct Spooling {
    spool: Spool,
    /// What the statement says.
    said: Option<Dropped>,
}

impl Spooling {
    /// Opens the spool that the agent's configuration names.
    ///
    /// # Errors
    /// If it cannot be used: that is known before the command starts.
    pub(crate) fn open(settings: &SpoolSettings) -> anyhow::Result<Self> {
        Ok(Self { spool: settings.open()?, said: None })
    }

    /// Has the log say what was dropped since the last statement that said so.
    pub(crate) fn tell(&mut self, log: &mut Log) -> Result<(), session::Error> {
        match self.spool.dropped() {
            Ok(dropped) if dropped.counts.sum() == 0 => {}
            Ok(dropped) => {
                log.append(blind_spot(codes::STATEMENTS_DROPPED, &detail(&dropped), false))?;
                self.said = Some(dropped);
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
    pub(crate) fn put(mut self, signed: &Signed) -> Option<u64> {
        let put = self.try_to(signed);
        put.inspect_err(|error| summary::warn(&format!("the statement was not put into the spool: {error:#}"))).ok()
    }

    fn try_to(&mut self, signed: &Signed) -> anyhow::Result<u64> {
        let name = signed.statement.file_name().unwrap_or_default().to_string_lossy();
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let (envelope, now_s) = (submission(signed)?.encode_to_vec(), daemon::now_s());
        let item = Item {
            kind: Kind::Statement,
            name: &name,
            sha256: signed.payload_sha256,
            envelope: &envelope,
            evidence: None,
            made_s: now_s,
        };
        // What it says of those before it and that it waits itself come to be in one: said neither twice nor by nobody.
        Ok(match &self.said {
            Some(said) => self.spool.put_saying(&item, said, now_s)?,
            None => self.spool.put(&item, now_s)?,
        })
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
    file.take(ITEM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// By reason, with totals of the spool: whoever has all statements sees whether two of them say the same.
fn detail(dropped: &Dropped) -> String {
    let Counts { full, old, refused } = dropped.counts;
    let reasons = [(full, "for want of room"), (old, "for their age"), (refused, "after a refusal")];
    let reasons = reasons.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}"));
    let span = dropped.first_s.zip(dropped.last_s);
    let span = span.map(|(from, to)| format!(", from {} to {}", time::utc(from), time::utc(to)));
    let (spool, until) = (hex::encode(&dropped.spool), dropped.until.sum());
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    format!("{reasons}{}; {until} of spool {spool} ever", span.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_told_by_reason_and_time() {
        let (counts, until) = (Counts { full: 2, old: 0, refused: 1 }, Counts { full: 3, old: 4, refused: 1 });
        let dropped = Dropped { spool: [7; 16], counts, until, first_s: Some(0), last_s: Some(86_400) };
        let told =
            "2 for want of room, 1 after a refusal, from 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z; 8 of spool ";
        assert_eq!(detail(&dropped), format!("{told}{} ever", "07".repeat(16)));
    }
}
