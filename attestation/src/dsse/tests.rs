//! Envelopes that hold, and every way in which they must not.

use super::read::{SIGNATURE_BYTES_MAX, read_at_most};
use super::write::within_limit;
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use std::cell::Cell;
use std::io::Write;

fn key(seed: u8) -> KeyFile {
    KeyFile::from_random(&[seed; 32]).unwrap()
}

/// Bytes whose base64 has the characters in which the alphabets differ.
const PAYLOAD: &[u8] = &[0xfb, 0xef, 0xbe, 0xff, 0xff, 0xff, b'{', b'}', 1, 2];

fn sign(payload: &[u8], signers: &[&dyn Signer]) -> Vec<u8> {
    let mut out = Vec::new();
    write_envelope(&mut out, |sink| sink.write_all(payload), signers).unwrap();
    out
}

fn verify(envelope: &[u8], keys: &[PublicKey]) -> Result<Verified, EnvelopeError> {
    read(envelope)?.verify(keys)
}

#[test]
fn the_encoding_of_the_specifications_example() {
    assert_eq!(pae_prefix("http://example.com/HelloWorld", 11), b"DSSEv1 29 http://example.com/HelloWorld 11 ");
    assert_eq!(pae_prefix("", 0), b"DSSEv1 0  0 ");
}

#[test]
fn what_is_signed_verifies_and_is_one_line() {
    let key = key(1);
    for payload in [&b""[..], b"{}", PAYLOAD, &[7; 100_000]] {
        let envelope = sign(payload, &[&key]);
        assert_eq!(envelope.iter().filter(|byte| **byte == b'\n').count(), 1);
        let verified = verify(&envelope, &[key.public().clone()]).unwrap();
        assert_eq!((verified.payload.as_slice(), verified.keyids), (payload, vec![key.public().keyid().to_owned()]));
    }
}

#[test]
fn signing_is_deterministic() {
    assert_eq!(sign(PAYLOAD, &[&key(1)]), sign(PAYLOAD, &[&key(1)]));
}

#[test]
fn one_of_several_signatures_is_enough_and_keyids_decide_nothing() {
    let (one, two, three) = (key(1), key(2), key(3));
    let envelope = String::from_utf8(sign(PAYLOAD, &[&one, &two])).unwrap();
    for trusted in [&one, &two] {
        let verified = verify(envelope.as_bytes(), &[three.public().clone(), trusted.public().clone()]).unwrap();
        assert_eq!(verified.keyids, [trusted.public().keyid()]);
    }
    assert!(matches!(verify(envelope.as_bytes(), &[three.public().clone()]), Err(EnvelopeError::Untrusted)));
    let misnamed = envelope.replace(one.keyid(), three.keyid());
    assert!(verify(misnamed.as_bytes(), &[one.public().clone()]).is_ok());
    assert!(verify(misnamed.as_bytes(), &[three.public().clone()]).is_err());
}

#[test]
fn no_key_trusts_nothing() {
    assert!(matches!(verify(&sign(PAYLOAD, &[&key(1)]), &[]), Err(EnvelopeError::Untrusted)));
}

fn wire(payload: &str, signature: &str) -> String {
    format!(
        "{{\"payloadType\":\"{PAYLOAD_TYPE}\",\"payload\":\"{payload}\",\"signatures\":[{{\"sig\":\"{signature}\"}}]}}"
    )
}

fn signature(payload: &[u8], payload_type: &str) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};
    let pae = [pae_prefix(payload_type, payload.len() as u64), payload.to_vec()].concat();
    key(1).sign_prehash(&Sha256::digest(pae).into()).unwrap()
}

