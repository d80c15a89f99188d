//! What TPMs and kernels have said: quotes of swtpm's (attestation/tests/tpm/make.sh) and logs of real boots (guest.sh), whole and changed.

mod logs;
mod quotes;

/// A file of `tests/tpm`.
macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tpm/", $name)).as_slice()
    };
}
use vector;

/// Every way to change one bit of these bytes.
fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}
