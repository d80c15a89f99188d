//! Any bytes give what a machine says or a typed error: nobody vouches for them before they are read.
#![no_main]

mod memory;
#[path = "../properties/machine.rs"]
mod properties;

use attestation::platform::{BootPolicy, Machine, Message as _, Quoting, Request, SealList};
use attestation::tpm::event_log::EventLog;
use attestation::tpm::ima::ImaList;
use attestation::tpm::{AttestationKey, EndorsementKey, signature_to_der};
use properties::{ATTEST, ENROLMENT, ENTRIES, FIRMWARE, LIST, PUBLIC, SEALS, SIGNATURE};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // An entry of a log, with room to grow, is more than the shortest that there is; a structure of a TPM has room for the longest.
    memory::at_most((64 << 10) + 64 * input.len(), || read(input));
    properties::hold(input);
});

fn read(input: &[u8]) -> bool {
    match input.split_first() {
        Some((&FIRMWARE, rest)) => EventLog::read(rest).is_ok(),
        Some((&(LIST | ENTRIES), rest)) => ImaList::read(rest).is_ok(),
        Some((&PUBLIC, rest)) => AttestationKey::read(rest).is_ok() || EndorsementKey::read(rest).is_ok(),
        Some((&(ATTEST | SIGNATURE), rest)) => signature_to_der(rest).is_some(),
        Some((&SEALS, rest)) => SealList::from_bytes(rest).is_some(),
        Some((&ENROLMENT, rest)) => {
            Machine::read(rest).is_ok() || Request::read(rest).is_ok() || BootPolicy::read(rest).is_ok()
        }
        _ => Quoting::read(input).is_ok(),
    }
}