#[test]
fn either_alphabet_with_or_without_padding_is_read_and_no_mixture() {
    let keys = [key(1).public().clone()];
    let signature = STANDARD.encode(signature(PAYLOAD, PAYLOAD_TYPE));
    for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        let envelope = wire(&engine.encode(PAYLOAD), &signature);
        assert_eq!(verify(envelope.as_bytes(), &keys).unwrap().payload, PAYLOAD);
    }
    let escaped = wire(&STANDARD.encode(PAYLOAD).replace('/', "\\/"), &signature);
    assert_eq!(verify(escaped.as_bytes(), &keys).unwrap().payload, PAYLOAD);
    for payload in ["++--", "//__", "A", "AB=C", "AAA\\n", " AAA", "AAB="] {
        assert!(matches!(verify(wire(payload, &signature).as_bytes(), &keys), Err(EnvelopeError::NotBase64(_))));
    }
}

#[test]
fn another_payload_type_is_told_after_its_signature_held() {
    let signature = STANDARD.encode(signature(PAYLOAD, "text/plain"));
    let envelope = wire(&STANDARD.encode(PAYLOAD), &signature).replace(PAYLOAD_TYPE, "text/plain");
    assert!(matches!(verify(envelope.as_bytes(), &[key(1).public().clone()]), Err(EnvelopeError::PayloadType)));
    assert!(matches!(verify(envelope.as_bytes(), &[key(2).public().clone()]), Err(EnvelopeError::Untrusted)));
}

#[test]
fn signatures_that_are_no_der_are_untrusted() {
    let good = signature(PAYLOAD, PAYLOAD_TYPE);
    let keys = [key(1).public().clone()];
    for bytes in [&b""[..], &[0; 64], &good[1..], &good[..good.len() - 1], &[good.clone(), vec![0]].concat()] {
        let envelope = wire(&STANDARD.encode(PAYLOAD), &STANDARD.encode(bytes));
        assert!(matches!(verify(envelope.as_bytes(), &keys), Err(EnvelopeError::Untrusted)), "{bytes:?}");
    }
}

#[test]
fn a_signature_of_1025_bytes_is_refused() {
    let of = |bytes: usize| wire("", &STANDARD.encode(vec![0; bytes]));
    assert!(read(of(SIGNATURE_BYTES_MAX).as_bytes()).is_ok());
    assert!(matches!(read(of(SIGNATURE_BYTES_MAX + 1).as_bytes()), Err(EnvelopeError::NotBase64("sig"))));
}

#[test]
fn no_signature_and_17_signatures_are_refused() {
    let of = |count: usize| {
        let signatures = vec!["{\"sig\":\"\"}"; count].join(",");
        format!("{{\"payloadType\":\"\",\"payload\":\"\",\"signatures\":[{signatures}]}}")
    };
    assert!(read(of(SIGNATURES_MAX).as_bytes()).is_ok());
    assert!(matches!(read(of(SIGNATURES_MAX + 1).as_bytes()), Err(EnvelopeError::Signatures(17))));
    assert!(matches!(read(of(0).as_bytes()), Err(EnvelopeError::Signatures(0))));
}

#[test]
fn an_envelope_one_byte_over_the_limit_is_refused() {
    let envelope = sign(PAYLOAD, &[&key(1)]);
    assert!(read_at_most(envelope.as_slice(), envelope.len()).is_ok());
    let max = envelope.len() - 1;
    assert!(matches!(read_at_most(envelope.as_slice(), max), Err(EnvelopeError::TooLarge { .. })));
}

#[test]
fn fields_that_stand_twice_or_are_missing_are_refused() {
    let envelope = String::from_utf8(sign(b"{}", &[&key(1)])).unwrap();
    for (from, to) in [
        ("\"payload\":", "\"payload\":\"\",\"payload\":"),
        ("\"payloadType\":", "\"payloadType\":\"\",\"payloadType\":"),
        ("\"sig\":", "\"sig\":\"\",\"sig\":"),
        ("\"payload\":", "\"other\":"),
        ("\"signatures\":", "\"other\":"),
        ("]}", "]}{}"),
    ] {
        let bent = envelope.replacen(from, to, 1);
        assert!(matches!(read(bent.as_bytes()), Err(EnvelopeError::NotJson(_))), "{bent}");
    }
    assert!(read(envelope.replacen('{', "{\"more\":[1],", 1).as_bytes()).is_ok());
}

