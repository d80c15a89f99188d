//! The log of what firmware measured before the kernel (TCG PC Client, crypto-agile form), replayed to the registers
//! that it should have led to.
//!
//! A log says what it likes: only where its replay is what a quote holds is it the log of that boot. What an event's
//! *data* says is bound to its digest for some kinds of events and not for others, so it is not read here but for the
//! one that sets where the first register begins.
//!
//! Source: TCG PC Client Platform Firmware Profile 1.06, sections 10.2 (structures) and 10.4.5 (events without a
//! measurement).

use super::registers::{PCRS, PcrValues, extended};
use crate::merkle::Hash;
use thiserror::Error;

/// Bytes of a log at most.
pub const EVENT_LOG_BYTES_MAX: usize = 16 << 20;
/// Events of a log at most.
pub const EVENTS_MAX: usize = 1 << 16;
/// Algorithms of a log at most.
const ALGORITHMS_MAX: u32 = 16;
const DIGEST_BYTES_MAX: u16 = 64;

const SHA1_BYTES: usize = 20;
const SHA256: u16 = 0x000b;
const NO_ACTION: u32 = 3;
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";
/// Registers of a dynamic launch: they begin otherwise, and whoever logs them is not the firmware.
const DYNAMIC_PCRS: std::ops::RangeInclusive<u32> = 17..=22;

/// Why a log cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EventLogError {
    /// It is too long.
    #[error("the event log is over the limit of {EVENT_LOG_BYTES_MAX} bytes")]
    TooLarge,
    /// It has too many events.
    #[error("the event log has more than {EVENTS_MAX} events")]
    TooMany,
    /// It ends within an event.
    #[error("the event log ends within event {0}")]
    Short(usize),
    /// The first event does not say what the others look like.
    #[error("the event log is not in the crypto-agile form")]
    Form,
    /// It has no digests by SHA-256.
    #[error("the event log has no SHA-256 digests")]
    NoSha256,
    /// An event has other digests than the first one says.
    #[error("event {0} has other digests than the log says that events have")]
    Digests(usize),
    /// An event of a register that firmware does not extend.
    #[error("event {event} is of register {pcr}")]
    Register {
        /// Which.
        event: usize,
        /// Of which register.
        pcr: u32,
    },
    /// It says where the first register begins when that has been extended, a second time, or something that is none.
    #[error("event {0} sets the startup locality where it cannot")]
    Locality(usize),
}

/// An event, as firmware wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its register; anything for an event without a measurement.
    pub pcr: u32,
    /// Its kind, by TCG's registry.
    pub kind: u32,
    /// What the register was extended with.
    pub sha256: Hash,
    /// What it says.
    pub data: &'a [u8],
}

impl Event<'_> {
    /// Whether a register was extended with it.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.kind != NO_ACTION
    }
}

/// A log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    events: Vec<Event<'a>>,
}

impl<'a> EventLog<'a> {
    /// Reads a log, as the kernel hands out what firmware left (`binary_bios_measurements`).
    ///
    /// # Errors
    /// If it is none, or not in the crypto-agile form with digests by SHA-256.
    pub fn read(bytes: &'a [u8]) -> Result<Self, EventLogError> {
        if bytes.len() > EVENT_LOG_BYTES_MAX {
            return Err(EventLogError::TooLarge);
        }
        let mut reader = Reader { rest: bytes, event: 0 };
        let form = Form::read(&mut reader)?;
        let mut events = Vec::new();
        while !reader.rest.is_empty() {
            if events.len() == EVENTS_MAX {
                return Err(EventLogError::TooMany);
            }
            reader.event += 1;
            events.push(form.event(&mut reader)?);
        }
        Ok(Self { events })
    }

