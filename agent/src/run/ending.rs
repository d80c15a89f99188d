//! The end of a run whose log is whole: its statement is signed, or waits for whoever is to sign it.

use std::path::PathBuf;

use anyhow::Context as _;
use attestation::{evidence::LogHead, statement::Unsigned, trace::Trace};
use spool::ITEM_BYTES_MAX;

use super::{Args, Owner, bundle, output, quote, spooling::Spooling, summary};
use crate::{
    chain::Chain,
    daemon::Settings,
    evidence::Hold,
    keyless::Keyless,
    seal::Stopped,
    sign::{self, Ready, Signers},
    waiting::Record,
};

/// What became of a run.
pub(super) enum Outcome {
    /// There is a statement.
    Signed(output::Signed),
    /// There will be one.
    Waits(Waits),
}

/// A statement that waits for its signer.
pub(super) struct Waits {
    pub(super) statement: PathBuf,
    pub(super) evidence: PathBuf,
    /// Among those that wait.
    pub(super) number: u64,
    pub(super) names: Vec<String>,
    pub(super) why: String,
}

/// What is needed when the log is whole.
pub(super) struct Ending {
    pub(super) output: output::Output,
    pub(super) owner: Owner,
    pub(super) signers: Signers,
    pub(super) chain: Option<Chain>,
    pub(super) keyless: Option<(Keyless, output::Beside)>,
    pub(super) sealing: Option<(Stopped, quote::Files)>,
    pub(super) spooling: Option<Spooling>,
}

/// Who is to sign. Where nobody can now, the command is run only if its statement may wait.
pub(super) fn signers(
    args: &Args,
    settings: Option<&Settings>,
    spooling: Option<&mut Spooling>,
) -> anyhow::Result<Signers> {
    let Some((settings, spooling)) = settings.zip(spooling).filter(|(_, spooling)| spooling.may_wait()) else {
        return Ok(settings.map_or_else(|| args.signers.open(), |settings| args.signers.or(&settings.sign).open())?);
    };
    let (signers, away) = args.signers.or(&settings.sign).open_patiently()?;
    if let Some(away) = away {
        let why = sign::chain_of(&away);
        spooling.has_place().with_context(|| why.clone())?;
        summary::warn(&format!("nobody can sign now, and the statement will wait unless that changes: {why}"));
    }
    Ok(signers)
}

impl Ending {
    /// Writes and signs the statement, and all that belongs to it.
    pub(super) fn sign(
        self,
        (head, trace, held): (LogHead, Trace, Hold),
        ready: &Ready,
        clock: &mut summary::Timings,
    ) -> anyhow::Result<output::Signed> {
        let mut meta = ready.meta();
        let link = self.chain.and_then(|chain| {
            let link = chain.next(&trace.opened().host_id, &meta.signer, &trace.opened().boot_id);
            // A statement without a number is better than none.
            link.inspect_err(|error| summary::warn(&format!("the statement has no number: {error}"))).ok()
        });
        if let Some(link) = &link {
            (meta.number, meta.previous) = (Some(link.number), link.previous);
        }
        let mut signed = self.output.sign(&trace, (&head, &meta), ready, &self.owner, link)?;
        clock.lap("sign");
        if let Some((keyless, beside)) = self.keyless {
            signed.bundle = bundle::write(&keyless, beside, &signed.file, &self.owner);
            clock.lap("keyless");
        }
        if let Some((sealing, files)) = self.sealing {
            signed.quote = quote::write(sealing, files, &head, &signed.payload_sha256, ready, &self.owner);
        }
        clock.lap("seal and quote");
        if let Some(spooling) = self.spooling {
            signed.spooled = spooling.put(&signed);
            clock.lap("spool");
        }
        if let Err(error) = ready.keep_bundles() {
            summary::warn(&format!("the trust bundle was not kept: {error}"));
        }
        signed.new_keys = self.signers.new_keys();
        held.give(|path| self.owner.give(path))?;
        Ok(signed)
    }

