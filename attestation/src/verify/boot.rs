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
use std::fmt::Write as _;

const NAME: &str = "boot";
const OPEN: &str = "That what was measured does no harm, that what no policy of the kernel's asked for was not run, and what the \
                    kernel measured into other registers than 10.";
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
            Ok(Found { says, open: None }) => proven(NAME, says.join("; "), OPEN),
            Ok(Found { says, open: Some(open) }) => {
                not_claimed(NAME, None, format!("{}; {open}", says.join("; ")), NOTHING)
            }
            Err(says) => refused(NAME, codes::BOOT_REFUSED, says, NOTHING),
        })
    }

    fn found(&self, registers: &PcrValues) -> Result<Found, String> {
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
        let names_digests = self.policy.is_some_and(|policy| policy.digests.is_some());
        let mut open = self.policy.is_none().then_some("no policy was given that accepts it");
        match self.ima_list {
            Some(list) => {
                let (found, measured) = ima(list, registers, self.policy)?;
                says.push(found);
                if names_digests && measured == 0 {
                    open =
                        Some("the kernel measured nothing there that the digests of the policy could be held against");
                }
            }
            None if names_digests => {
                return Err("the policy names digests, and the kernel's list was not given".to_owned());
            }
            None => {}
        }
        Ok(Found { says, open })
    }
}

