//! Formats of seals, quotes and enrolments, as docs/format.md (section 15) has them: computed there by other means, and kept for ever.

use super::*;
use crate::hex;
use crate::tpm::{PcrValues, Quote};
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEY: &[u8] = include_bytes!("../../tests/tpm/ecc.pub");
const SESSION: [u8; 16] = [0x22; 16];
const HEAD: Head = Head { tree_size: 7, root: [0x11; 32] };

fn seal() -> Seal {
    Seal { session: SESSION, boottime_ns: 5, commitment: HEAD.commitment() }
}

fn quoting() -> Quoting {
    let asked =
        Asked { nonce: vec![1, 2], session: SESSION, log: HEAD, signers: vec!["a".to_owned(), "bc".to_owned()] };
    let quote = |byte| Quote { attest: vec![byte], signature: vec![byte, byte] };
    let mut registers = PcrValues::new();
    assert!(registers.set(12, [0x44; 32]));
    let list = SealList::from_bytes(&seal().to_bytes()).unwrap();
    let heads = Heads(BTreeMap::from([(1, HEAD)]));
    let seals = Seals { pcr: 12, value: [0; 32], start: quote(1), list, heads };
    Quoting { asked, attestation_key: vec![9], quote: quote(2), registers, seals, signing_key: None }
}

#[test]
fn a_seal_is_what_the_format_says() {
    assert_eq!(hex::encode(&HEAD.commitment()), "f3b5827cab5a03aeea9ed70de588a27072ae1ab13ad9c552d2ec51482f07e2b3");
    assert_eq!(hex::encode(&seal().digest(1)), "84d1140b9b85afd2cc2b439adc976f4138fe180fac18898a16b1a9045a1223ab");
    let list = SealList::from_bytes(&seal().to_bytes()).unwrap();
    let registers: Vec<String> = list.registers().map(|register| hex::encode(&register)).collect();
    assert_eq!(
        registers,
        ["00".repeat(32).as_str(), "0c4904c9319fb1a4e016dc7ea3d666a92b2da89c80454adf9af244a4da1ef2e9"]
    );
}

#[test]
fn the_questions_are_what_the_format_says() {
    let asked = quoting().asked;
    assert_eq!(
        hex::encode(&asked.data(&[0x33; 32])),
        "e613541842c3849e6ddb2a3a6466fd7004285e7538cb449d2ee3531b713ab3b0"
    );
    assert_eq!(
        hex::encode(&start_data(&[1, 2], &SESSION)),
        "ebc6c4e11e9819389c27d05aa847aca400da7d358377b2e392d811ba92c7fcb1"
    );
    // Parts that are cut elsewhere are another question.
    let other = Asked { signers: vec!["ab".to_owned(), "c".to_owned()], ..asked.clone() };
    assert_ne!(other.data(&[0x33; 32]), asked.data(&[0x33; 32]));
}

