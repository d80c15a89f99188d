//! What is kept, kept again, and found again; and what is no store.

use attestation::merkle::{leaf_hash, verify_inclusion};
use rusqlite::Connection;

use super::*;

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

fn proven(store: &Store, place: u64) -> Vec<u8> {
    let found = store.prove(place).unwrap();
    verify_inclusion(&leaf_hash(&found.entry), place, store.size(), &found.proof, &store.root()).unwrap();
    found.entry
}

#[test]
fn what_was_kept_is_there_once_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.keep(&[statement(1), statement(2), statement(1)]).unwrap(), [(0, false), (1, false), (0, true)]);
    let root = store.root();
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!((store.size(), store.root()), (2, root));
    assert_eq!(store.keep(&[statement(2), statement(3)]).unwrap(), [(1, true), (2, false)]);
    for place in 0..3_u8 {
        assert_eq!(proven(&store, place.into()), [place + 1; 3]);
    }
    assert!(store.prove(3).is_err());
    let reader = Reader::open(folder.path()).unwrap();
    let mut places = Vec::new();
    reader.statements(1, |listed| places.push((listed.place, listed.number))).unwrap();
    assert_eq!(places, [(1, Some(2)), (2, Some(3))]);
    assert_eq!(reader.envelope(&[3; 32]).unwrap(), Some(vec![3; 100]));
    assert_eq!(reader.envelope(&[4; 32]).unwrap(), None);
}

#[test]
fn what_fails_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.keep(&[statement(1)]).unwrap();
    let root = store.root();
    // A node that is there already, as where the tree went on without us.
    store.connection.execute("INSERT INTO node VALUES (0, 2, zeroblob(32))", ()).unwrap();
    assert!(store.keep(&[statement(2), statement(3)]).is_err());
    assert_eq!((store.size(), store.root()), (1, root));
    store.connection.execute("DELETE FROM node WHERE level = 0 AND place = 2", ()).unwrap();
    assert_eq!(store.keep(&[statement(2), statement(3)]).unwrap(), [(1, false), (2, false)]);
    assert_eq!(proven(&store, 2), [3; 3]);
}

#[test]
fn challenges_are_taken_once_by_who_asked_and_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
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
    let mut store = Store::open(folder.path()).unwrap();
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
    let mut store = Store::open(folder.path()).unwrap();
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
    let mut store = Store::open(folder.path()).unwrap();
    let machine = |key: i64| Enrolled { key: key.to_be_bytes().to_vec(), name: "m".to_owned(), machine: Vec::new() };
    (0..MACHINES_OF_ONE_MAX).for_each(|key| store.enrol(&machine(key), true, 0).unwrap());
    assert!(matches!(store.enrol(&machine(-1), true, 0), Err(Error::TooManyMachines)));
    store.enrol(&machine(0), true, 0).unwrap();
    store.enrol(&Enrolled { name: "other".to_owned(), ..machine(-1) }, true, 0).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(Error::InUse)));
    drop(store);
    Store::open(folder.path()).unwrap();
}

#[test]
fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Reader::open(folder.path()).is_err());
    let file = folder.path().join(FILE);
    let other = Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE others (a)").unwrap();
    drop(other);
    assert!(matches!(Store::open(folder.path()), Err(Error::Foreign)));
    std::fs::remove_file(&file).unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.keep(&[statement(1), statement(2)]).unwrap();
    store.connection.execute("DELETE FROM statement WHERE place = 0", ()).unwrap();
    drop(store);
    assert!(matches!(Store::open(folder.path()), Err(Error::Counts { kept: 2, statements: 1 })));
    let connection = Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    drop(connection);
    assert!(matches!(Store::open(folder.path()), Err(Error::Newer(_))));
    assert!(matches!(Reader::open(folder.path()), Err(Error::Newer(_))));
    std::fs::write(&file, [0x55; 8192]).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(Error::Database(_))));
}