    /// Has it wait, where there is an agent that signs it later.
    pub(super) fn wait(
        mut self,
        (head, trace, held): (LogHead, Trace, Hold),
        error: sign::Error,
    ) -> anyhow::Result<Waits> {
        let Some(mut spooling) = self.spooling.take().filter(Spooling::may_wait) else { return Err(error.into()) };
        let sign::Error::Unable(away) = error else { return Err(error.into()) };
        if self.keyless.is_some() {
            summary::warn("there will be no keyless signature: the statement is signed later");
        }
        let waits = wait(
            &mut spooling,
            (&self.signers, &away),
            (&self.output, &self.owner),
            self.chain.as_ref(),
            (&head, &trace),
        )?;
        // From here on nothing is lost: the payload waits elsewhere.
        held.give(|path| self.owner.give(path))?;
        Ok(waits)
    }
}

/// Has the statement of one of the agent's own sessions wait. What is to be said of it.
pub(crate) fn wait_instead(
    error: sign::Error,
    spooling: Option<Spooling>,
    (signers, output): (&Signers, &output::Output),
    chain: Option<&Chain>,
    log: (&LogHead, &Trace),
) -> anyhow::Error {
    let Some(mut spooling) = spooling.filter(Spooling::may_wait) else { return error.into() };
    let sign::Error::Unable(away) = error else { return error.into() };
    let waits = wait(&mut spooling, (signers, &away), (output, &Owner::Caller), chain, log);
    waits.map_or_else(|error| error, |waits| anyhow::anyhow!("{}", waits.says()))
}

/// Puts what is to be signed where it waits.
fn wait(
    spooling: &mut Spooling,
    (signers, away): (&Signers, &sign::Unable),
    (output, owner): (&output::Output, &Owner),
    chain: Option<&Chain>,
    (head, trace): (&LogHead, &Trace),
) -> anyhow::Result<Waits> {
    let why = sign::chain_of(away);
    let awaited = signers.awaited()?;
    let (place, evidence) = output.place()?;
    let opened = trace.opened();
    let mut record = Record::new(place, awaited.clone(), [&opened.host_id, &opened.boot_id]);
    if let Owner::Invoker { uid, gid, .. } = owner {
        record.owner = Some((*uid, *gid));
    }
    record.chain = chain.map(Chain::folder).transpose()?;
    let bytes_max = usize::try_from(ITEM_BYTES_MAX).unwrap_or(usize::MAX);
    let waits = Unsigned::new(trace, head, bytes_max)
        .map_err(anyhow::Error::from)
        .and_then(|unsigned| spooling.wait(record, &unsigned, &evidence));
    let number = waits.with_context(|| format!("{why}; nor can it wait: `testimony recover` signs it"))?;
    output.abandon();
    Ok(Waits { statement: output.statement(), evidence: output.evidence(), number, names: awaited.names(), why })
}

impl Waits {
    /// Says it on standard error.
    pub(super) fn report(&self, json: bool, status: u8) {
        let Self { statement, evidence, number, names, why } = self;
        if json {
            // Nothing is at `statement` yet: who takes it for one finds no file.
            let [statement, evidence] = [statement, evidence].map(|path| path.to_string_lossy());
            let waits = serde_json::json!({ "statement": statement, "number": number, "signers": names, "why": why });
            eprintln!(
                "{}",
                serde_json::json!({ "commandStatus": status, "statement": null, "evidence": evidence, "waits": waits })
            );
            return;
        }
        summary::warn(&format!("the command ended with {status}; {}", self.says()));
    }

    /// For people.
    fn says(&self) -> String {
        let Self { statement, number, names, why, .. } = self;
        format!(
            "{} is not signed yet: it waits, as number {number}, for {}, and `testimony agent` signs it then: {why}",
            statement.display(),
            names.join(" and ")
        )
    }
}
