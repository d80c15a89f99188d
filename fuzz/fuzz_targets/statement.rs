//! Any bytes give the claims of a statement or a typed error: its reader is fed what no key signed.
#![no_main]

mod memory;
#[path = "../properties/statement.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // A hook's row of claims, with room to grow, is more than its shortest text.
    memory::at_most((64 << 10) + 64 * input.len(), || attestation::statement::read(input).is_ok());
    properties::hold(input);
});
