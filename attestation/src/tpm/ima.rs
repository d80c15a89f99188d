//! The kernel's list of what it measured (IMA), replayed to the register that it extended with it.
//!
//! The list says what it likes: only where its replay is what a quote holds is it the list of that boot, up to the
//! quote. What it shows then is which content was measured under which name, and that some file was written to while it
//! was being measured (a *violation*). The register is extended with a constant for that: *which* file it was, nothing
//! bears out. What the policy did not ask for is not in the list.
//!
//! The binary form is read (`binary_runtime_measurements`, little-endian), with the templates `ima-ng`, `ima-sig`,
//! `ima-buf`, `ima-ngv2` and `ima-sigv2`. The list itself has SHA-1 values; the bank of SHA-256 is extended with
//! SHA-256 over the same template data, since Linux 5.8, and the SHA-1 values are compared only to find damage.
//!
//! Source: Linux, security/integrity/ima (ima_fs.c, ima_template_lib.c, ima_queue.c, ima_crypto.c).

use super::registers::{PCRS, PcrValues};
use crate::merkle::Hash;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Bytes of a list at most.
pub const IMA_LIST_BYTES_MAX: usize = 256 << 20;
/// Entries of a list at most: what is kept of one is longer than the shortest entry.
pub const IMA_ENTRIES_MAX: usize = 1 << 20;
/// Bytes of one entry's template data at most.
pub const IMA_DATA_BYTES_MAX: u32 = 1 << 20;
/// The register, unless a policy names another.
pub const IMA_PCR: u8 = 10;
/// The registers that the first entry's digest is over.
pub const BOOT_AGGREGATE_PCRS: std::ops::RangeInclusive<u8> = 0..=9;
/// The first entry's name.
const BOOT_AGGREGATE: &[u8] = b"boot_aggregate";

const SHA1_BYTES: usize = 20;
const NAME_BYTES_MAX: u32 = 16;

/// Why a list cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ImaError {
    /// It is too long.
    #[error("the list is over the limit of {IMA_LIST_BYTES_MAX} bytes")]
    TooLarge,
    /// It has too many entries.
    #[error("the list has more than {IMA_ENTRIES_MAX} entries")]
    TooMany,
    /// An entry is too long.
    #[error("entry {0} has more than {IMA_DATA_BYTES_MAX} bytes of data")]
    Long(usize),
    /// It ends within an entry.
    #[error("the list ends within entry {0}")]
    Short(usize),
    /// An entry of a register that is none.
    #[error("entry {0} is of a register that there is none of")]
    Register(usize),
    /// An entry in another form.
    #[error("entry {0} has a template that is not read here")]
    Template(usize),
    /// An entry whose data is not what its template says.
    #[error("the data of entry {0} is not of its template")]
    Data(usize),
    /// An entry whose data has another digest.
    #[error("the data of entry {0} does not have its digest")]
    Digest(usize),
}

/// What an entry has beside a digest and a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra<'a> {
    /// Nothing.
    None,
    /// The signature beside the file; empty if it has none.
    Signature(&'a [u8]),
    /// What was measured itself: a command line, a key, a setting.
    Buffer(&'a [u8]),
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The register that was extended.
    pub pcr: u8,
    /// How the digest was made, with `ima:` or `verity:` before it in the newer templates.
    pub algorithm: &'a [u8],
    /// Of the content; zeros for a violation.
    pub digest: &'a [u8],
    /// The name that it was opened by.
    pub name: &'a [u8],
    /// And what more there is.
    pub extra: Extra<'a>,
    /// Whether it was written to while it was being measured, or the other way round. Nothing bears out what such an
    /// entry says.
    pub violation: bool,
    data: &'a [u8],
}

impl Entry<'_> {
    /// What the register of the bank of SHA-256 was extended with.
    #[must_use]
    pub fn extends_with(&self) -> Hash {
        if self.violation { [0xff; 32] } else { Sha256::digest(self.data).into() }
    }
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaList<'a> {
    entries: Vec<Entry<'a>>,
}

