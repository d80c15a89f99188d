//! What holds of an envelope, whatever its bytes: its base64 is one of four texts of the bytes, a signature is taken exactly
//! if it holds over DSSE's encoding, and of an envelope that was signed nothing else than its payload ever comes.

use attestation::dsse::{
    Envelope, EnvelopeError, PAYLOAD_TYPE, PublicKey, SIGNATURES_MAX, Signer as _, read, write_envelope,
};
use attestation::synthetic;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::OnceLock;

/// The first byte of an input that is a payload to sign, after three bytes that say which bit of the envelope is changed.
pub const SIGNED: u8 = 0;

/// The first byte of an input that is the text of a payload in base64, in an envelope that nobody signed.
pub const TEXT: u8 = 1;

/// The first byte of an input that is a payload type, a zero byte and a payload, all of which is signed.
pub const TYPED: u8 = 2;

/// Whether a signature held, or a text was taken.
pub fn hold(input: &[u8]) -> bool {
    match input.split_first() {
        Some((&SIGNED, [low, middle, high, payload @ ..])) => {
            signed(payload, u32::from_le_bytes([*low, *middle, *high, 0]) as usize)
        }
        Some((&TEXT, text)) => {
            let before = br#"{"payloadType":"","signatures":[{"sig":""}],"payload":""#;
            bytes(&[before, text, b"\"}"].concat()).is_some()
        }
        Some((&TYPED, rest)) => typed(rest),
        _ => bytes(input).unwrap_or_default(),
    }
}

fn key() -> &'static PublicKey {
    static KEY: OnceLock<PublicKey> = OnceLock::new();
    KEY.get_or_init(|| synthetic::key().expect("the bytes are a key").public().clone())
}

/// Whether a signature holds, if it is an envelope.
fn bytes(input: &[u8]) -> Option<bool> {
    let envelope = Envelope::from_bytes(input);
    let again = read(input);
    let Ok(envelope) = envelope else {
        assert!(again.is_err(), "a reader takes what its bytes are not");
        return None;
    };
    // What stands in a field that nobody knows is not looked at: half of a surrogate pair, say.
    let value: Value = serde_json::from_slice(input).ok()?;
    let signatures = value["signatures"].as_array().expect("signatures are a list");
    assert!((1..=SIGNATURES_MAX).contains(&signatures.len()), "{} signatures", signatures.len());
    let ids: Vec<&str> = signatures.iter().map(|signature| signature["keyid"].as_str().unwrap_or_default()).collect();
    assert_eq!(envelope.claimed_keyids().collect::<Vec<_>>(), ids, "the key ids");
    let payload = one_of_four(&value["payload"]);
    assert!(again.expect("it was read before").into_unverified() == payload, "the payload");
    let holds = holds(&value);
    match envelope.verify(&[key().clone()]) {
        Ok(verified) => {
            assert!(holds && value["payloadType"] == PAYLOAD_TYPE && verified.payload == payload, "{value}");
            assert_eq!(verified.keyids, [key().keyid()]);
            assert_eq!(verified.payload_sha256[..], Sha256::digest(&payload)[..]);
        }
        Err(EnvelopeError::PayloadType) => assert!(holds && value["payloadType"] != PAYLOAD_TYPE, "{value}"),
        Err(error) => assert!(!holds, "a signature that holds is refused: {error}"),
    }
    Some(holds)
}

/// Whether some signature of an envelope's is the key's over DSSE's encoding of its payload.
fn holds(envelope: &Value) -> bool {
    let (Some(payload_type), Some(payload)) = (envelope["payloadType"].as_str(), lenient(&envelope["payload"])) else {
        return false;
    };
    let sha256 = digest(payload_type, &payload);
    let signatures = envelope["signatures"].as_array().map(Vec::as_slice).unwrap_or_default();
    signatures.iter().filter_map(|signature| lenient(&signature["sig"])).any(|sig| key().verifies(&sha256, &sig))
}

/// SHA-256 of DSSE's encoding, by its definition.
fn digest(payload_type: &str, payload: &[u8]) -> [u8; 32] {
    let begin = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    Sha256::new_with_prefix(begin).chain_update(payload).finalize().into()
}

/// Signs a payload of any type: only one of them is taken.
fn typed(input: &[u8]) -> bool {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let payload_type = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let payload = parts.next().unwrap_or_default();
    let key_file = synthetic::key().expect("the bytes are a key");
    let sig = key_file.sign_prehash(&digest(&payload_type, payload)).expect("a key signs any digest");
    let envelope = json!({
        "payloadType": payload_type,
        "payload": STANDARD.encode(payload),
        "signatures": [{"sig": STANDARD.encode(sig)}],
    });
    assert_eq!(bytes(envelope.to_string().as_bytes()), Some(true), "it was signed");
    true
}

/// The bytes of base64 in any alphabet.
fn lenient(text: &Value) -> Option<Vec<u8>> {
    let text = text.as_str()?.replace('-', "+").replace('_', "/");
    STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// The bytes of base64 that was accepted: of either alphabet, with all of its padding or none.
fn one_of_four(text: &Value) -> Vec<u8> {
    let bytes = lenient(text).unwrap_or_else(|| panic!("no base64: {text}"));
    let texts = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|engine| engine.encode(&bytes));
    assert!(texts.iter().any(|of| text == of), "one more text of these bytes is accepted: {text}");
    bytes
}

/// Signs a payload, and changes one bit of the envelope.
fn signed(payload: &[u8], bit: usize) -> bool {
    let (key_file, mut envelope) = (synthetic::key().expect("the bytes are a key"), Vec::new());
    write_envelope(&mut envelope, |out| out.write_all(payload), &[&key_file]).expect("memory takes everything");
    let of = |envelope: &[u8]| Envelope::from_bytes(envelope).and_then(|envelope| envelope.verify(&[key().clone()]));
    assert_eq!(of(&envelope).expect("it was signed").payload, payload);
    let at = bit % (8 * envelope.len());
    assert!(of(&envelope[..at / 8]).is_err() || at / 8 + 1 == envelope.len(), "an envelope that was cut");
    envelope[at / 8] ^= 1 << (at % 8);
    match of(&envelope) {
        Ok(verified) => assert!(verified.payload == payload, "another payload under the same signature"),
        Err(_) => {
            assert!(!matches!(of(&envelope), Err(EnvelopeError::PayloadType)), "another type under the same signature")
        }
    }
    true
}