    /// The events after the first, which says only what they look like.
    #[must_use]
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// What the registers of the bank of SHA-256 should hold: those that the log has events of.
    ///
    /// # Errors
    /// If an event is of a register that firmware does not extend, or the startup locality is set where it cannot.
    pub fn replay(&self) -> Result<PcrValues, EventLogError> {
        let mut values = PcrValues::new();
        let mut start = None;
        for (number, event) in (1..).zip(&self.events) {
            if !event.is_measured() {
                if let Some(locality) = event.data.strip_prefix(STARTUP_LOCALITY) {
                    let is_first = start.is_none() && values.value(0).is_none();
                    start = Some(started(locality).filter(|_| is_first).ok_or(EventLogError::Locality(number))?);
                }
                continue;
            }
            let pcr = event.pcr;
            let refused = EventLogError::Register { event: number, pcr };
            let pcr = u8::try_from(pcr).ok().filter(|_| !DYNAMIC_PCRS.contains(&pcr)).ok_or(refused)?;
            let begins = start.filter(|_| pcr == 0).unwrap_or_default();
            let value = values.value(pcr).copied().unwrap_or(begins);
            if pcr >= PCRS || !values.set(pcr, extended(&value, &event.sha256)) {
                return Err(refused);
            }
        }
        Ok(values)
    }
}

/// The first register's value after a start from a locality: 0, 3, or 4 for one that the processor itself measured.
fn started(locality: &[u8]) -> Option<Hash> {
    let mut value = Hash::default();
    match locality {
        [locality @ (0 | 3 | 4)] => value[31] = *locality,
        _ => return None,
    }
    Some(value)
}

struct Reader<'a> {
    rest: &'a [u8],
    event: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], EventLogError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(EventLogError::Short(self.event))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EventLogError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(EventLogError::Short(self.event))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, EventLogError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, EventLogError> {
        self.array().map(u32::from_le_bytes)
    }

    fn data(&mut self) -> Result<&'a [u8], EventLogError> {
        let length = usize::try_from(self.u32()?).map_err(|_| EventLogError::Short(self.event))?;
        self.take(length)
    }
}

/// What the events of a log look like: their digests, by algorithm and size.
struct Form(Vec<(u16, u16)>);

impl Form {
    /// The first event, in the form of TPM 1.2.
    fn read(reader: &mut Reader<'_>) -> Result<Self, EventLogError> {
        let (_pcr, kind, _digest) = (reader.u32()?, reader.u32()?, reader.take(SHA1_BYTES)?);
        let mut data = Reader { rest: reader.data()?, event: 0 };
        if kind != NO_ACTION || data.take(SIGNATURE.len())? != SIGNATURE {
            return Err(EventLogError::Form);
        }
        let (_class, _version, _integers) = (data.u32()?, data.take(3)?, data.take(1)?);
        let count = data.u32()?;
        if !(1..=ALGORITHMS_MAX).contains(&count) {
            return Err(EventLogError::Form);
        }
        let mut algorithms: Vec<(u16, u16)> = Vec::new();
        for _ in 0..count {
            let (algorithm, size) = (data.u16()?, data.u16()?);
            let is_double = algorithms.iter().any(|(other, _)| *other == algorithm);
            if is_double || size > DIGEST_BYTES_MAX || (algorithm == SHA256 && size != 32) {
                return Err(EventLogError::Form);
            }
            algorithms.push((algorithm, size));
        }
        let [vendor] = data.array()?;
        data.take(usize::from(vendor))?;
        if !data.rest.is_empty() {
            return Err(EventLogError::Form);
        }
        let has_sha256 = algorithms.iter().any(|(algorithm, _)| *algorithm == SHA256);
        if has_sha256 { Ok(Self(algorithms)) } else { Err(EventLogError::NoSha256) }
    }

    /// One of the others: a digest by each algorithm, in any order.
    fn event<'a>(&self, reader: &mut Reader<'a>) -> Result<Event<'a>, EventLogError> {
        let (pcr, kind, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let refused = EventLogError::Digests(reader.event);
        if usize::try_from(count) != Ok(self.0.len()) {
            return Err(refused);
        }
        let mut digests: Vec<(u16, &[u8])> = Vec::with_capacity(self.0.len());
        for _ in &self.0 {
            let algorithm = reader.u16()?;
            let (_, size) = self.0.iter().find(|(known, _)| *known == algorithm).ok_or(refused)?;
            let digest = reader.take(usize::from(*size))?;
            if digests.iter().any(|(other, _)| *other == algorithm) {
                return Err(refused);
            }
            digests.push((algorithm, digest));
        }
        let sha256 = digests.iter().find(|(algorithm, _)| *algorithm == SHA256).ok_or(refused)?;
        let sha256: Hash = sha256.1.try_into().map_err(|_| refused)?;
        Ok(Event { pcr, kind, sha256, data: reader.data()? })
    }
}