#[test]
fn an_envelope_that_is_empty_or_ends_early_says_so() {
    let envelope = sign(b"{}", &[&key(1)]);
    assert!(matches!(read(&b""[..]), Err(EnvelopeError::Empty)));
    let whole = envelope.trim_ascii_end().len();
    for end in 1..whole {
        assert!(matches!(read(&envelope[..end]), Err(EnvelopeError::Cut)), "{end}");
    }
    assert!(read(&envelope[..whole]).is_ok());
}

#[test]
fn a_list_is_no_envelope_and_no_signature() {
    for text in ["[\"\",\"\",[{\"sig\":\"\"}]]", "{\"payloadType\":\"\",\"payload\":\"\",\"signatures\":[[\"\"]]}"] {
        assert!(matches!(read(text.as_bytes()), Err(EnvelopeError::NotJson(_))), "{text}");
    }
}

#[test]
fn padding_in_part_is_refused() {
    let read = |payload: &str| {
        let envelope = format!("{{\"payloadType\":\"\",\"payload\":\"{payload}\",\"signatures\":[{{\"sig\":\"\"}}]}}");
        Envelope::from_bytes(envelope.as_bytes()).map(Envelope::into_unverified)
    };
    for whole in ["Yg==", "Yg"] {
        assert_eq!(read(whole).unwrap(), b"b", "{whole}");
    }
    for part in ["Yg=", "Yg===", "Yg==Yg==", "=", "===="] {
        assert!(matches!(read(part), Err(EnvelopeError::NotBase64("payload"))), "{part}");
    }
}

#[test]
fn a_payload_that_changes_between_two_writings_is_not_signed() {
    let times = Cell::new(0u8);
    for grows in [false, true] {
        let payload = |sink: &mut dyn Write| {
            times.set(times.get() + 1);
            sink.write_all(&vec![times.get(); if grows { times.get().into() } else { 3 }])
        };
        let written = write_envelope(&mut Vec::new(), payload, &[&key(1)]);
        assert!(matches!(written, Err(WriteError::Unstable)));
    }
}

#[test]
fn a_payload_one_byte_over_what_a_reader_takes_is_not_signed() {
    assert!(within_limit(PAYLOAD_BYTES_MAX).is_ok());
    assert!(matches!(within_limit(PAYLOAD_BYTES_MAX + 1), Err(WriteError::TooLarge { .. })));
    let envelope = PAYLOAD_BYTES_MAX.div_ceil(3) * 4 + 300 * SIGNATURES_MAX as u64;
    assert!(envelope < ENVELOPE_BYTES_MAX as u64, "and what is signed is read");
}

#[test]
fn an_output_or_a_signer_that_fails_gives_no_envelope() {
    struct Refusing;
    impl Signer for Refusing {
        fn keyid(&self) -> &str {
            "\"quoted\n"
        }
        fn sign_prehash(&self, _: &crate::merkle::Hash) -> Result<Vec<u8>, SignError> {
            Err(SignError::Signer("no".into()))
        }
    }
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let payload = |sink: &mut dyn Write| sink.write_all(b"{}");
    assert!(matches!(write_envelope(Vec::new(), payload, &[&Refusing]), Err(WriteError::Sign(_))));
    assert!(matches!(write_envelope(Full, payload, &[&key(1)]), Err(WriteError::Io(_))));
}

