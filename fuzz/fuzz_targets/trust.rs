//! Any bytes give certificates, tokens, receipts and names or a typed error: they say whom to believe, and nobody believes them yet.
#![no_main]

mod memory;
#[path = "../properties/trust.rs"]
mod properties;

use attestation::identity::{Bundle, Svid};
use attestation::receipt::Receipt;
use attestation::timestamp::{Authority, Token};
use attestation::tpm::Makers;
use properties::{ANSWER, AUTHORITIES, BUNDLE, CERTIFICATE, CHAIN, TOKEN, domain};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // A list of names or attributes is many times its shortest form.
    memory::at_most((256 << 10) + 256 * input.len(), || read(input));
    properties::hold(input);
});

fn read(input: &[u8]) -> bool {
    match input.split_first() {
        Some((&BUNDLE, rest)) => Bundle::read(domain(), rest).is_ok(),
        Some((&(CHAIN | CERTIFICATE), rest)) => Svid::read(rest).is_ok(),
        Some((&(TOKEN | ANSWER), rest)) => Token::read(rest).is_ok(),
        Some((&AUTHORITIES, rest)) => Authority::read("", rest).is_ok() || Makers::read(rest).is_ok(),
        _ => Receipt::read(input).is_ok(),
    }
}