impl<'a> ImaList<'a> {
    /// Reads a list.
    ///
    /// # Errors
    /// If it is none, or has an entry in another form.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ImaError> {
        if bytes.len() > IMA_LIST_BYTES_MAX {
            return Err(ImaError::TooLarge);
        }
        let mut rest = bytes;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            if entries.len() == IMA_ENTRIES_MAX {
                return Err(ImaError::TooMany);
            }
            entries.push(entry(&mut rest, entries.len() + 1)?);
        }
        Ok(Self { entries })
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// What the registers of the bank of SHA-256 should hold: those that the list has entries of.
    #[must_use]
    pub fn replay(&self) -> PcrValues {
        let mut values = PcrValues::new();
        for entry in &self.entries {
            values.extend(entry.pcr, &entry.extends_with());
        }
        values
    }

    /// How many entries lead to a value of [`IMA_PCR`]: a list read after the quote may have more. `None` if none of
    /// its beginnings does.
    #[must_use]
    pub fn leads_to(&self, value: &Hash) -> Option<usize> {
        let mut values = PcrValues::new();
        values.set(IMA_PCR, Hash::default());
        let ends = |values: &PcrValues| values.value(IMA_PCR) == Some(value);
        if ends(&values) {
            return Some(0);
        }
        self.entries.iter().zip(1..).find_map(|(entry, count)| {
            values.extend(entry.pcr, &entry.extends_with());
            ends(&values).then_some(count)
        })
    }

    /// The digest over the registers of firmware and boot loader when the list began: its first entry, if it is by
    /// SHA-256.
    #[must_use]
    pub fn boot_aggregate(&self) -> Option<Hash> {
        let first = self.entries.first().filter(|first| first.name == BOOT_AGGREGATE && !first.violation)?;
        let by_sha256 = [b"sha256".as_slice(), b"ima:sha256"].contains(&first.algorithm);
        first.digest.try_into().ok().filter(|_| by_sha256)
    }
}

/// What the first entry says if the registers held this; `None` if one of [`BOOT_AGGREGATE_PCRS`] is missing. So since
/// Linux 5.8, with a TPM 2.0; before, the last two were left out.
#[must_use]
pub fn boot_aggregate_of(values: &PcrValues) -> Option<Hash> {
    let mut digest = Sha256::new();
    for pcr in BOOT_AGGREGATE_PCRS {
        digest.update(values.value(pcr)?);
    }
    Some(digest.finalize().into())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(u32::from_le_bytes(*taken))
}

/// Bytes with their length before them.
fn sized<'a>(rest: &mut &'a [u8], max: u32) -> Option<&'a [u8]> {
    let length = number(rest).filter(|length| *length <= max)?;
    take(rest, usize::try_from(length).ok()?)
}

fn entry<'a>(rest: &mut &'a [u8], at: usize) -> Result<Entry<'a>, ImaError> {
    let short = ImaError::Short(at);
    let pcr = number(rest).ok_or(short)?;
    let pcr = u8::try_from(pcr).ok().filter(|pcr| *pcr < PCRS).ok_or(ImaError::Register(at))?;
    let sha1 = take(rest, SHA1_BYTES).ok_or(short)?;
    let template = sized(rest, NAME_BYTES_MAX).ok_or(short)?;
    let length = number(rest).ok_or(short)?;
    if length > IMA_DATA_BYTES_MAX {
        return Err(ImaError::Long(at));
    }
    let data = usize::try_from(length).ok().and_then(|length| take(rest, length)).ok_or(short)?;
    let extra: fn(&'a [u8]) -> Extra<'a> = match template {
        b"ima-ng" | b"ima-ngv2" => |_| Extra::None,
        b"ima-sig" | b"ima-sigv2" => Extra::Signature,
        b"ima-buf" => Extra::Buffer,
        _ => return Err(ImaError::Template(at)),
    };
    let has_extra = !matches!(extra(&[]), Extra::None);
    let Fields { algorithm, digest, name, more } = fields(data, has_extra).ok_or(ImaError::Data(at))?;
    let violation = sha1 == [0; SHA1_BYTES];
    if !violation && !has_sha1(data, sha1) {
        return Err(ImaError::Digest(at));
    }
    Ok(Entry { pcr, algorithm, digest, name, extra: extra(more), violation, data })
}

struct Fields<'a> {
    algorithm: &'a [u8],
    digest: &'a [u8],
    name: &'a [u8],
    more: &'a [u8],
}

/// A digest after its algorithm, a name that ends with a zero, and perhaps a third field.
fn fields(data: &[u8], has_extra: bool) -> Option<Fields<'_>> {
    let mut rest = data;
    let digest = sized(&mut rest, IMA_DATA_BYTES_MAX)?;
    let name = sized(&mut rest, IMA_DATA_BYTES_MAX)?.strip_suffix(&[0])?;
    let more = if has_extra { sized(&mut rest, IMA_DATA_BYTES_MAX)? } else { &[] };
    // "sha256:", a zero, the digest.
    let end = digest.windows(2).position(|pair| pair == b":\0")?;
    let (algorithm, digest) = (digest.get(..end)?, digest.get(end + 2..)?);
    rest.is_empty().then_some(Fields { algorithm, digest, name, more })
}

fn has_sha1(data: &[u8], sha1: &[u8]) -> bool {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, data).as_ref() == sha1
}
