//! Any bytes give an event or a typed error: `decode` is fed what the ring never held.
#![no_main]

#[path = "../../agent/src/decode/mod.rs"]
mod decode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = decode::decode(bytes);
    // A header that fits the length, so that the bodies are reached.
    if let (Ok(length), true) = (u32::try_from(bytes.len()), bytes.len() >= 64) {
        let mut fitted = bytes.to_vec();
        fitted[..4].copy_from_slice(&length.to_ne_bytes());
        fitted[6..8].copy_from_slice(&(1 + u16::from(bytes[6]) % 19).to_ne_bytes());
        fitted[4..6].copy_from_slice(&(1 + u16::from(bytes[4]) % 12).to_ne_bytes());
        let _ = decode::decode(&fitted);
    }
});
