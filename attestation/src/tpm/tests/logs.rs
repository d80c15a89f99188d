//! Logs of real boots: firmware's and IMA's, replayed to what the TPM of that boot held.

use super::{flipped, vector};
use crate::hex;
use crate::merkle::Hash;
use crate::tpm::event_log::{EVENT_LOG_BYTES_MAX, EVENTS_MAX, EventLog, EventLogError};
use crate::tpm::ima::{
    BOOT_AGGREGATE_PCRS, Extra, IMA_DATA_BYTES_MAX, IMA_ENTRIES_MAX, IMA_LIST_BYTES_MAX, IMA_PCR, ImaError, ImaList,
    boot_aggregate_of,
};
use crate::tpm::{PCRS, PcrValues, extended};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// Firmware's log, IMA's list, and what the registers held when both had been read.
type Boot = (&'static [u8], &'static [u8], &'static [u8]);

const OVMF: Boot = (vector!("6.1-ovmf.events"), vector!("6.1-ovmf.ima"), vector!("6.1-ovmf.pcrs"));
const SEABIOS: Boot = (vector!("6.12-seabios.events"), vector!("6.12-seabios.ima"), vector!("6.12-seabios.pcrs"));
const SEABIOS_V2: Boot = (vector!("6.18-seabios.events"), vector!("6.18-seabios.ima"), vector!("6.18-seabios.pcrs"));
const BOOTS: [Boot; 3] = [OVMF, SEABIOS, SEABIOS_V2];

fn held(boot: Boot) -> PcrValues {
    let mut values = PcrValues::new();
    for line in std::str::from_utf8(boot.2).unwrap().lines() {
        let (pcr, value) = line.split_once(' ').unwrap();
        let value = hex::decode_sha256(&value.to_lowercase()).unwrap();
        assert!(values.set(pcr.parse().unwrap(), value));
    }
    assert_eq!(values.iter().count(), usize::from(PCRS));
    values
}

#[test]
fn the_log_of_firmware_leads_to_what_the_registers_held() {
    for boot in BOOTS {
        let (log, held) = (EventLog::read(boot.0).unwrap(), held(boot));
        let replayed = log.replay().unwrap();
        assert!(replayed.iter().count() >= 8, "{replayed:?}");
        for (pcr, value) in replayed.iter() {
            assert_eq!(Some(value), held.value(pcr), "register {pcr}");
        }
        // And of those that it does not name, those of firmware were left alone.
        for pcr in BOOT_AGGREGATE_PCRS.filter(|pcr| replayed.value(*pcr).is_none()) {
            assert_eq!(held.value(pcr), Some(&[0; 32]), "register {pcr}");
        }
    }
}

#[test]
fn any_flipped_bit_of_a_digest_leads_elsewhere() {
    let log = EventLog::read(OVMF.0).unwrap();
    let replayed = log.replay().unwrap();
    for event in log.events().iter().filter(|event| event.is_measured()) {
        let at = OVMF.0.windows(32).position(|bytes| bytes == event.sha256).unwrap();
        let mut changed = OVMF.0.to_vec();
        changed[at] ^= 1;
        assert_ne!(EventLog::read(&changed).unwrap().replay().unwrap(), replayed);
    }
    // Anywhere else it may be what the data says: then the replay is the same, and no register is others'.
    for changed in flipped(OVMF.0).step_by(11) {
        let other = EventLog::read(&changed).and_then(|log| log.replay());
        let differs = other.is_ok_and(|other| other != replayed);
        let read = EventLog::read(&changed).is_ok_and(|other| {
            let key = |log: &EventLog<'_>| -> Vec<(u32, Hash)> {
                log.events().iter().filter(|event| event.is_measured()).map(|event| (event.pcr, event.sha256)).collect()
            };
            key(&other) == key(&log)
        });
        assert!(!(differs && read));
    }
}

#[test]
fn a_log_that_ends_within_an_event_is_refused() {
    let whole = EventLog::read(SEABIOS.0).unwrap().events().len();
    for end in 0..SEABIOS.0.len() {
        match EventLog::read(&SEABIOS.0[..end]) {
            // Between two events.
            Ok(log) => assert!(log.events().len() < whole),
            Err(error) => assert!(matches!(error, EventLogError::Short(_)), "{end}: {error}"),
        }
    }
}

/// A log of SHA-256 alone with these events: register, kind, data; each digest is that of its data.
fn log(events: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    let mut log = [[0, 0, 0, 0, 3, 0, 0, 0].as_slice(), &[0; 20]].concat();
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(spec);
    for (pcr, kind, data) in events {
        log.extend([*pcr, *kind, 1].map(u32::to_le_bytes).concat());
        log.extend([0x0b, 0]);
        log.extend(Sha256::digest(data));
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend_from_slice(data);
    }
    log
}

