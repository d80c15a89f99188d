//! What comes in, and how it comes out.

use std::path::{Path, PathBuf};

use super::{NOW_S, Scene, dropped, item, numbers, put, with};
use crate::{EVIDENCE_BYTES_MAX, Error, Held, ITEM_BYTES_MAX, Item, Kind, NAME_BYTES_MAX, Rule, Spool, database};

#[test]
fn what_was_put_comes_out_as_it_was_by_another_process_too() {
    let scene = Scene::new();
    let evidence = Path::new("/var/lib/a.evidence");
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let put = Item { kind, evidence: Some(evidence).filter(|_| at > 0), ..item("a", b"envelope") };
        assert_eq!(scene.open().put(&put, NOW_S).unwrap(), at as u64 + 1);
    }
    let held = scene.open().waiting(0, u64::MAX).unwrap();
    assert_eq!(held.iter().map(|held| held.kind).collect::<Vec<_>>(), Kind::ALL);
    let first = Held {
        number: 1,
        kind: Kind::Statement,
        name: "a".to_owned(),
        sha256: item("a", b"envelope").sha256,
        envelope: b"envelope".to_vec(),
        evidence: None,
        made_s: NOW_S,
    };
    assert_eq!(held[0], first);
    assert_eq!(held[3].evidence, Some(PathBuf::from(evidence)));
}

#[test]
fn the_same_payload_twice_has_the_first_number_and_the_first_envelope() {
    let (scene, first) = (Scene::new(), item("a", b"first"));
    let mut spool = scene.open();
    assert_eq!(spool.put(&first, NOW_S).unwrap(), 1);
    assert_eq!(spool.put(&Item { envelope: b"again", name: "b", ..first }, NOW_S).unwrap(), 1);
    let held = spool.waiting(0, u64::MAX).unwrap();
    assert_eq!((held.len(), &held[0].envelope[..]), (1, &b"first"[..]));
    // Of another kind it is another item.
    assert_eq!(spool.put(&Item { kind: Kind::Bundle, ..first }, NOW_S).unwrap(), 2);
}

#[test]
fn a_payload_that_was_answered_is_known_as_long_as_its_answer() {
    let scene = Scene::new();
    let mut spool = scene.open();
    put(&mut spool, "a", 10).unwrap();
    put(&mut spool, "b", 10).unwrap();
    spool.acknowledge(1, b"receipt", NOW_S).unwrap();
    spool.refuse(2, "code", "says", NOW_S).unwrap();
    assert_eq!((put(&mut spool, "a", 10).unwrap(), put(&mut spool, "b", 10).unwrap()), (1, 2));
    assert_eq!(numbers(&spool), [0; 0]);
    spool.tidy(NOW_S + 1001).unwrap();
    // The receipt is forgotten, the refusal is not.
    assert_eq!((put(&mut spool, "a", 10).unwrap(), put(&mut spool, "b", 10).unwrap()), (3, 2));
}

#[test]
fn items_are_taken_in_order_after_a_number_and_up_to_a_size_but_one_at_least() {
    let scene = Scene::new();
    let mut spool = scene.open();
    for name in ["a", "b", "c", "d"] {
        put(&mut spool, name, 999).unwrap();
    }
    let taken = |spool: &Spool, after, bytes_max| -> Vec<u64> {
        spool.waiting(after, bytes_max).unwrap().iter().map(|held| held.number).collect()
    };
    assert_eq!(taken(&spool, 0, 2000), [1, 2]);
    assert_eq!(taken(&spool, 0, 1999), [1]);
    assert_eq!(taken(&spool, 1, 0), [2]);
    assert_eq!(taken(&spool, 3, u64::MAX), [4]);
    assert_eq!(taken(&spool, 4, u64::MAX), [0; 0]);
}

#[test]
fn empty_items_have_an_end_too() {
    let scene = Scene::new();
    let mut spool = scene.open();
    for name in ["a", "b", "c"] {
        put(&mut spool, name, 0).unwrap();
    }
    assert_eq!(spool.waiting(0, 2 * 256).unwrap().len(), 2);
}

#[test]
fn an_envelope_of_the_limit_is_taken_and_one_of_a_byte_more_is_counted() {
    let scene = Scene::new();
    let mut spool = scene.open_with(with(|limits| limits.bytes_max = 256 << 20));
    let bytes_max = usize::try_from(ITEM_BYTES_MAX).unwrap();
    assert!(matches!(put(&mut spool, "a", bytes_max + 1), Err(Error::TooLarge { bytes_max: ITEM_BYTES_MAX, .. })));
    assert_eq!(put(&mut spool, "b", bytes_max).unwrap(), 1);
    let state = spool.state().unwrap();
    assert_eq!((state.dropped_total.full, state.turned_away_total, state.newest), (1, 1, 1));
    assert_eq!(spool.waiting(0, 0).unwrap()[0].envelope.len(), bytes_max);
}