#[test]
fn keys_round_trip_and_nothing_else_is_a_key() {
    let key = key(9);
    let (private, public) = (key.to_pem().unwrap(), key.public().to_pem().unwrap());
    assert!(private.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert_eq!(KeyFile::from_pem(private.as_bytes()).unwrap().public(), key.public());
    assert_eq!(PublicKey::from_pem(format!("\n{public}\n\n").as_bytes()).unwrap(), *key.public());
    assert_eq!(PublicKey::from_pem(private.as_bytes()), Err(KeyError::NotPublic));
    assert_eq!(KeyFile::from_pem(public.as_bytes()).map(drop), Err(KeyError::NotPrivate));
    assert_eq!(PublicKey::from_pem(b"\xff\xfe"), Err(KeyError::NotText));
    assert_eq!(PublicKey::from_pem(b""), Err(KeyError::NotPublic));
    for bytes in [[0; 32], [0xff; 32]] {
        assert_eq!(KeyFile::from_random(&bytes).map(drop), Err(KeyError::NotInRange));
    }
    // A public key of P-384.
    let other = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEAAAA\n-----END PUBLIC KEY-----\n";
    assert_eq!(PublicKey::from_pem(other.as_bytes()), Err(KeyError::NotPublic));
}

#[test]
fn a_private_key_is_never_printed() {
    let key = key(9);
    assert_eq!(format!("{key:?}"), format!("KeyFile({})", key.public().keyid()));
}

#[test]
fn timestamps_are_added_and_nothing_else_is_changed() {
    let key = key(1);
    let mut envelope = Vec::new();
    write_envelope(&mut envelope, |out| out.write_all(b"payload"), &[&key, &key]).unwrap();
    let mut count = 0_u8;
    let mut stamp = |signature: &[u8]| {
        count += 1;
        Ok::<_, SignError>(vec![vec![count], signature.to_vec()])
    };
    let once = attach_timestamps(&envelope, &mut stamp).unwrap();
    let twice = attach_timestamps(&once, &mut stamp).unwrap();
    let read = Envelope::from_bytes(&twice).unwrap();
    for (index, signature) in (1..).zip(read.signatures()) {
        let expected = [vec![index], signature.bytes().to_vec(), vec![index + 2], signature.bytes().to_vec()];
        assert_eq!(*signature.timestamps(), Timestamps::Tokens(expected.to_vec()));
    }
    assert_eq!(read.verify(&[key.public().clone()]).unwrap().payload, b"payload");
    // A signature has eight at most.
    let full = attach_timestamps(&attach_timestamps(&twice, &mut stamp).unwrap(), &mut stamp).unwrap();
    assert!(matches!(attach_timestamps(&full, &mut stamp), Err(AttachError::Timestamps(1))));
    let mut none = |_: &[u8]| Err(SignError::Signer("gone".into()));
    assert!(matches!(attach_timestamps(&envelope, &mut none), Err(AttachError::Stamp { place: 1, .. })));
    assert!(matches!(attach_timestamps(b"{}", &mut stamp), Err(AttachError::Envelope(_))));
    // Not a byte is changed of what nobody knows here, of numbers, or of spaces.
    let odd = String::from_utf8(envelope.clone()).unwrap();
    let odd =
        odd.replace("{\"keyid\"", "{ \"x\":1.00, \"x\": [ ] ,\"timestamps\" : [ ] , \"keyid\"").replace('}', "} ");
    let mut one = |_: &[u8]| Ok::<_, SignError>(vec![vec![7]]);
    let with = String::from_utf8(attach_timestamps(odd.as_bytes(), &mut one).unwrap()).unwrap();
    assert_eq!(with.replace("{\"type\":\"tsp\",\"data\":\"Bw==\"}", ""), odd);
    assert_eq!(with.matches("Bw==").count(), 2);
    // As many as there may be, each as large as it may be.
    let mut all = |_: &[u8]| Ok::<_, SignError>(vec![vec![0; crate::timestamp::TOKEN_BYTES_MAX]; TIMESTAMPS_MAX]);
    assert!(attach_timestamps(&envelope, &mut all).is_ok());
    // What a reader would not take is not made.
    let mut large = |_: &[u8]| Ok::<_, SignError>(vec![vec![0; 256 << 10]]);
    assert!(matches!(attach_timestamps(&envelope, &mut large), Err(AttachError::Timestamps(1))));
}