fn replay(events: &[(u32, u32, &[u8])]) -> Result<PcrValues, EventLogError> {
    EventLog::read(&log(events)).and_then(|log| log.replay())
}

#[test]
fn the_first_register_begins_where_the_locality_says() {
    let digest = Sha256::digest(b"x").into();
    for locality in [0, 3, 4] {
        let startup = [b"StartupLocality\0".as_slice(), &[locality]].concat();
        let mut begins = [0; 32];
        begins[31] = locality;
        let values = replay(&[(0, 3, &startup), (0, 8, b"x"), (1, 8, b"x")]).unwrap();
        assert_eq!(values.value(0), Some(&extended(&begins, &digest)));
        assert_eq!(values.value(1), Some(&extended(&[0; 32], &digest)));
    }
    let startup = |locality: &[u8]| [b"StartupLocality\0".as_slice(), locality].concat();
    let three = startup(&[3]);
    for wrong in [startup(&[1]), startup(&[]), startup(&[3, 0])] {
        assert_eq!(replay(&[(0, 3, &wrong)]), Err(EventLogError::Locality(1)));
    }
    assert_eq!(replay(&[(0, 8, b"x"), (0, 3, &three)]), Err(EventLogError::Locality(2)));
    assert_eq!(replay(&[(0, 3, &three), (0, 3, &three)]), Err(EventLogError::Locality(2)));
}

#[test]
fn a_register_that_is_not_firmwares_is_refused() {
    for pcr in [17, 22, 24, u32::MAX] {
        assert_eq!(replay(&[(pcr, 8, b"x")]), Err(EventLogError::Register { event: 1, pcr }));
        // What extends nothing may name any.
        assert_eq!(replay(&[(pcr, 3, b"x")]), Ok(PcrValues::new()));
    }
    for pcr in [0, 16, 23] {
        assert!(replay(&[(pcr, 8, b"x")]).is_ok());
    }
}

#[test]
fn a_log_without_sha256_or_in_the_old_form_is_refused() {
    let mut sha384 = log(&[]);
    let at = sha384.len() - 5;
    sha384[at..at + 4].copy_from_slice(&[0x0c, 0, 48, 0]);
    assert_eq!(EventLog::read(&sha384), Err(EventLogError::NoSha256));
    let mut old = log(&[]);
    old[4] = 8;
    assert_eq!(EventLog::read(&old), Err(EventLogError::Form));
    assert_eq!(EventLog::read(b""), Err(EventLogError::Short(0)));
}

#[test]
fn the_list_of_ima_leads_to_its_register() {
    for boot in BOOTS {
        let (list, held) = (ImaList::read(boot.1).unwrap(), held(boot));
        assert_eq!(list.replay().value(IMA_PCR), held.value(IMA_PCR));
        assert_eq!(list.leads_to(held.value(IMA_PCR).unwrap()), Some(list.entries().len()));
        assert_eq!(list.leads_to(&[0; 32]), Some(0));
        assert_eq!(list.leads_to(&[1; 32]), None);
        assert!(list.boot_aggregate().is_some());
        assert_eq!(list.boot_aggregate(), boot_aggregate_of(&held));
    }
}

#[test]
fn a_list_says_what_was_measured() {
    for (boot, algorithm) in BOOTS.into_iter().zip(["sha256", "sha256", "ima:sha256"]) {
        let list = ImaList::read(boot.1).unwrap();
        let of = |name: &'static [u8]| list.entries().iter().filter(move |entry| entry.name == name);
        let one = of(b"/data/one").next().unwrap();
        assert_eq!((one.algorithm, one.violation), (algorithm.as_bytes(), false));
        assert_eq!(one.digest, Sha256::digest(b"one\n").as_slice());
        // It was opened for writing while it was open for reading.
        let two: Vec<bool> = of(b"/data/two").map(|entry| entry.violation).collect();
        assert_eq!(two, [false, true]);
        let Extra::Buffer(kernel) = of(b"kernel_version").next().unwrap().extra else { panic!("a buffer") };
        assert!(kernel.ends_with(b"-cloud-amd64"));
        let signature = of(b"/data/signed").next().unwrap().extra;
        if boot == SEABIOS {
            assert_eq!(signature, Extra::None);
        } else {
            assert!(matches!(signature, Extra::Signature([3, 2, 4, ..])));
        }
    }
}

