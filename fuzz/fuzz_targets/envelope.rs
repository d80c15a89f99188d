//! Any bytes give an envelope or a typed error: its reader is fed what nobody signed.
#![no_main]

mod memory;
#[path = "../properties/envelope.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // A list of signatures grows before it is counted; an entry is longer than its shortest text.
    memory::at_most(4096 + 16 * input.len(), || attestation::dsse::read(input).is_ok());
    properties::hold(input);
});
