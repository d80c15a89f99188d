//! A receipt made by other programs (attestation/tests/receipts/make.go), and what is made of it when a part is changed.

use super::*;
use crate::dsse::{Envelope, Signature};
use crate::hex;
use proptest::prelude::*;
use rcgen::SigningKey as _;
use sha2::{Digest, Sha256};

const RECEIPT: &str = include_str!("../../tests/receipts/receipt.tlog-proof");
const KEY: &str = include_str!("../../tests/receipts/log.vkey");
/// When it was made.
const TIME: UnixSeconds = 0x6b04_56e6;

/// A log of two entries, of which the second is the envelope's.
pub(crate) struct Log {
    name: String,
    key: rcgen::KeyPair,
}

impl Log {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), key: rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap() }
    }

    pub(crate) fn key(&self) -> LogKey {
        let mut bytes = vec![4];
        bytes.extend_from_slice(self.key.public_key_raw());
        let id = key::id_of(&self.name, bytes[1..].try_into().unwrap());
        LogKey::read(&format!("{}+{}+{}", self.name, hex::encode(&id), STANDARD.encode(bytes))).unwrap()
    }

    pub(crate) fn receipt(&self, envelope: &[u8], time: UnixSeconds) -> String {
        self.receipt_of(Envelope::from_bytes(envelope).unwrap().payload_sha256(), envelope, time)
    }

    /// One that says that the signatures are over this payload.
    pub(crate) fn receipt_of(&self, payload: Hash, envelope: &[u8], time: UnixSeconds) -> String {
        let envelope = Envelope::from_bytes(envelope).unwrap();
        let entry = Entry::new(payload, envelope.signatures().iter().map(Signature::bytes)).to_bytes();
        let leaves = [merkle::leaf_hash(b"before"), merkle::leaf_hash(&entry)];
        let text = |hash: &Hash| STANDARD.encode(hash);
        let checkpoint = format!("{}\n2\n{}\n", self.name, text(&merkle::root_of(&leaves)));
        let signature = self.key.sign(format!("cosignature/v1\ntime {time}\n{checkpoint}").as_bytes()).unwrap();
        let id = key::id_of(&self.name, self.key.public_key_raw().try_into().unwrap());
        let signature = STANDARD.encode([&id[..], &time.to_be_bytes(), &signature].concat());
        let (extra, proof) = (STANDARD.encode(&entry), text(&leaves[0]));
        format!("{HEADER}\nextra {extra}\nindex 1\n{proof}\n\n{checkpoint}\n\u{2014} {} {signature}\n", self.name)
    }
}

fn key_of_go() -> LogKey {
    LogKey::read(KEY).unwrap()
}

fn accept(text: &str) -> Result<UnixSeconds, ReceiptError> {
    Receipt::read(text.as_bytes())?.accept(&key_of_go())
}

#[test]
fn a_receipt_of_another_program_is_read() {
    assert_eq!(accept(RECEIPT), Ok(TIME));
    let receipt = Receipt::read(RECEIPT.as_bytes()).unwrap();
    let payload: Hash = Sha256::digest("payload").into();
    assert_eq!(*receipt.entry(), Entry::new(payload, [b"a signature".as_slice()]));
    assert_eq!(*receipt.entry().payload_sha256(), payload);
    assert!(receipt.entry().has(b"a signature") && !receipt.entry().has(b"another"));
    assert_eq!(merkle::leaf_hash(&receipt.entry().to_bytes()), receipt.leaf);
}

#[test]
fn a_part_of_another_receipt_is_found() {
    let other = Entry::new([0; 32], [b"a signature".as_slice()]).to_bytes();
    let lines: Vec<&str> = RECEIPT.split('\n').collect();
    let with = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line;
        accept(&lines.join("\n"))
    };
    let extra = format!("extra {}", STANDARD.encode(other));
    assert_eq!(with(1, &extra), Err(MerkleError::WrongRoot.into()));
    assert_eq!(with(2, "index 3"), Err(MerkleError::WrongRoot.into()));
    assert_eq!(with(2, "index 5"), Err(MerkleError::OutOfRange { index: 5, size: 5 }.into()));
    assert_eq!(with(2, "index 02"), Err(ReceiptError::Malformed("its index")));
    assert_eq!(with(3, lines[4]), Err(MerkleError::WrongRoot.into()));
    assert_eq!(with(7, "another.log"), Err(ReceiptError::OtherLog));
    assert_eq!(with(8, "6"), Err(ReceiptError::Signature));
    assert_eq!(with(0, "c2sp.org/tlog-proof@v2"), Err(ReceiptError::Malformed("its first line")));
    assert_eq!(with(1, "index 2"), Err(ReceiptError::Malformed("its extra data")));
    assert_eq!(accept(&lines[..7].join("\n")), Err(ReceiptError::Malformed("no checkpoint")));
    assert_eq!(Receipt::read(&[b'x'; RECEIPT_BYTES_MAX + 1]).err(), Some(ReceiptError::TooLarge));
    // A signature of somebody else's beside it changes nothing; alone it is none.
    let witness = "\u{2014} witness.example.org AAAAAAAA";
    assert_eq!(accept(&format!("{RECEIPT}{witness}\n")), Ok(TIME));
    assert_eq!(with(11, witness), Err(ReceiptError::Signature));
}

#[test]
fn keys_that_are_none() {
    let read = |text: &str| LogKey::read(text).err();
    assert_eq!(read(""), Some(KeyError::Form));
    assert_eq!(read(&KEY.replace("5997a2c7", "5997a2c8")), Some(KeyError::Id));
    assert_eq!(read(&KEY.replace("collector", "other")), Some(KeyError::Id));
    assert_eq!(read(&format!("log+00000000+{}", STANDARD.encode([1; 33]))), Some(KeyError::Type(1)));
    assert_eq!(read(&format!("log+00000000+{}", STANDARD.encode([4; 32]))), Some(KeyError::Form));
    assert_eq!(read(&format!("a log+00000000+{}", STANDARD.encode([4; 33]))), Some(KeyError::Form));
}

proptest! {
    #[test]
    fn no_change_makes_another_time(at in 0..RECEIPT.len(), bit in 0_u8..8) {
        let mut changed = RECEIPT.as_bytes().to_vec();
        changed[at] ^= 1 << bit;
        if let Ok(time) = Receipt::read(&changed).and_then(|receipt| receipt.accept(&key_of_go())) {
            prop_assert_eq!(time, TIME);
        }
    }

    #[test]
    fn any_bytes_are_refused_in_words(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Receipt::read(&bytes).is_err());
    }
}