#[test]
fn any_flipped_bit_of_a_list_is_refused_or_leads_elsewhere_but_for_what_a_violation_says() {
    for boot in BOOTS {
        let real = ImaList::read(boot.1).unwrap();
        for changed in flipped(boot.1) {
            let Ok(other) = ImaList::read(&changed) else { continue };
            // The register is extended with a constant for a violation, so that its entry says what it likes.
            let differs = other.entries().iter().zip(real.entries()).filter(|(other, real)| other != real);
            let only_in_a_violation = differs.into_iter().all(|(other, real)| other.violation && real.violation);
            assert!(only_in_a_violation || other.replay() != real.replay());
        }
    }
}

#[test]
fn an_entry_with_another_digest_is_damaged_and_with_none_a_violation() {
    let mut changed = SEABIOS.1.to_vec();
    changed[4] ^= 1;
    assert_eq!(ImaList::read(&changed), Err(ImaError::Digest(1)));
    changed[4..24].fill(0);
    let list = ImaList::read(&changed).unwrap();
    assert_eq!((list.entries()[0].extends_with(), list.boot_aggregate()), ([0xff; 32], None));
    changed[0] = PCRS;
    assert_eq!(ImaList::read(&changed), Err(ImaError::Register(1)));
}

#[test]
fn a_list_that_ends_within_an_entry_is_refused() {
    let whole = ImaList::read(SEABIOS.1).unwrap().entries().len();
    for end in 0..SEABIOS.1.len() {
        match ImaList::read(&SEABIOS.1[..end]) {
            Ok(list) => assert!(list.entries().len() < whole),
            Err(error) => assert!(matches!(error, ImaError::Short(_)), "{end}: {error}"),
        }
    }
}

#[test]
fn a_log_of_one_event_or_byte_too_many_is_refused() {
    let mut all = log(&vec![(1, 8, b"".as_slice()); EVENTS_MAX]);
    assert_eq!(EventLog::read(&all).unwrap().events().len(), EVENTS_MAX);
    all.extend(&log(&[(1, 8, b"")])[log(&[]).len()..]);
    assert_eq!(EventLog::read(&all), Err(EventLogError::TooMany));
    let longest = vec![0; EVENT_LOG_BYTES_MAX + 1];
    assert_eq!(EventLog::read(&longest), Err(EventLogError::TooLarge));
    assert_ne!(EventLog::read(&longest[1..]), Err(EventLogError::TooLarge));
}

/// An entry of a violation, whose name has so many bytes.
fn violation(name: usize) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
    let name = [vec![b'n'; name], vec![0]].concat();
    let data = [sized(b"sha256:\0"), sized(&name)].concat();
    [&10_u32.to_le_bytes(), [0; 20].as_slice(), &sized(b"ima-ng"), &sized(&data)].concat()
}

#[test]
fn a_list_of_one_entry_or_byte_too_many_is_refused() {
    let mut all = violation(0).repeat(IMA_ENTRIES_MAX);
    assert_eq!(ImaList::read(&all).unwrap().entries().len(), IMA_ENTRIES_MAX);
    all.extend(violation(0));
    assert_eq!(ImaList::read(&all), Err(ImaError::TooMany));
    all.resize(IMA_LIST_BYTES_MAX + 1, 0);
    assert_eq!(ImaList::read(&all), Err(ImaError::TooLarge));
}

#[test]
fn an_entry_of_one_byte_too_many_is_refused() {
    // The lengths, the algorithm, and the end of the name.
    let most = usize::try_from(IMA_DATA_BYTES_MAX).unwrap() - (4 + 8 + 4 + 1);
    assert!(ImaList::read(&violation(most)).is_ok());
    assert_eq!(ImaList::read(&violation(most + 1)), Err(ImaError::Long(1)));
}

proptest! {
    #[test]
    fn any_bytes_are_a_log_or_none(at in 0usize..2000, end in proptest::collection::vec(any::<u8>(), 0..300)) {
        for real in [OVMF.0, SEABIOS.0] {
            let bytes = [&real[..at.min(real.len())], &end].concat();
            let _ = EventLog::read(&bytes).and_then(|log| log.replay());
        }
        for real in [OVMF.1, SEABIOS.1, SEABIOS_V2.1] {
            let bytes = [&real[..at.min(real.len())], &end].concat();
            if let Ok(list) = ImaList::read(&bytes) {
                let _ = (list.replay(), list.boot_aggregate());
            }
        }
    }

    #[test]
    fn any_events_replay_to_what_a_tpm_would_hold(
        events in proptest::collection::vec((0u32..17, any::<[u8; 4]>()), 0..20),
    ) {
        let all: Vec<(u32, u32, &[u8])> = events.iter().map(|(pcr, data)| (*pcr, 8, data.as_slice())).collect();
        let mut expected = PcrValues::new();
        for (pcr, data) in &events {
            expected.extend(u8::try_from(*pcr).unwrap(), &Sha256::digest(data).into());
        }
        prop_assert_eq!(replay(&all), Ok(expected));
    }
}
