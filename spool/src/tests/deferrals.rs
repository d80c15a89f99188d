//! What is put off, what is put back, and what was seen of a log.

use std::time::Duration;

use super::{NOW_S, Scene, item, numbers, put, with};
use crate::{CODE_BYTES_MAX, DEFERRAL_BYTES_MAX, Error, Kind, LOG_KEY_BYTES_MAX, LOGS_MAX, Retried, Seen, database};

/// A second for each time.
fn each(tries: u64) -> Duration {
    Duration::from_secs(tries)
}

fn waiting(spool: &crate::Spool, now_s: u64) -> Vec<u64> {
    spool.waiting_at(0, now_s, u64::MAX).unwrap().iter().map(|held| held.number).collect()
}

#[test]
fn what_is_put_off_holds_up_nobody_and_comes_again_at_its_time() {
    let scene = Scene::new();
    let mut spool = scene.open();
    for name in ["a", "b", "c"] {
        put(&mut spool, name, 10).unwrap();
    }
    assert_eq!(spool.defer(1, ("UNKNOWN", "not yet"), NOW_S, each).unwrap(), NOW_S + 1);
    assert_eq!(spool.defer(1, ("UNKNOWN", "still not"), NOW_S + 1, each).unwrap(), NOW_S + 3);
    assert_eq!((waiting(&spool, NOW_S + 2), numbers(&spool)), (vec![2, 3], vec![1, 2, 3]));
    let mut spool = scene.open();
    assert_eq!((waiting(&spool, NOW_S + 3), spool.due(NOW_S + 3, 9).unwrap()), (vec![1, 2, 3], vec![1]));
    assert_eq!((spool.due(NOW_S + 2, 9).unwrap(), spool.due(NOW_S + 3, 0).unwrap()), (vec![], vec![]));
    let deferred = spool.deferred().unwrap();
    assert_eq!((deferred.len(), deferred[0].tries, &deferred[0].says[..]), (1, 2, "still not"));
    let state = spool.state().unwrap();
    assert_eq!((state.waiting, state.deferred, state.again_s), (3, 1, Some(NOW_S + 3)));
    assert_eq!(spool.held(1).unwrap().unwrap().envelope, vec![7; 10]);
    // Whatever becomes of it, nothing is left of that.
    spool.acknowledge(1, b"receipt", NOW_S).unwrap();
    assert_eq!((spool.deferred().unwrap(), spool.held(1).unwrap()), (vec![], None));
    assert!(matches!(spool.defer(1, ("", ""), NOW_S, each), Err(Error::NotWaiting(1))));
}

#[test]
fn reasons_and_codes_have_their_limits() {
    let scene = Scene::new();
    let mut spool = scene.open();
    put(&mut spool, "a", 10).unwrap();
    let code = "c".repeat(CODE_BYTES_MAX + 1);
    assert!(matches!(spool.defer(1, (&code, ""), NOW_S, each), Err(Error::TooMuch { .. })));
    // The limit falls into a character.
    let says = format!("x{}", "é".repeat(DEFERRAL_BYTES_MAX));
    spool.defer(1, (&code[1..], &says), NOW_S, |_| Duration::MAX).unwrap();
    let deferred = &spool.deferred().unwrap()[0];
    assert_eq!((&deferred.says[..], deferred.again_s), (&says[..DEFERRAL_BYTES_MAX - 1], i64::MAX.cast_unsigned()));
}

#[test]
fn what_was_refused_is_put_back_under_its_number() {
    let scene = Scene::new();
    let mut spool = scene.open();
    for name in ["a", "b"] {
        put(&mut spool, name, 10).unwrap();
        spool.state().unwrap();
    }
    spool.refuse(1, "CODE", "never", NOW_S).unwrap();
    assert!(matches!(spool.retry(2, NOW_S), Err(Error::NotRefused(2))));
    assert_eq!(spool.retry(1, NOW_S + 1).unwrap(), Retried::Refused);
    let mut spool = scene.open();
    assert_eq!((numbers(&spool), spool.due(NOW_S + 1, 9).unwrap()), (vec![1, 2], vec![1]));
    assert_eq!((spool.refused().unwrap(), spool.state().unwrap().refused_total), (vec![], 0));
    // As any other that waits; and refused again, it is refused once.
    spool.refuse(1, "CODE", "never", NOW_S).unwrap();
    assert_eq!((spool.state().unwrap().refused_total, spool.state().unwrap().refused), (1, 1));
    // One that was put off is handed on at once, as if for the first time.
    spool.defer(2, ("CODE", "not yet"), NOW_S, |_| Duration::from_secs(900)).unwrap();
    assert_eq!(spool.retry(2, NOW_S + 2).unwrap(), Retried::Deferred);
    assert_eq!((spool.due(NOW_S + 2, 9).unwrap(), spool.deferred().unwrap()[0].tries), (vec![2], 0));
    // What is too old is not put back to be dropped.
    assert!(matches!(spool.retry(1, NOW_S + 1001), Err(Error::Old)));
    assert_eq!(spool.refused().unwrap().len(), 1);
}