#[test]
fn an_envelope_of_more_than_a_quarter_of_the_queue_is_refused() {
    let scene = Scene::new();
    let mut spool = scene.open();
    assert!(matches!(put(&mut spool, "a", (2 << 20) + 1), Err(Error::TooLarge { bytes_max: 0x20_0000, .. })));
    put(&mut spool, "a", 2 << 20).unwrap();
}

#[test]
fn fields_are_taken_to_their_limits() {
    let scene = Scene::new();
    let mut spool = scene.open();
    let (name, path) = ("n".repeat(NAME_BYTES_MAX + 1), "p".repeat(EVIDENCE_BYTES_MAX + 1));
    let put = |spool: &mut Spool, item: &Item<'_>, now_s| spool.put(item, now_s);
    let long = [Item { name: &name, ..item("", b"a") }, Item { evidence: Some(Path::new(&path)), ..item("a", b"b") }];
    for long in &long {
        assert!(matches!(put(&mut spool, long, NOW_S), Err(Error::TooMuch { .. })));
    }
    assert!(matches!(put(&mut spool, &Item { made_s: 1 << 63, ..item("c", b"") }, 0), Err(Error::TooMuch { .. })));
    assert!(matches!(put(&mut spool, &item("c", b""), 1 << 63), Err(Error::TooMuch { .. })));
    assert!(matches!(spool.waiting(1 << 63, 0), Err(Error::TooMuch { .. })));
    // None of it is a loss: nothing of it could ever be put.
    assert_eq!(spool.state().unwrap().dropped_total.sum(), 0);
    let (name, path) = (&name[1..], Path::new(&path[1..]));
    put(&mut spool, &Item { name, evidence: Some(path), made_s: (1 << 63) - 1, ..item("", b"") }, 0).unwrap();
    assert_eq!(spool.waiting(0, 0).unwrap()[0].name, name);
}

#[test]
fn threads_that_each_open_it_take_turns() {
    const THREADS: usize = 8;
    const PUTS: usize = 20;
    let scene = Scene::new();
    let put_all = &|thread: usize| {
        let mut given = Vec::new();
        for at in 0..PUTS {
            // Opened each time: what one closes must not end the locks of the others.
            given.push(put(&mut scene.open(), &format!("{thread}-{at}"), 100).unwrap());
        }
        assert!(given.is_sorted());
        given
    };
    let mut given: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || put_all(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    given.sort_unstable();
    assert_eq!(given, (1..=(THREADS * PUTS) as u64).collect::<Vec<_>>());
    assert_eq!(numbers(&scene.open()), given);
}

#[test]
fn each_act_waits_for_the_disk() {
    let scene = Scene::new();
    let pragmas = scene.open().maintain(|connection| {
        assert_eq!(database::number(connection, "PRAGMA synchronous")?, 2);
        assert_eq!(connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))?, "wal");
        Ok(())
    });
    pragmas.unwrap();
}

#[test]
fn the_state_is_that_of_what_waits() {
    let scene = Scene::new();
    let mut spool = scene.open();
    let state = spool.state().unwrap();
    assert_eq!((state.waiting, state.bytes, state.oldest_s, state.newest), (0, 0, None, 0));
    put(&mut spool, "a", 100).unwrap();
    spool.put(&Item { made_s: NOW_S - 5, ..item("b", b"1") }, NOW_S).unwrap();
    let state = spool.state().unwrap();
    assert_eq!((state.waiting, state.bytes, state.oldest_s, state.newest), (2, 103, Some(NOW_S - 5), 2));
    // The name is that of this spool, and of no other.
    assert_eq!(scene.open().state().unwrap().spool, state.spool);
    assert_ne!(Scene::new().open().state().unwrap().spool, state.spool);
}

#[test]
fn so_many_may_wait_and_one_more_has_its_rule() {
    for rule in [Rule::DropOldest, Rule::RefuseNew] {
        let scene = Scene::new();
        let mut spool = scene.open_with(with(|limits| (limits.items_max, limits.rule) = (2, rule)));
        for name in ["a", "b"] {
            put(&mut spool, name, 1).unwrap();
        }
        let third = put(&mut spool, "c", 1);
        let (refused, waiting) = match rule {
            Rule::DropOldest => (false, vec![2, 3]),
            Rule::RefuseNew => (true, vec![1, 2]),
        };
        assert_eq!((matches!(third, Err(Error::Full)), numbers(&spool)), (refused, waiting));
        assert_eq!(dropped(&spool).counts.full, 1);
        // What is there already takes no other place.
        assert_eq!(put(&mut spool, "b", 1).unwrap(), 2);
    }
    let scene = Scene::new();
    for rule in [Rule::DropOldest, Rule::RefuseNew] {
        let mut none = scene.open_with(with(|limits| (limits.items_max, limits.rule) = (0, rule)));
        assert!(matches!(put(&mut none, "a", 1), Err(Error::Full)));
    }
}
