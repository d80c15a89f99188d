//! The file is no larger than it may be, whatever comes.

use std::fs;
use std::path::Path;

use super::{NOW_S, Scene, dropped, item, limits, numbers, put, with};
use crate::{BYTES_MIN, Error, Item, LOG_BYTES_MAX, Limits, RECEIPT_BYTES_MAX, Rule, Spool};

/// Bytes of the database, and of the log beside it.
fn sizes(folder: &Path) -> (u64, u64) {
    let size = |name| fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
    (size("spool.db"), size("spool.db-wal"))
}

#[test]
fn a_queue_below_the_least_is_refused() {
    let scene = Scene::new();
    let open = |bytes_max| Spool::open(&scene.folder(), Limits { bytes_max, ..limits() }).map(|_| ());
    assert!(matches!(open(BYTES_MIN - 1), Err(Error::Small(0xf_ffff))));
    open(BYTES_MIN).unwrap();
}

#[test]
fn the_oldest_go_and_the_file_stays_within_its_limit() {
    for (bytes_max, bytes) in [(BYTES_MIN, 100), (BYTES_MIN, 5000), (BYTES_MIN, 1 << 18), (8 << 20, 70_000)] {
        let scene = Scene::new();
        let mut spool = scene.open_with(with(|limits| limits.bytes_max = bytes_max));
        let puts = 2 * bytes_max / u64::max(bytes as u64, 1500);
        for at in 0..puts {
            put(&mut spool, &at.to_string(), bytes).unwrap();
            assert!(spool.state().unwrap().file_bytes <= bytes_max);
        }
        let waiting = numbers(&spool);
        let gone = puts - waiting.len() as u64;
        assert_eq!(waiting, (gone + 1..=puts).collect::<Vec<_>>());
        assert_eq!(dropped(&spool).counts.full, gone);
        // What is kept is most of what there may be, except where one item is a quarter of it.
        let kept = waiting.len() as u64 * bytes as u64;
        assert!(bytes == 100 || kept * 2 >= bytes_max, "{kept} of {bytes_max} in items of {bytes}");
        drop(spool);
        assert!(sizes(&scene.folder()).0 <= bytes_max);
    }
}

#[test]
fn the_log_beside_the_file_is_cut() {
    let scene = Scene::new();
    let mut spool = scene.open_with(with(|limits| limits.bytes_max = 64 << 20));
    put(&mut spool, "large", 16 << 20).unwrap();
    put(&mut spool, "a", 1).unwrap();
    put(&mut spool, "b", 1).unwrap();
    let (_, log) = sizes(&scene.folder());
    assert!(log <= LOG_BYTES_MAX, "{log}");
}

#[test]
fn answers_find_room_in_a_full_queue_and_drop_nothing_that_waits() {
    for rule in [Rule::DropOldest, Rule::RefuseNew] {
        let scene = Scene::new();
        let limits = with(|limits| (limits.bytes_max, limits.rule) = (BYTES_MIN, rule));
        let mut spool = scene.open_with(limits);
        for at in 0..800 {
            let _ = put(&mut spool, &at.to_string(), 2000);
        }
        let (waiting, before) = (numbers(&spool), dropped(&spool).counts);
        for (at, number) in waiting.iter().enumerate() {
            match at % 3 {
                0 => spool.acknowledge(*number, &[1; RECEIPT_BYTES_MAX], NOW_S).unwrap(),
                1 => spool.refuse(*number, "code", &"x".repeat(4096), NOW_S).unwrap(),
                _ => {}
            }
            assert!(spool.state().unwrap().file_bytes <= BYTES_MIN);
        }
        let rest: Vec<_> = waiting.iter().copied().enumerate().filter(|(at, _)| at % 3 == 2).map(|(_, n)| n).collect();
        assert_eq!(numbers(&spool), rest);
        let (state, after) = (spool.state().unwrap(), dropped(&spool).counts);
        assert_eq!((after.full, after.old), (before.full, before.old));
        assert_eq!(state.refused + after.refused, state.refused_total);
        assert!(state.refused > 0 && state.receipts > 0);
    }
}

#[test]
fn refused_items_are_kept_up_to_an_eighth_and_counted_when_they_go() {
    let scene = Scene::new();
    let mut spool = scene.open();
    for number in 1..=4 {
        put(&mut spool, &number.to_string(), 400 << 10).unwrap();
        spool.refuse(number, "", "", NOW_S).unwrap();
    }
    let kept: Vec<u64> = spool.refused().unwrap().iter().map(|refused| refused.number).collect();
    assert_eq!((kept, dropped(&spool).counts.refused), (vec![3, 4], 2));
    assert_eq!(spool.refused_envelope(2).unwrap(), None);
    // One that is larger than what is kept goes at once.
    put(&mut spool, "large", (1 << 20) + 1).unwrap();
    spool.refuse(5, "", "", NOW_S).unwrap();
    assert_eq!((spool.refused().unwrap().len(), dropped(&spool).counts.refused), (0, 5));
}

#[test]
fn room_is_given_back() {
    let scene = Scene::new();
    let mut spool = scene.open();
    for number in 1..=6 {
        put(&mut spool, &number.to_string(), 1 << 20).unwrap();
    }
    for number in 1..=6 {
        spool.acknowledge(number, b"", NOW_S).unwrap();
    }
    assert!(spool.state().unwrap().file_bytes > 6 << 20);
    spool.tidy(NOW_S).unwrap();
    assert!(spool.state().unwrap().file_bytes < 128 << 10);
    assert!(sizes(&scene.folder()).0 < 128 << 10);
}

#[test]
fn a_lower_limit_holds_from_the_next_act_on() {
    let scene = Scene::new();
    let mut spool = scene.open();
    for number in 1..=6 {
        put(&mut spool, &number.to_string(), 1 << 20).unwrap();
    }
    drop(spool);
    let lower = with(|limits| limits.bytes_max = 4 << 20);
    let mut spool = scene.open_with(lower.clone());
    assert_eq!(numbers(&spool).len(), 6);
    spool.tidy(NOW_S).unwrap();
    assert_eq!(numbers(&spool), [4, 5, 6]);
    drop(spool);
    assert!(sizes(&scene.folder()).0 <= 4 << 20);
    // Where new ones are refused, what waits stays until it is taken.
    let mut spool = scene.open_with(Limits { bytes_max: 2 << 20, rule: Rule::RefuseNew, ..lower });
    spool.tidy(NOW_S).unwrap();
    assert!(matches!(spool.put(&Item { made_s: NOW_S, ..item("d", b"") }, NOW_S), Err(Error::Full)));
    assert_eq!(numbers(&spool), [4, 5, 6]);
}
