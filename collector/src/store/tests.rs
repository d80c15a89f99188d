//! What is kept, kept again, and found again; and what is no store.

use attestation::{
    merkle::{Hash, leaf_hash, verify_inclusion},
    receipt::Checkpoint,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rusqlite::Connection;

use super::*;

const LIMITS: Limits = Limits { bytes_max: 1 << 30, free_min: 0 };
const NOW_S: u64 = 1_800_000_000;

/// A note that says what would be signed.
fn note(size: u64, root: &Hash, time_s: u64) -> Checkpoint {
    Checkpoint::of_text(format!("{size} {} {time_s}\n", attestation::hex::encode(root)))
}

fn open(folder: &Path) -> Store {
    Store::open(folder, LIMITS).unwrap()
}

pub(crate) fn keep(store: &mut Store, statements: &[Statement]) -> Vec<(u64, bool)> {
    store.keep(statements, NOW_S, note).unwrap().into_iter().map(Result::unwrap).collect()
}

fn statement(byte: u8) -> Statement {
    Statement {
        sha256: [byte; 32],
        payload_sha256: [byte; 32],
        envelope: vec![byte; 100],
        entry: vec![byte; 3],
        number: Some(byte.into()),
        ..Statement::default()
    }
}

/// The entry of a place, by its receipt, which leads to a tree that was signed.
fn proven(store: &Store, place: u64) -> Vec<u8> {
    let text = store.receipt(place).unwrap();
    let (proof, note) = text.split_once("\n\n").unwrap();
    let mut lines = proof.lines().skip(1);
    let entry = STANDARD.decode(lines.next().unwrap().strip_prefix("extra ").unwrap()).unwrap();
    assert_eq!(lines.next().unwrap(), format!("index {place}"));
    let proof: Vec<Hash> = lines.map(|line| STANDARD.decode(line).unwrap().try_into().unwrap()).collect();
    let mut note = note.split_ascii_whitespace();
    let size = note.next().unwrap().parse().unwrap();
    let root = attestation::hex::decode_sha256(note.next().unwrap()).unwrap();
    verify_inclusion(&leaf_hash(&entry), place, size, &proof, &root).unwrap();
    entry
}

#[test]
fn what_was_kept_is_there_once_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    assert_eq!(keep(&mut store, &[statement(1), statement(2), statement(1)]), [(0, false), (1, false), (0, true)]);
    let root = store.tree.root();
    drop(store);
    let mut store = open(folder.path());
    assert_eq!((store.size(), store.tree.root()), (2, root));
    assert_eq!(keep(&mut store, &[statement(2), statement(3)]), [(1, true), (2, false)]);
    for place in 0..3_u8 {
        assert_eq!(proven(&store, place.into()), [place + 1; 3]);
    }
    assert!(store.receipt(3).is_err());
    let reader = Reader::open(folder.path()).unwrap();
    let mut places = Vec::new();
    let mut each = |listed: Listed| {
        places.push((listed.place, listed.number));
        true
    };
    reader.statements(1, &mut each).unwrap();
    assert_eq!(places, [(1, Some(2)), (2, Some(3))]);
    assert_eq!(reader.envelope(&[3; 32]).unwrap(), Some(vec![3; 100]));
    assert_eq!(reader.envelope(&[4; 32]).unwrap(), None);
}

#[test]
fn what_fails_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    keep(&mut store, &[statement(1)]);
    let root = store.tree.root();
    // A node that is there already, as where the tree went on without us.
    store.connection.execute("INSERT INTO node VALUES (0, 2, zeroblob(32))", ()).unwrap();
    assert!(store.keep(&[statement(2), statement(3)], NOW_S, note).is_err());
    assert_eq!((store.size(), store.tree.root()), (1, root));
    store.connection.execute("DELETE FROM node WHERE level = 0 AND place = 2", ()).unwrap();
    assert_eq!(keep(&mut store, &[statement(2), statement(3)]), [(1, false), (2, false)]);
    assert_eq!(proven(&store, 2), [3; 3]);
}

#[test]
fn challenges_are_taken_once_by_who_asked_and_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    assert!(store.challenge(("a", "one"), b"first", 0, 10).unwrap());
    assert!(store.challenge(("b", "two"), b"second", 0, 10).unwrap());
    assert_eq!(store.take_challenge("a", "two").unwrap(), None);
    assert_eq!(store.take_challenge("a", "one").unwrap(), Some(b"first".to_vec()));
    assert_eq!(store.take_challenge("a", "one").unwrap(), None);
    // Another of the same peer replaces it; another of anybody's clears what is too old.
    assert!(store.challenge(("c", "two"), b"third", 0, 10).unwrap());
    assert_eq!(store.take_challenge("b", "two").unwrap(), None);
    assert!(store.challenge(("d", "three"), b"fourth", 11, 20).unwrap());
    assert_eq!(store.take_challenge("c", "two").unwrap(), None);
}