#[test]
fn a_quote_is_written_as_the_format_says_and_read_again() {
    let mut payload = Vec::new();
    quoting().write(&[0x33; 32], &mut payload).unwrap();
    let text = String::from_utf8(payload.clone()).unwrap();
    let expected = [
        r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"statement","digest":{"sha256":""#,
        &"33".repeat(32),
        r#""}}],"predicateType":"urn:testimony:tpm-quote:v1","predicate":{"asked":{"nonce":"0102","session":""#,
        &"22".repeat(16),
        r#"","log":{"treeSize":"7","root":""#,
        &"11".repeat(32),
        r#""},"signers":["a","bc"]},"attestationKey":"CQ==","quote":{"attest":"Ag==","signature":"AgI="},"registers":{"12":""#,
        &"44".repeat(32),
        r#""},"seals":{"pcr":12,"value":""#,
        &"00".repeat(32),
        r#"","start":{"attest":"AQ==","signature":"AQE="},"list":"IiIiIiIiIiIiIiIiIiIiIgAAAAAAAAAF87WCfKtaA67qntcN5YiicHKuGrE62cVS0uxRSC8H4rM=","heads":{"1":{"treeSize":"7","root":""#,
        &"11".repeat(32),
        r#""}}}}}"#,
    ];
    assert_eq!(text, expected.concat());
    assert_eq!(Quoting::read(&payload).unwrap(), (quoting(), [0x33; 32]));
}

#[test]
fn what_is_written_in_another_way_is_refused() {
    let mut payload = Vec::new();
    quoting().write(&[0x33; 32], &mut payload).unwrap();
    let text = String::from_utf8(payload).unwrap();
    let list = seal().to_bytes();
    for (part, other) in [
        ("urn:testimony:tpm-quote:v1", "urn:testimony:tpm-quote:v2"),
        ("\"name\":\"statement\"", "\"name\":\"another\""),
        ("\"treeSize\":\"7\"", "\"treeSize\":\"07\""),
        ("\"treeSize\":\"7\"", "\"treeSize\":7"),
        ("\"nonce\":\"0102\"", "\"nonce\":\"0102\",\"more\":1"),
        ("\"nonce\":\"0102\"", "\"nonce\":\"010\""),
        ("\"12\":", "\"24\":"),
        ("\"heads\":{\"1\":", "\"heads\":{\"01\":"),
        ("\"signers\":[\"a\",\"bc\"]", "\"signers\":null"),
    ] {
        assert!(text.contains(part), "{part}");
        assert!(Quoting::read(text.replacen(part, other, 1).as_bytes()).is_err(), "{other}");
    }
    assert!(SealList::from_bytes(&list[1..]).is_none() && SealList::from_bytes(&[0; 57]).is_none());
    assert!(SealList::from_bytes(&vec![0; SEAL_BYTES * (SEALS_MAX + 1)]).is_none());
    assert!(Quoting::read(&vec![b' '; QUOTE_BYTES_MAX + 1]).is_err());
}

fn beyond(quoting: &Quoting) -> Option<String> {
    let error = quoting.write(&[0x33; 32], std::io::sink()).err()?;
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    Some(error.to_string())
}

#[test]
fn what_is_beyond_a_limit_is_neither_written_nor_read() {
    let read = |quoting: &Quoting| {
        let mut payload = Vec::new();
        quoting.write(&[0x33; 32], &mut payload).map(|()| Quoting::read(&payload).unwrap().0)
    };
    let mut most = quoting();
    most.asked.nonce = vec![1; NONCE_BYTES_MAX];
    most.asked.signers = vec![String::new(); SIGNERS_MAX];
    assert_eq!(read(&most).unwrap(), most);
    let mut nonce = quoting();
    nonce.asked.nonce = vec![1; NONCE_BYTES_MAX + 1];
    let mut signers = quoting();
    signers.asked.signers = vec![String::new(); SIGNERS_MAX + 1];
    assert!(beyond(&nonce).unwrap().contains("64 bytes") && beyond(&signers).unwrap().contains("64 keys"));
    let mut payload = Vec::new();
    quoting().write(&[0x33; 32], &mut payload).unwrap();
    let text = String::from_utf8(payload).unwrap();
    let longer = text.replace("\"nonce\":\"0102\"", &format!("\"nonce\":\"{}\"", "00".repeat(NONCE_BYTES_MAX + 1)));
    assert!(matches!(Quoting::read(longer.as_bytes()), Err(QuotingError::Nonce)));
    let more = text.replace("\"signers\":[\"a\",", &format!("\"signers\":[{}", "\"\",".repeat(SIGNERS_MAX)));
    assert!(matches!(Quoting::read(more.as_bytes()), Err(QuotingError::Signers)));
}

#[test]
fn a_quote_of_a_byte_more_than_is_read_is_not_written() {
    let mut empty = Vec::new();
    let mut longest = quoting();
    longest.asked.signers = vec![String::new()];
    longest.write(&[0x33; 32], &mut empty).unwrap();
    longest.asked.signers = vec!["a".repeat(QUOTE_BYTES_MAX - empty.len())];
    assert_eq!(beyond(&longest), None);
    longest.asked.signers[0].push('a');
    assert!(beyond(&longest).unwrap().contains(&QUOTE_BYTES_MAX.to_string()));
}

#[test]
fn a_machine_is_its_key_and_its_register() {
    let machine = Machine::new("m", KEY, Some("spiffe://example.org/a"), 12, true).unwrap();
    let json = machine.to_json().unwrap();
    assert_eq!(Machine::read(&json).unwrap(), machine);
    let text = String::from_utf8(json).unwrap();
    for (part, other) in
        [("\"version\": 1", "\"version\": 2"), ("\"sealPcr\": 12", "\"sealPcr\": 16"), ("\"name\"", "\"title\"")]
    {
        assert!(text.contains(part), "{part}");
        assert!(Machine::read(text.replace(part, other).as_bytes()).is_err(), "{other}");
    }
    for register in [0, 10, 16, 23] {
        assert!(Machine::new("m", KEY, None, register, true).is_err());
    }
    assert!(Machine::new("m", &KEY[1..], None, 12, true).is_err());
}

#[test]
fn enrolments_of_one_key_contradict_each_other_in_what_they_say_of_it() {
    let machine = |name, id, pcr, certified| Machine::new(name, KEY, id, pcr, certified).unwrap();
    let one = machine("m", None, 12, true);
    for (other, what) in [
        (machine("m", None, 12, true), None),
        (machine("n", None, 12, true), Some("name")),
        (machine("m", Some("spiffe://example.org/a"), 12, true), Some("SPIFFE ID")),
        (machine("m", None, 13, true), Some("register")),
        (machine("m", None, 12, false), Some("word on who vouches for its TPM")),
        (crate::synthetic::tpm::Node::new(3).unwrap().machine("n").unwrap(), None),
    ] {
        assert_eq!((one.contradicts(&other), other.contradicts(&one)), (what, what));
    }
}

#[test]
fn an_answer_counts_for_its_own_challenge_and_for_a_while() {
    // Any secret but the right one is as good as none, and the right one is in a TPM.
    let machine = Machine::new("m", KEY, None, 12, false).unwrap();
    let secret = [5; 32];
    let pending = serde_json::json!({
        "version": 1,
        "secretSha256": hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(secret)),
        "expires": "1000",
        "machine": serde_json::from_slice::<serde_json::Value>(&machine.to_json().unwrap()).unwrap(),
    });
    let pending = Pending::read(pending.to_string().as_bytes()).unwrap();
    assert_eq!(pending.accept(&Answer::new(&secret), 1000).unwrap(), machine);
    assert!(matches!(pending.accept(&Answer::new(&secret), 1001), Err(EnrolError::Late)));
    assert!(matches!(pending.accept(&Answer::new(&[6; 32]), 1000), Err(EnrolError::Secret)));
    assert!(matches!(pending.accept(&Answer::new(&secret[1..]), 1000), Err(EnrolError::Secret)));
    for wrong in ["", "[]", "{}", r#"{"version":2,"secret":""}"#] {
        assert!(Answer::read(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let none = Request::new(KEY, Vec::new());
    let terms = Terms { name: "m", spiffe_id: None, seal_pcr: 12, makers: None, endorsement_key: None };
    assert!(matches!(none.challenge(&terms, 0, 1), Err(EnrolError::NoEndorsementKey)));
}

proptest! {
    #[test]
    fn any_bytes_are_a_quote_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..900_usize) {
        let mut payload = Vec::new();
        quoting().write(&[0x33; 32], &mut payload).unwrap();
        let mixed = [&payload[..at.min(payload.len())], &bytes].concat();
        let _ = Quoting::read(&mixed);
        let _ = Machine::read(&bytes);
        let _ = BootPolicy::read(&bytes);
    }

    #[test]
    fn a_seal_is_its_bytes(session: [u8; 16], boottime_ns: u64, commitment: [u8; 32]) {
        let seal = Seal { session, boottime_ns, commitment };
        prop_assert_eq!(Seal::from_bytes(&seal.to_bytes()), seal);
    }
}