#[test]
fn the_largest_tree_of_each_log_is_known_after_a_restart() {
    let scene = Scene::new();
    let mut spool = scene.open();
    let tree = |size, time_s| Seen { size, root: [u8::try_from(size).unwrap(); 32], time_s };
    for (number, (size, time_s)) in (1..).zip([(3, 30), (2, 20), (3, 31), (5, 50)]) {
        put(&mut spool, &number.to_string(), 10).unwrap();
        spool.acknowledge_in(number, b"receipt", NOW_S, ("log", &tree(size, time_s))).unwrap();
        let largest = [tree(3, 30), tree(3, 30), tree(3, 31), tree(5, 50)][usize::try_from(number).unwrap() - 1];
        assert_eq!(scene.open().seen("log").unwrap(), Some(largest));
    }
    assert_eq!(spool.seen("another").unwrap(), None);
    let sha256 = item("4", &[0; 10]).sha256;
    assert_eq!(spool.receipt_of(Kind::Statement, &sha256).unwrap().as_deref(), Some(&b"receipt"[..]));
    // Nothing of what was not acknowledged is remembered, and no end of logs is not either.
    assert!(spool.acknowledge_in(9, b"receipt", NOW_S, ("log", &tree(9, 90))).is_err());
    assert_eq!(spool.seen("log").unwrap(), Some(tree(5, 50)));
    let long = "k".repeat(LOG_KEY_BYTES_MAX + 1);
    assert!(matches!(spool.acknowledge_in(4, b"", NOW_S, (&long, &tree(1, 1))), Err(Error::TooMuch { .. })));
    for log in 0..LOGS_MAX {
        spool.acknowledge_in(4, b"", NOW_S, (&log.to_string(), &tree(1, 100 + log))).unwrap();
    }
    assert_eq!((spool.seen("log").unwrap(), spool.seen("0").unwrap()), (None, Some(tree(1, 100))));
}

#[test]
fn a_spool_of_the_format_before_is_brought_up() {
    let scene = Scene::new();
    put(&mut scene.open(), "a", 10).unwrap();
    let file = scene.folder().join("spool.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    let back = "DROP INDEX waiting_again_s; DROP TABLE logs; PRAGMA user_version = 1;";
    connection.execute_batch(back).unwrap();
    for column in ["again_s", "tries", "code", "says", "deferral_checksum"] {
        connection.execute_batch(&format!("ALTER TABLE waiting DROP COLUMN {column}")).unwrap();
    }
    drop(connection);
    let mut spool = scene.open();
    spool.defer(1, ("CODE", "not yet"), NOW_S, each).unwrap();
    assert_eq!(numbers(&spool), [1]);
    let version = |file| {
        rusqlite::Connection::open(file).unwrap().pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    };
    assert_eq!(version(file).unwrap(), database::FORMAT);
}

#[test]
fn a_full_queue_can_still_be_put_off() {
    let scene = Scene::new();
    let mut spool = scene.open_with(with(|limits| limits.bytes_max = 1 << 20));
    while spool.state().unwrap().dropped_total.full == 0 {
        let name = spool.state().unwrap().newest.to_string();
        put(&mut spool, &name, 60_000).unwrap();
    }
    let says = "s".repeat(DEFERRAL_BYTES_MAX);
    for number in numbers(&spool) {
        spool.defer(number, ("CODE", &says), NOW_S, each).unwrap();
    }
    let state = spool.state().unwrap();
    assert!(state.deferred == state.waiting && state.file_bytes <= 1 << 20, "{state:?}");
}