#[test]
fn machines_are_found_again_by_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let machine =
        |key: u8, name: &str, says: &str| Enrolled { key: vec![key], name: name.to_owned(), machine: says.into() };
    store.enrol(&machine(1, "m", "one"), true, 0).unwrap();
    store.enrol(&machine(2, "m", "two"), true, 0).unwrap();
    store.enrol(&machine(1, "m", "three"), true, 0).unwrap();
    let found = Reader::open(folder.path()).unwrap().machines().unwrap();
    assert_eq!(found, [machine(1, "m", "three"), machine(2, "m", "two")]);
}

#[test]
fn nobody_takes_the_place_of_a_machine_that_is_enrolled() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let machine = |name: &str| Enrolled { key: vec![1], name: name.to_owned(), machine: name.into() };
    store.enrol(&machine("victim"), true, 0).unwrap();
    // By whoever has seen its key in a quote, whether a maker vouches for it or not; and by itself, believed.
    for (name, certified) in [("thief", true), ("thief", false), ("victim", false)] {
        assert!(matches!(store.enrol(&machine(name), certified, 0), Err(Error::KnownMachine)), "{name}");
    }
    store.enrol(&machine("victim"), true, 0).unwrap();
    assert_eq!(Reader::open(folder.path()).unwrap().machines().unwrap(), [machine("victim")]);
}

#[test]
fn one_name_has_so_many_machines_and_a_store_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let machine = |key: i64| Enrolled { key: key.to_be_bytes().to_vec(), name: "m".to_owned(), machine: Vec::new() };
    (0..MACHINES_OF_ONE_MAX).for_each(|key| store.enrol(&machine(key), true, 0).unwrap());
    assert!(matches!(store.enrol(&machine(-1), true, 0), Err(Error::TooManyMachines)));
    store.enrol(&machine(0), true, 0).unwrap();
    store.enrol(&Enrolled { name: "other".to_owned(), ..machine(-1) }, true, 0).unwrap();
    assert!(matches!(Store::open(folder.path(), LIMITS), Err(Error::InUse)));
    drop(store);
    open(folder.path());
}

#[test]
fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Reader::open(folder.path()).is_err());
    let file = folder.path().join(FILE);
    let other = Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE others (a)").unwrap();
    drop(other);
    assert!(matches!(Store::open(folder.path(), LIMITS), Err(Error::Foreign)));
    std::fs::remove_file(&file).unwrap();
    let mut store = open(folder.path());
    keep(&mut store, &[statement(1), statement(2)]);
    store.connection.execute("DELETE FROM statement WHERE place = 0", ()).unwrap();
    drop(store);
    assert!(matches!(Store::open(folder.path(), LIMITS), Err(Error::Counts { kept: 2, statements: 1 })));
    let connection = Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    drop(connection);
    assert!(matches!(Store::open(folder.path(), LIMITS), Err(Error::Newer(_))));
    assert!(matches!(Reader::open(folder.path()), Err(Error::Newer(_))));
    std::fs::write(&file, [0x55; 8192]).unwrap();
    assert!(matches!(Store::open(folder.path(), LIMITS), Err(Error::Database(_))));
}

#[test]
fn what_was_verified_of_it_is_what_a_statement_is_known_by() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let padded = |bytes: u8| Statement { sha256: [bytes; 32], envelope: vec![b' '; bytes.into()], ..statement(1) };
    assert_eq!(keep(&mut store, &[statement(1), padded(2), padded(3)]), [(0, false), (0, true), (0, true)]);
    assert_eq!(Reader::open(folder.path()).unwrap().envelope(&[1; 32]).unwrap(), Some(vec![1; 100]));
    // Signed anew, it is another entry, of which a payload has so many.
    let signed = |number: u8| Statement { sha256: [100 + number; 32], entry: vec![number], ..statement(1) };
    let last = u8::try_from(ENVELOPES_MAX).unwrap() - 1;
    for number in 1..=last {
        assert_eq!(keep(&mut store, &[signed(number)]), [(number.into(), false)]);
    }
    let kept = store.keep(&[signed(last + 1), signed(last), statement(9)], NOW_S, note).unwrap();
    assert!(matches!(kept[0], Err(Error::TooManyEnvelopes)));
    assert_eq!(
        (kept[1].as_ref().unwrap(), kept[2].as_ref().unwrap()),
        (&(last.into(), true), &(u64::from(last) + 1, false))
    );
}

#[test]
fn a_quote_that_was_verified_takes_the_place_of_what_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let beside = |sha256: u8, quote: &[u8], is_proven| {
        let proven = Proven { quote: is_proven, bundle: false };
        Statement { sha256: [sha256; 32], quote: quote.to_vec(), bundle: b"b".to_vec(), proven, ..statement(1) }
    };
    let quote = |store: &Store| {
        let select = "SELECT CAST(quote AS TEXT) || CAST(bundle AS TEXT) FROM statement";
        store.connection.query_row(select, (), |row| row.get::<_, String>(0)).unwrap()
    };
    for (sha256, given, is_proven, stands) in [
        (1, "junk", false, "junkb"),
        (2, "none", false, "junkb"),
        (3, "good", true, "goodb"),
        (4, "late", true, "goodb"),
    ] {
        let repeated = sha256 > 1;
        assert_eq!(keep(&mut store, &[beside(sha256, given.as_bytes(), is_proven)]), [(0, repeated)]);
        assert_eq!(quote(&store), stands);
    }
}

