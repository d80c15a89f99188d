//! The quote beside a statement: `NAME.quote.intoto.jsonl`, signed by whoever signed that. Beside it the logs of what the quoted
//! registers were extended with, where the kernel hands them out.

use std::{
    fs::File,
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
};

use attestation::{
    codes,
    evidence::LogHead,
    merkle::Hash,
    platform::{Head, Quoting},
};

use testimony_verify::platform::BESIDE;

use super::{
    output::{Beside, Output},
    owner::Owner,
    summary,
};
use crate::{
    evidence::Log,
    seal::{Sealing, Stopped},
    session::{self, blind_spot},
    sign::{self, Ready},
};

/// The quote, firmware's log and the kernel's list: what follows the name, and how much a reader takes.
pub(super) const ALL: [(&str, usize); 3] = [BESIDE[0], BESIDE[1], BESIDE[2]];
/// Where the kernel has the logs. The list names files of all users, with their digests: it stays root's own.
const LOGS: [&str; 2] =
    ["/sys/kernel/security/tpm0/binary_bios_measurements", "/sys/kernel/security/ima/binary_runtime_measurements"];

/// Where the quote and the logs are to be.
pub(super) struct Files {
    quote: Beside,
    logs: [Beside; 2],
}

/// Where the logs are beside a quote.
pub(super) fn logs_of(quote: &Path) -> [Option<PathBuf>; 2] {
    let [suffix, firmware, ima] = ALL.map(|(suffix, _)| suffix);
    let name = quote.file_name().and_then(|name| name.to_str()?.strip_suffix(suffix));
    [firmware, ima].map(|suffix| name.map(|name| quote.with_file_name(format!("{name}{suffix}"))))
}

impl Files {
    /// Claims them.
    pub(super) fn claim(output: &Output) -> anyhow::Result<Self> {
        let [quote, firmware, ima] = ALL.map(|(suffix, _)| suffix);
        Ok(Self { quote: output.beside(quote)?, logs: [output.beside(firmware)?, output.beside(ima)?] })
    }
}

/// Ends sealing beside the command. What could not be sealed is said in the log.
pub(super) fn stop(
    sealing: Option<(Sealing, Files)>,
    log: &mut Log,
) -> Result<Option<(Stopped, Files)>, session::Error> {
    let Some((sealing, files)) = sealing else { return Ok(None) };
    let stopped = sealing.stop();
    if let Some(error) = stopped.as_ref().map_or_else(Some, Stopped::failed) {
        let why = sign::chain_of(error);
        summary::warn(&format!("heads of the log were not sealed: {why}"));
        log.append(blind_spot(codes::NOT_SEALED, &why, false))?;
    }
    Ok(stopped.ok().map(|stopped| (stopped, files)))
}

/// Has the TPM quote, and writes that. A statement without a quote is better than none.
pub(super) fn write(
    sealing: Stopped,
    files: Files,
    head: &LogHead,
    payload_sha256: &Hash,
    ready: &Ready,
    owner: &Owner,
) -> Option<PathBuf> {
    let log = Head { tree_size: head.tree_size, root: head.root };
    let signers = ready.public_keys().iter().map(|key| key.keyid().to_owned()).collect();
    let quoted = sealing.quote(log, payload_sha256, signers, ready.certified_key());
    let written = quoted
        .map_err(anyhow::Error::from)
        .and_then(|quoting| files.quote.write(owner, |out| sign_quote(&quoting, payload_sha256, ready, out)));
    if written.is_ok() {
        // After the quote: what was measured since then is more than what was quoted.
        let limits = ALL.into_iter().skip(1).map(|(_, bytes_max)| bytes_max);
        let owners = [owner, &Owner::Caller];
        let logs = LOGS.into_iter().zip(limits).zip(files.logs).zip(owners);
        logs.for_each(|((log, beside), owner)| copy(log, beside, owner));
    }
    written.inspect_err(|error| summary::warn(&format!("there is no quote of the TPM: {error:#}"))).ok()
}

/// A log, if there is one. Without it nothing can be said of the boot, and everything else of the machine.
fn copy((path, bytes_max): (&str, usize), beside: Beside, owner: &Owner) {
    let log = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        opened => opened,
    };
    let copied = log
        .map_err(anyhow::Error::from)
        .and_then(|log| beside.write(owner, |out| Ok(io::copy(&mut log.take(bytes_max as u64), out).map(drop)?)));
    if let Err(error) = copied {
        summary::warn(&format!("{path} was not kept: {error:#}"));
    }
}

fn sign_quote(quoting: &Quoting, payload_sha256: &Hash, ready: &Ready, out: &mut dyn Write) -> anyhow::Result<()> {
    let (_, says) = ready.write(out, |out| quoting.write(payload_sha256, out))?;
    says.iter().for_each(|says| summary::warn(says));
    Ok(())
}
