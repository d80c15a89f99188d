//! Any bytes give an event or a typed error: `decode` is fed what the ring never held.
#![no_main]

#[path = "../../agent/src/decode/mod.rs"]
mod decode;
mod memory;
#[path = "../properties/decode.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(fitted) = properties::fitted(bytes) {
        // A section of no bytes is two bytes there, and a `Vec` here.
        memory::at_most(4096 + 32 * bytes.len(), || decode::decode(&fitted).is_ok());
    }
    properties::hold(bytes);
});
