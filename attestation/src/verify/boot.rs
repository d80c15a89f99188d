//! The check `boot`: what firmware and kernel measured, by logs that lead to the quoted registers.

use super::Check;
use super::checks::{chain, not_claimed, proven, refused};
use crate::codes;
use crate::escape::escape;
use crate::hex;
use crate::platform::{Accepted, Boot, BootPolicy};
use crate::tpm::PcrValues;
use crate::tpm::event_log::EventLog;
use crate::tpm::ima::{BOOT_AGGREGATE_PCRS, Entry, IMA_PCR, ImaList, boot_aggregate_of};

const NAME: &str = "boot";
const OPEN: &str =
    "That what was measured does no harm, and that what no policy of the kernel's asked for was not run.";
const NOTHING: &str = "What the machine booted, and what it ran.";
/// Digests of this algorithm alone are compared.
const SHA256: [&[u8]; 2] = [b"sha256", b"ima:sha256"];

impl Boot<'_> {
    /// The check, given registers that were quoted.
    pub(super) fn check(&self, registers: &PcrValues) -> Option<Check> {
        if self.firmware_log.is_none() && self.ima_list.is_none() && self.policy.is_none() {
            return None;
        }
        Some(match self.found(registers) {
            Ok(says) if self.policy.is_some() => proven(NAME, says.join("; "), OPEN),
            Ok(says) => {
                let says = format!("{}; no policy was given that accepts it", says.join("; "));
                not_claimed(NAME, None, says, NOTHING)
            }
            Err(says) => refused(NAME, codes::BOOT_REFUSED, says, NOTHING),
        })
    }

    fn found(&self, registers: &PcrValues) -> Result<Vec<String>, String> {
        let aggregate = boot_aggregate_of(registers).ok_or("not all registers of the boot were quoted")?;
        let mut says = vec![format!("boot aggregate {}", hex::encode(&aggregate))];
        if let Some(policy) = self.policy {
            if policy.boot_aggregates.binary_search(&Accepted(aggregate)).is_err() {
                return Err(format!("the policy does not accept boot aggregate {}", hex::encode(&aggregate)));
            }
            says.push("accepted".to_owned());
        }
        if let Some(log) = self.firmware_log {
            says.push(firmware(log, registers)?);
        }
        match self.ima_list {
            Some(list) => says.push(ima(list, registers, self.policy)?),
            None if self.policy.is_some_and(|policy| policy.digests.is_some()) => {
                return Err("the policy names digests, and the kernel's list was not given".to_owned());
            }
            None => {}
        }
        Ok(says)
    }
}

/// Firmware's log, if it leads to the registers of the boot.
fn firmware(bytes: &[u8], registers: &PcrValues) -> Result<String, String> {
    let log = EventLog::read(bytes).map_err(|error| chain(&error))?;
    let replayed = log.replay().map_err(|error| chain(&error))?;
    for pcr in BOOT_AGGREGATE_PCRS {
        // The kernel extends no register of these, but for 8 and 9, which are boot loaders', and they log what they do.
        let value = replayed.value(pcr).copied().unwrap_or_default();
        if registers.value(pcr) != Some(&value) {
            return Err(format!("firmware's log does not lead to what register {pcr} holds"));
        }
    }
    Ok(format!("firmware's log of {} events leads to the registers", log.events().len()))
}

/// The kernel's list, if a beginning of it leads to its register and holds nothing but what is accepted.
fn ima(bytes: &[u8], registers: &PcrValues, policy: Option<&BootPolicy>) -> Result<String, String> {
    let list = ImaList::read(bytes).map_err(|error| chain(&error))?;
    let value = registers.value(IMA_PCR).ok_or_else(|| format!("register {IMA_PCR} was not quoted"))?;
    let count = list
        .leads_to(value)
        .ok_or_else(|| format!("the kernel's list does not lead to what register {IMA_PCR} holds"))?;
    let quoted = list.entries().get(..count).unwrap_or_default();
    if count > 0 && list.boot_aggregate().is_some() && list.boot_aggregate() != boot_aggregate_of(registers) {
        return Err("the kernel's list begins with another boot aggregate than that of the registers".to_owned());
    }
    let violations = quoted.iter().filter(|entry| entry.violation).count();
    // The first entry is the boot's own.
    let own = usize::from(list.boot_aggregate().is_some());
    if let Some(digests) = policy.and_then(|policy| policy.digests.as_deref())
        && let Some(entry) = quoted.iter().skip(own).find(|entry| !accepts(digests, entry))
    {
        let (name, digest) = (escape(entry.name), hex::encode(entry.digest));
        return Err(format!("the policy does not accept {name} with digest {digest}"));
    }
    Ok(format!("the kernel's list of {count} measurements leads to its register, {violations} of them violations"))
}

/// A file that was written to while it was measured has no digest that could be accepted.
fn accepts(digests: &[Accepted], entry: &Entry<'_>) -> bool {
    let digest = SHA256.contains(&entry.algorithm).then(|| entry.digest.try_into().ok()).flatten();
    !entry.violation && digest.is_some_and(|digest| digests.binary_search(&Accepted(digest)).is_ok())
}
