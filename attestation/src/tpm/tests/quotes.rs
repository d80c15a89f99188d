//! Quotes of swtpm's (attestation/tests/tpm/make.sh), whole and changed.

use crate::hex;
use crate::tpm::*;
use proptest::prelude::*;

const NONCE: &[u8] = b"nonce";

fn of(kind: &str) -> (Vec<u8>, Quote, Vec<u8>) {
    let files: [&[u8]; 4] = match kind {
        "ecc" => [
            include_bytes!("../../../tests/tpm/ecc.pub"),
            include_bytes!("../../../tests/tpm/ecc.attest"),
            include_bytes!("../../../tests/tpm/ecc.sig"),
            include_bytes!("../../../tests/tpm/ecc.name"),
        ],
        _ => [
            include_bytes!("../../../tests/tpm/rsa.pub"),
            include_bytes!("../../../tests/tpm/rsa.attest"),
            include_bytes!("../../../tests/tpm/rsa.sig"),
            include_bytes!("../../../tests/tpm/rsa.name"),
        ],
    };
    let [public, attest, signature, name] = files.map(<[u8]>::to_vec);
    (public, Quote { attest, signature }, name)
}

fn values() -> PcrValues {
    let lines = include_str!("../../../tests/tpm/pcrs.txt").lines().filter_map(|line| line.split_once(": 0x"));
    let mut values = PcrValues::new();
    for (register, value) in lines {
        let value = hex::decode_sha256(&value.to_lowercase()).unwrap();
        assert!(values.set(register.trim().parse().unwrap(), value));
    }
    values
}

#[test]
fn a_quote_says_what_the_registers_had() {
    for kind in ["ecc", "rsa"] {
        let (public, quote, name) = of(kind);
        let key = AttestationKey::read(&public).unwrap();
        assert_eq!(key.name(), name, "{kind}: as the TPM calls it");
        let quoted = quote.verify(&key, NONCE).unwrap();
        assert_eq!((quoted.registers(), quoted.restart_count), (&[0, 7, 11][..], 0));
        assert_eq!(quoted.had(&values()), Ok(()));
        let mut other = values();
        other.set(7, [1; 32]);
        assert_eq!(quoted.had(&other), Err(QuoteError::Values));
        other.set(8, [1; 32]);
        assert_eq!(quoted.had(&other), Err(QuoteError::Registers));
    }
}

#[test]
fn another_question_key_or_signature_is_refused() {
    let ((ecc, quote, _), (rsa, by_rsa, _)) = (of("ecc"), of("rsa"));
    let [ecc, rsa] = [ecc, rsa].map(|public| AttestationKey::read(&public).unwrap());
    assert_eq!(quote.verify(&ecc, b"another nonce"), Err(QuoteError::OtherData));
    assert_eq!(quote.verify(&ecc, b""), Err(QuoteError::OtherData));
    assert_eq!(quote.verify(&rsa, NONCE), Err(QuoteError::Signature));
    let mixed = Quote { attest: quote.attest.clone(), signature: by_rsa.signature };
    for key in [&ecc, &rsa] {
        assert_eq!(mixed.verify(key, NONCE), Err(QuoteError::Signature));
    }
}

#[test]
fn keys_that_attest_nothing() {
    let signing = include_bytes!("../../../tests/tpm/signing.pub");
    assert_eq!(AttestationKey::read(signing), Err(KeyError::NotAttesting));
    let (public, ..) = of("ecc");
    assert_eq!(AttestationKey::read(&[&public[..], &[0]].concat()), Err(KeyError::Malformed));
    assert_eq!(AttestationKey::read(&public[..40]), Err(KeyError::Malformed));
    assert_eq!(AttestationKey::read(&[]), Err(KeyError::Malformed));
}

proptest! {
    #[test]
    fn one_changed_bit_is_found(rsa: bool, part in 0..3_usize, at in 0..400_usize, bit in 0..8_u8) {
        let (mut public, mut quote, name) = of(if rsa { "rsa" } else { "ecc" });
        let bytes = match part {
            0 => &mut public,
            1 => &mut quote.attest,
            _ => &mut quote.signature,
        };
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        // A bit of the public area may make it another key, by another name.
        if let Ok(key) = AttestationKey::read(&public) {
            prop_assert_eq!(part == 0, key.name() != name);
            prop_assert!(key.name() != name || quote.verify(&key, NONCE).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused_in_words(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(AttestationKey::read(&bytes).is_err());
        let (public, ..) = of("ecc");
        let quote = Quote { attest: bytes.clone(), signature: bytes };
        prop_assert!(quote.verify(&AttestationKey::read(&public).unwrap(), NONCE).is_err());
    }
}
