//! What the collector answers.

use super::{NOW_S, Scene, item, numbers, put, with};
use crate::{CODE_BYTES_MAX, Error, Kind, RECEIPT_BYTES_MAX, SAYS_BYTES_MAX};

#[test]
fn a_receipt_takes_the_place_of_the_envelope() {
    let scene = Scene::new();
    let mut spool = scene.open();
    put(&mut spool, "a", 10).unwrap();
    put(&mut spool, "b", 10).unwrap();
    spool.acknowledge(1, b"receipt", NOW_S).unwrap();
    assert_eq!(numbers(&spool), [2]);
    let sha256 = item("a", &[0; 10]).sha256;
    let spool = scene.open();
    assert_eq!(spool.receipt_of(Kind::Statement, &sha256).unwrap().as_deref(), Some(&b"receipt"[..]));
    assert_eq!(spool.receipt_of(Kind::Quote, &sha256).unwrap(), None);
    assert_eq!(spool.receipt_of(Kind::Statement, &[0; 32]).unwrap(), None);
    assert_eq!(spool.state().unwrap().acknowledged_total, 1);
}

#[test]
fn a_second_receipt_changes_nothing() {
    let scene = Scene::new();
    let mut spool = scene.open();
    put(&mut spool, "a", 10).unwrap();
    spool.acknowledge(1, b"first", NOW_S).unwrap();
    spool.acknowledge(1, b"second", NOW_S).unwrap();
    let sha256 = item("a", &[0; 10]).sha256;
    assert_eq!(spool.receipt_of(Kind::Statement, &sha256).unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(spool.state().unwrap().acknowledged_total, 1);
}

#[test]
fn what_does_not_wait_is_not_answered() {
    let scene = Scene::new();
    let mut spool = scene.open();
    assert!(matches!(spool.acknowledge(1, b"", NOW_S), Err(Error::NotWaiting(1))));
    assert!(matches!(spool.refuse(1, "", "", NOW_S), Err(Error::NotWaiting(1))));
    put(&mut spool, "a", 10).unwrap();
    put(&mut spool, "b", 10).unwrap();
    spool.acknowledge(1, b"", NOW_S).unwrap();
    spool.refuse(2, "", "", NOW_S).unwrap();
    assert!(matches!(spool.refuse(1, "", "", NOW_S), Err(Error::NotWaiting(1))));
    assert!(matches!(spool.acknowledge(2, b"", NOW_S), Err(Error::NotWaiting(2))));
    assert!(matches!(spool.acknowledge(u64::MAX, b"", NOW_S), Err(Error::TooMuch { .. })));
}

#[test]
fn a_refused_item_is_kept_aside_with_its_envelope() {
    let scene = Scene::new();
    let mut spool = scene.open();
    put(&mut spool, "a", 10).unwrap();
    spool.refuse(1, "unknown-key", "the key is not enrolled", NOW_S + 1).unwrap();
    spool.refuse(1, "again", "", NOW_S + 2).unwrap();
    assert_eq!(numbers(&spool), [0; 0]);
    let refused = scene.open().refused().unwrap();
    assert_eq!((refused.len(), &refused[0].code[..], refused[0].at_s), (1, "unknown-key", NOW_S + 1));
    assert_eq!((&refused[0].says[..], &refused[0].name[..]), ("the key is not enrolled", "a"));
    assert_eq!(spool.refused_envelope(1).unwrap(), Some(vec![7; 10]));
    assert_eq!(spool.refused_envelope(2).unwrap(), None);
    let state = spool.state().unwrap();
    assert_eq!((state.refused_total, state.refused, state.dropped_total.sum()), (1, 1, 0));
}

#[test]
fn answers_are_taken_to_their_limits_and_reasons_are_cut() {
    let scene = Scene::new();
    let mut spool = scene.open();
    for name in ["a", "b"] {
        put(&mut spool, name, 10).unwrap();
    }
    let (receipt, code) = ([1; RECEIPT_BYTES_MAX + 1], "c".repeat(CODE_BYTES_MAX + 1));
    assert!(matches!(spool.acknowledge(1, &receipt, NOW_S), Err(Error::TooMuch { .. })));
    assert!(matches!(spool.refuse(2, &code, "", NOW_S), Err(Error::TooMuch { .. })));
    assert_eq!(numbers(&spool), [1, 2]);
    spool.acknowledge(1, &receipt[1..], NOW_S).unwrap();
    // Two bytes each, and one before: the limit falls into a character.
    let says = format!("x{}", "é".repeat(SAYS_BYTES_MAX));
    spool.refuse(2, &code[1..], &says, NOW_S).unwrap();
    assert_eq!(spool.refused().unwrap()[0].says, says[..SAYS_BYTES_MAX - 1]);
}

#[test]
fn receipts_are_kept_up_to_their_number_and_their_age() {
    let scene = Scene::new();
    let mut spool = scene.open_with(with(|limits| limits.receipts_max = 2));
    let names = ["a", "b", "c"];
    for (number, name) in (1..).zip(names) {
        put(&mut spool, name, 10).unwrap();
        spool.acknowledge(number, name.as_bytes(), NOW_S + number).unwrap();
    }
    let kept = |spool: &crate::Spool| {
        names.map(|name| spool.receipt_of(Kind::Statement, &item(name, &[0; 10]).sha256).unwrap().is_some())
    };
    assert_eq!(kept(&spool), [false, true, true]);
    spool.tidy(NOW_S + 1002).unwrap();
    assert_eq!(kept(&spool), [false, true, true]);
    spool.tidy(NOW_S + 1003).unwrap();
    assert_eq!(kept(&spool), [false, false, true]);
    assert_eq!((spool.state().unwrap().receipts, spool.state().unwrap().dropped_total.sum()), (1, 0));
}
