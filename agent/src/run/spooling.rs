//! The statement's way into the node's spool, and what it says of those before it that were dropped there.

use std::{
    fs::File,
    io::Seek as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use attestation::{codes, hex, statement::Unsigned, time};
use collector_api::Submission;
use sha2::{Digest as _, Sha256};
use spool::{Counts, Dropped, Item, Kind, Spool};

use super::{output::Signed, quote, summary};
use crate::{
    daemon::{self, Settings},
    evidence::Log,
    session::{self, blind_spot},
    submission,
    waiting::{Record, Said},
};

/// Before the counts of those that nobody could sign and that had no room to wait.
const WAITING: &str = "not signed: ";

/// The spool of a run, and where its statement waits if nobody can sign it.
pub(crate) struct Spooling {
    settings: Settings,
    spool: Spool,
    /// Where it is there already.
    waiting: Option<Spool>,
    /// What the statement says of what was dropped: from the spool, and for want of room to wait.
    said: [Option<Dropped>; 2],
}

impl Spooling {
    /// Opens the spool that the agent's configuration names.
    ///
    /// # Errors
    /// If it cannot be used: that is known before the command starts.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let spool = settings.spool.open()?;
        let waiting = settings.waiting_folder().exists().then(|| settings.open_waiting()).transpose()?;
        Ok(Self { settings: settings.clone(), spool, waiting, said: [None, None] })
    }

    /// Has the log say what was dropped since the last statement that said so.
    pub(crate) fn tell(&mut self, log: &mut Log) -> Result<(), session::Error> {
        let queues = [Some((&self.spool, "")), self.waiting.as_ref().map(|waiting| (waiting, WAITING))];
        for ((queue, what), said) in
            queues.into_iter().zip(&mut self.said).filter_map(|(queue, said)| Some((queue?, said)))
        {
            match queue.dropped() {
                Ok(dropped) if dropped.counts.sum() == 0 => {}
                Ok(dropped) => {
                    let detail = format!("{what}{}", detail(&dropped));
                    log.append(blind_spot(codes::STATEMENTS_DROPPED, &detail, false))?;
                    *said = Some(dropped);
                }
                Err(error) => {
                    let why = crate::sign::chain_of(&error);
                    summary::warn(&format!("what was dropped from the spool is not known: {why}"));
                    log.append(blind_spot(codes::STATEMENTS_DROPPED, &format!("not known: {why}"), false))?;
                }
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
        let of = (signed.statement.as_path(), signed.payload_sha256);
        let [said, said_waiting] = &self.said;
        let number = submission::put(&mut self.spool, of, submission_of(signed)?, said.as_ref(), summary::warn)?;
        if let Some((waiting, said)) = self.waiting.as_mut().zip(said_waiting.as_ref()) {
            waiting.settle(said)?;
        }
        Ok(number)
    }

    /// Whether a statement may wait for its signer.
    pub(super) fn may_wait(&self) -> bool {
        self.settings.waiting.runs_max > 0
    }

    /// Whether one more has a place to, as far as that is known before it is there.
    pub(super) fn has_place(&mut self) -> anyhow::Result<()> {
        let waits = self.waiting()?.state()?.waiting;
        let runs_max = self.settings.waiting.runs_max;
        anyhow::ensure!(waits < runs_max, "{waits} wait for their signer already, as many as may ([waiting] runs_max)");
        Ok(())
    }

    /// Has it wait; its number among those that do.
    pub(super) fn wait(&mut self, mut record: Record, unsigned: &Unsigned, evidence: &Path) -> anyhow::Result<u64> {
        record.said = self.said.each_ref().map(|said| said.as_ref().map(Said::from));
        let (envelope, now_s) = (record.encode(unsigned)?, daemon::now_s());
        let item = Item {
            kind: Kind::Statement,
            name: "",
            sha256: Sha256::digest(unsigned.payload()).into(),
            envelope: &envelope,
            evidence: Some(evidence),
            made_s: now_s,
        };
        Ok(self.waiting()?.put(&item, now_s)?)
    }

    fn waiting(&mut self) -> Result<&mut Spool, spool::Error> {
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => self.settings.open_waiting()?,
        };
        Ok(self.waiting.insert(waiting))
    }
}

/// Statement, quote, logs and bundle, as a collector takes them.
fn submission_of(signed: &Signed) -> anyhow::Result<Submission> {
    let mut file = &signed.file;
    file.rewind()?;
    let envelope = submission::all(file).context("the statement cannot be read again")?;
    let beside = |path: &PathBuf| submission::all(&File::open(path)?).with_context(|| path.display().to_string());
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
