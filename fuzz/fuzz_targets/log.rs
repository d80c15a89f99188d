//! Any bytes give a log or a typed error: the reader, the messages and the fold are fed what no agent wrote.
#![no_main]

mod memory;
#[path = "../properties/log.rs"]
mod properties;

use attestation::verify::survey;
use properties::LIMITS;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let objects = properties::objects(input);
    // What is held are buffers, the facts, and one frame as a message: an entry of two bytes there is a `Hook` of 200 here, and
    // a list has twice the room while it grows.
    let bytes_max = (1 << 20) + 8 * LIMITS.log_bytes_max as usize + 300 * LIMITS.frame_bytes_max;
    memory::at_most(bytes_max, || survey(objects.iter().map(Vec::as_slice), LIMITS).ended.is_none());
    properties::hold(input);
});