/// What holds, and what keeps all of it from being claimed.
struct Found {
    says: Vec<String>,
    open: Option<&'static str>,
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

/// The kernel's list, if a beginning of it leads to its register and holds nothing but what is accepted; with it, how much it has of
/// that register besides the boot's own entry.
fn ima(bytes: &[u8], registers: &PcrValues, policy: Option<&BootPolicy>) -> Result<(String, usize), String> {
    let list = ImaList::read(bytes).map_err(|error| chain(&error))?;
    let value = registers.value(IMA_PCR).ok_or_else(|| format!("register {IMA_PCR} was not quoted"))?;
    let count = list
        .leads_to(value)
        .ok_or_else(|| format!("the kernel's list does not lead to what register {IMA_PCR} holds"))?;
    let quoted = list.entries().get(..count).unwrap_or_default();
    if count > 0 && list.boot_aggregate().is_some() && list.boot_aggregate() != boot_aggregate_of(registers) {
        return Err("the kernel's list begins with another boot aggregate than that of the registers".to_owned());
    }
    // The first entry is the boot's own.
    let own = usize::from(list.boot_aggregate().is_some());
    if let Some(digests) = policy.and_then(|policy| policy.digests.as_deref())
        && let Some(entry) = quoted.iter().skip(own).find(|entry| !accepts(digests, entry))
    {
        let (name, digest) = (escape(entry.name), hex::encode(entry.digest));
        return Err(format!("the policy does not accept {name} with digest {digest}"));
    }
    let of_register = |entry: &&Entry<'_>| entry.pcr == IMA_PCR;
    let held = quoted.iter().filter(of_register).count();
    let violations = quoted.iter().filter(of_register).filter(|entry| entry.violation).count();
    let mut says = format!(
        "the kernel's list of {held} measurements in register {IMA_PCR} leads to it, {violations} of them violations"
    );
    // Nothing bears these out: they may be left out, or made up. One that the policy does not accept is refused all the same.
    let others = count - held;
    if others > 0 {
        let _ = write!(says, ", and what it has of other registers ({others}) is not held against them");
    }
    Ok((says, quoted.iter().skip(own).filter(of_register).count()))
}

/// A file that was written to while it was measured has no digest that could be accepted.
fn accepts(digests: &[Accepted], entry: &Entry<'_>) -> bool {
    let digest = SHA256.contains(&entry.algorithm).then(|| entry.digest.try_into().ok()).flatten();
    !entry.violation && digest.is_some_and(|digest| digests.binary_search(&Accepted(digest)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Hash;
    use crate::tpm::{PCRS, extended};
    use crate::verify::Outcome;
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

    fn registers() -> PcrValues {
        let mut registers = PcrValues::new();
        for pcr in 0..PCRS {
            registers.set(pcr, Hash::default());
        }
        registers
    }

    /// An entry of a kernel's list; the register is extended with it.
    fn entry(registers: &mut PcrValues, pcr: u8, name: &[u8], content: &Hash) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
        let data = [sized(&[b"sha256:\0", content.as_slice()].concat()), sized(&[name, b"\0"].concat())].concat();
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, &data);
        let bytes = [&u32::from(pcr).to_le_bytes(), sha1.as_ref(), sized(b"ima-ng").as_slice(), &sized(&data)].concat();
        let with = ImaList::read(&bytes).unwrap().entries().first().unwrap().extends_with();
        let value = extended(registers.value(pcr).unwrap(), &with);
        registers.set(pcr, value);
        bytes
    }

    fn check(list: &[u8], registers: &PcrValues, digests: Option<&[Hash]>) -> (Outcome, String) {
        let policy = BootPolicy::new(&[boot_aggregate_of(registers).unwrap()], digests);
        let boot = Boot { firmware_log: None, ima_list: Some(list), policy: Some(&policy) };
        let check = boot.check(registers).unwrap();
        (check.outcome, check.says)
    }

    const GOOD: Hash = [1; 32];

    #[test]
    fn digests_that_are_held_against_nothing_are_not_claimed() {
        let mut with_own = registers();
        let aggregate = boot_aggregate_of(&with_own).unwrap();
        let own = entry(&mut with_own, IMA_PCR, b"boot_aggregate", &aggregate);
        // No list, one that is not of this boot, and one of a kernel that no policy told to measure.
        for (list, registers) in [(Vec::new(), registers()), (own.clone(), registers()), (own, with_own)] {
            let (outcome, says) = check(&list, &registers, Some(&[GOOD]));
            assert_eq!(outcome, Outcome::NotClaimed, "{says}");
            assert!(
                says.ends_with(
                    "the kernel measured nothing there that the digests of the policy could be held against"
                )
            );
            // What names no digests claims nothing of them.
            assert_eq!(check(&list, &registers, None).0, Outcome::Proven);
        }
    }

    #[test]
    fn one_measurement_that_is_accepted_is_proven() {
        let mut registers = registers();
        let list = entry(&mut registers, IMA_PCR, b"/bin/true", &GOOD);
        let (outcome, says) = check(&list, &registers, Some(&[GOOD]));
        assert_eq!(outcome, Outcome::Proven, "{says}");
        assert!(says.ends_with("list of 1 measurements in register 10 leads to it, 0 of them violations"), "{says}");
        assert_eq!(check(&list, &registers, Some(&[[2; 32]])).0, Outcome::Refused);
        assert_eq!(check(&list, &registers, Some(&[])).0, Outcome::Refused);
    }

    #[test]
    fn measurements_of_other_registers_are_told_and_prove_nothing() {
        let mut registers = registers();
        let other = entry(&mut registers, 11, b"/bin/true", &GOOD);
        let own = entry(&mut registers, IMA_PCR, b"/bin/false", &GOOD);
        let (outcome, says) = check(&[other.as_slice(), &own].concat(), &registers, Some(&[GOOD]));
        assert_eq!(outcome, Outcome::Proven, "{says}");
        assert!(
            says.contains("list of 1 measurements") && says.contains("of other registers (1) is not held"),
            "{says}"
        );
        // They lead nowhere: left out, nothing differs.
        assert_eq!(check(&own, &registers, Some(&[GOOD])).0, Outcome::Proven);
        // One that is not accepted is refused all the same.
        let bad = entry(&mut registers.clone(), 11, b"/bin/bad", &[2; 32]);
        assert_eq!(check(&[bad.as_slice(), &own].concat(), &registers, Some(&[GOOD])).0, Outcome::Refused);
        // Alone they are nothing that digests are held against.
        let mut alone = self::registers();
        let other = entry(&mut alone, 11, b"/bin/true", &GOOD);
        assert_eq!(check(&other, &alone, Some(&[GOOD])).0, Outcome::NotClaimed);
    }
}
