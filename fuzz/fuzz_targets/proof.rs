//! Any bytes give a proof or a typed error, and what holds is what the tree has.
#![no_main]

mod memory;
#[path = "../properties/proof.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // A list of texts grows before their form is looked at; a text here is longer than `"",`.
    memory::at_most(4096 + 64 * input.len(), || attestation::proof::Proof::read(input).is_ok());
    properties::hold(input);
});
