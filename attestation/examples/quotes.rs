//! How many quotes are verified in a second, beside the bare signatures under them: `cargo run --release --package attestation --example quotes`.
#![expect(clippy::disallowed_types, reason = "the crate is pure, and this measures time")]

use attestation::tpm::{AttestationKey, Quote};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

const PUBLIC: &[u8] = include_bytes!("../tests/tpm/ecc.pub");
const ATTEST: &[u8] = include_bytes!("../tests/tpm/ecc.attest");
const SIGNATURE: &[u8] = include_bytes!("../tests/tpm/ecc.sig");
const NONCE: &[u8] = b"nonce";
/// How long each is done in a round, and how many rounds there are.
const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let quote = Quote { attest: ATTEST.to_vec(), signature: SIGNATURE.to_vec() };
    let key = AttestationKey::read(PUBLIC)?;
    quote.verify(&key, NONCE)?;
    let signature = attestation::tpm::signature_to_der(SIGNATURE).ok_or("a signature")?;
    // The last two numbers of the public area, with their lengths before them.
    let coordinates = PUBLIC.get(PUBLIC.len() - 68..).ok_or("a point")?;
    let point = [&[4], coordinates.get(2..34).ok_or("x")?, coordinates.get(36..).ok_or("y")?].concat();
    let bare = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
    bare.verify(ATTEST, &signature).map_err(|_| "the bare signature does not hold")?;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let signatures = rate(|| bare.verify(black_box(ATTEST), &signature).is_ok());
        let quotes = rate(|| quote.verify(black_box(&key), NONCE).is_ok());
        ratios.push(quotes / signatures);
        println!("{quotes:.0} quotes, {signatures:.0} bare signatures a second");
    }
    ratios.sort_by(f64::total_cmp);
    println!("quotes at {:.2} of the rate of bare signatures, median of {ROUNDS} rounds", ratios[ROUNDS / 2]);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rate(mut once: impl FnMut() -> bool) -> f64 {
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < ROUND {
        assert!(once(), "it holds");
        count += 1;
    }
    count as f64 / begun.elapsed().as_secs_f64()
}