#[test]
fn a_receipt_is_the_same_whenever_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let at = |store: &mut Store, byte, now_s| store.keep(&[statement(byte)], now_s, note).map(drop);
    at(&mut store, 1, NOW_S).unwrap();
    let first = store.receipt(0).unwrap();
    at(&mut store, 2, NOW_S + 10).unwrap();
    at(&mut store, 1, NOW_S + 20).unwrap();
    drop(store);
    let mut store = open(folder.path());
    store.sign_what_is_there(NOW_S + 30, note).unwrap();
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!((store.receipt(0).unwrap(), reader.receipt_of(&[1; 32]).unwrap()), (first.clone(), Some(first)));
    assert_eq!(reader.receipt_of(&[9; 32]).unwrap(), None);
    // A clock that goes back a little signs as of the time before; further back, nothing.
    let time = |store: &Store| reader_time(store);
    at(&mut store, 3, NOW_S + 10 - 60).unwrap();
    assert_eq!(time(&store), NOW_S + 10);
    assert!(matches!(at(&mut store, 4, NOW_S + 10 - 61), Err(Error::Clock(61))));
    assert_eq!((store.size(), time(&store)), (3, NOW_S + 10));
    // What is there already needs no signature.
    at(&mut store, 1, 0).unwrap();
}

fn reader_time(store: &Store) -> u64 {
    let select = "SELECT time_s FROM checkpoint ORDER BY size DESC LIMIT 1";
    store.connection.query_row(select, (), |row| row.get::<_, i64>(0)).unwrap().cast_unsigned()
}

#[test]
fn a_store_of_the_version_before_has_receipts_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    keep(&mut store, &[statement(1), statement(2)]);
    let back = "DROP TABLE checkpoint; DROP INDEX statement_entry; ALTER TABLE statement DROP COLUMN proven; PRAGMA user_version = 1;";
    store.connection.execute_batch(back).unwrap();
    drop(store);
    let mut store = open(folder.path());
    assert!(matches!(store.receipt(0), Err(Error::NoCheckpoint)));
    store.sign_what_is_there(NOW_S, note).unwrap();
    assert_eq!((proven(&store, 0), proven(&store, 1)), (vec![1; 3], vec![2; 3]));
    assert_eq!(keep(&mut store, &[statement(2), statement(3)]), [(1, true), (2, false)]);
}

#[test]
fn a_store_takes_what_it_may_and_leaves_the_disk_what_it_must() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let size = std::fs::metadata(folder.path().join(FILE)).unwrap().len();
    let mut store = Store::open(folder.path(), Limits { bytes_max: size + (64 << 10), free_min: 0 }).unwrap();
    let large = |byte, bytes| Statement { envelope: vec![byte; bytes], ..statement(byte) };
    // One that is too large keeps no other one away.
    let kept = store.keep(&[large(1, 64 << 10), large(2, 1000)], NOW_S, note).unwrap();
    assert!(matches!(kept[0], Err(Error::Full(_))) && kept[1].is_ok(), "{kept:?}");
    let mut taken = 0;
    while store.keep(&[large(10 + taken, 1000)], NOW_S, note).unwrap()[0].is_ok() {
        taken += 1;
    }
    assert!((1..16).contains(&taken), "{taken}");
    // What it has is answered for all the same.
    assert_eq!(keep(&mut store, &[large(2, 1000)]), [(0, true)]);
    drop(store);
    let mut store = Store::open(folder.path(), Limits { bytes_max: 1 << 40, free_min: u64::MAX }).unwrap();
    let kept = store.keep(&[large(200, 10)], NOW_S, note).unwrap();
    assert!(matches!(kept[0], Err(Error::DiskLow(_))));
    assert_eq!(kept[0].as_ref().unwrap_err().says(), "the collector's disk has too little room left");
}

#[test]
fn statements_are_read_page_by_page_and_nothing_is_kept_from_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let many = |first: u16| -> Vec<Statement> {
        let statement = |number: u16| {
            let mut sha256 = [0; 32];
            sha256[..2].copy_from_slice(&number.to_be_bytes());
            let entry = number.to_be_bytes().to_vec();
            Statement { sha256, payload_sha256: sha256, entry, ..Statement::default() }
        };
        (first..first + 600).map(statement).collect()
    };
    keep(&mut store, &many(0));
    let reader = Reader::open(folder.path()).unwrap();
    let mut seen = 0;
    let each = |_: Listed| {
        seen += 1;
        if seen == 10 {
            // Somebody reads very slowly, and the log is copied into the database all the same.
            keep(&mut store, &many(600));
            let cut = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            let busy = store.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), cut).unwrap();
            assert_eq!(busy, 0);
        }
        true
    };
    reader.statements(0, each).unwrap();
    assert_eq!(seen, 1200);
    let mut seen = 0;
    reader
        .statements(0, |_| {
            seen += 1;
            seen < 3
        })
        .unwrap();
    assert_eq!(seen, 3);
}
