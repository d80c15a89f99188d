//! What is dropped is counted, and said once.

use super::{NOW_S, Scene, dropped, item, numbers, put, with};
use crate::{Counts, Error, Item, Rule, Spool};

/// Three items of which one is too old at [`LATER_S`].
fn queue(scene: &Scene) -> Spool {
    let mut spool = scene.open();
    for (name, made_s) in [("a", NOW_S), ("b", NOW_S - 1), ("c", NOW_S)] {
        spool.put(&Item { made_s, ..item(name, b"x") }, NOW_S).unwrap();
    }
    spool
}

const LATER_S: u64 = NOW_S + 1000;

#[test]
fn what_is_older_than_the_limit_goes_wherever_it_stands() {
    let scene = Scene::new();
    let mut spool = queue(&scene);
    spool.tidy(LATER_S - 1).unwrap();
    assert_eq!(numbers(&spool), [1, 2, 3]);
    spool.tidy(LATER_S).unwrap();
    assert_eq!(numbers(&spool), [1, 3]);
    let dropped = dropped(&scene.open());
    assert_eq!(dropped.counts, Counts { old: 1, ..Counts::default() });
    assert_eq!((dropped.first_s, dropped.last_s), (Some(LATER_S), Some(LATER_S)));
}

#[test]
fn a_put_drops_what_is_too_old() {
    let scene = Scene::new();
    let mut spool = queue(&scene);
    spool.put(&Item { made_s: LATER_S + 1, ..item("d", b"") }, LATER_S + 1).unwrap();
    assert_eq!(numbers(&spool), [4]);
    assert_eq!(dropped(&spool).counts.old, 3);
}

#[test]
fn what_is_too_old_when_it_is_put_stays_out_and_is_counted() {
    let scene = Scene::new();
    let mut spool = queue(&scene);
    let old = Item { made_s: NOW_S - 1001, ..item("d", b"") };
    assert!(matches!(spool.put(&old, NOW_S), Err(Error::Old)));
    spool.put(&Item { made_s: NOW_S - 1000, ..old }, NOW_S).unwrap();
    assert_eq!(numbers(&spool), [1, 2, 3, 4]);
    assert_eq!((dropped(&spool).counts.old, spool.state().unwrap().turned_away_total), (1, 1));
}

#[test]
fn what_stays_out_for_lack_of_room_is_counted_each_time() {
    let scene = Scene::new();
    let mut spool = scene.open_with(with(|limits| limits.rule = Rule::RefuseNew));
    let mut taken = 0;
    while put(&mut spool, &taken.to_string(), 1 << 20).is_ok() {
        taken += 1;
    }
    assert!((6..8).contains(&taken), "{taken}");
    assert!(matches!(put(&mut spool, "more", 1 << 20), Err(Error::Full)));
    assert_eq!(numbers(&spool), (1..=taken).collect::<Vec<_>>());
    assert_eq!(dropped(&spool).counts, Counts { full: 2, ..Counts::default() });
    // Numbers go on without a gap.
    spool.acknowledge(1, b"", NOW_S).unwrap();
    assert_eq!(put(&mut spool, "more", 1 << 20).unwrap(), taken + 1);
}

#[test]
fn a_settled_count_is_not_said_again_and_later_ones_are() {
    let scene = Scene::new();
    let mut spool = queue(&scene);
    spool.tidy(LATER_S).unwrap();
    let said = dropped(&spool);
    // Another process drops more before the statement is signed.
    scene.open().tidy(LATER_S + 9).unwrap();
    spool.settle(&said).unwrap();
    spool.settle(&said).unwrap();
    let rest = dropped(&spool);
    assert_eq!((rest.counts.old, rest.until.old), (2, 3));
    assert_eq!((rest.first_s, rest.last_s), (Some(LATER_S), Some(LATER_S + 9)));
    spool.settle(&rest).unwrap();
    // One that was read before says nothing new.
    spool.settle(&said).unwrap();
    let none = dropped(&spool);
    assert_eq!((none.counts.sum(), none.until.old, none.first_s, none.last_s), (0, 3, None, None));
}

#[test]
fn a_count_that_was_never_read_here_is_refused() {
    let (scene, other) = (Scene::new(), Scene::new());
    let mut spool = queue(&scene);
    spool.tidy(LATER_S).unwrap();
    let said = dropped(&spool);
    let mut more = said.clone();
    more.until.full = 1;
    assert!(matches!(spool.settle(&more), Err(Error::NotDropped)));
    let mut other = queue(&other);
    other.tidy(LATER_S).unwrap();
    assert!(matches!(other.settle(&said), Err(Error::NotDropped)));
    assert_eq!(dropped(&spool), said);
}

#[test]
fn an_item_that_says_a_count_settles_it_if_it_gets_in() {
    let scene = Scene::new();
    let mut spool = queue(&scene);
    spool.tidy(LATER_S).unwrap();
    let said = dropped(&spool);
    let old = Item { made_s: 1, ..item("old", b"") };
    assert!(matches!(spool.put_saying(&old, &said, LATER_S), Err(Error::Old)));
    assert_eq!((dropped(&spool).counts.old, dropped(&spool).until.old), (2, 2));
    let fresh = Item { made_s: LATER_S, ..old };
    spool.put_saying(&fresh, &said, LATER_S).unwrap();
    assert_eq!(dropped(&spool).counts.old, 1);
    // Put once more, as after a crash, it settles no more than it says.
    spool.put_saying(&fresh, &said, LATER_S).unwrap();
    assert_eq!(dropped(&spool).counts.old, 1);
}

#[test]
fn an_item_that_says_a_count_of_another_spool_is_not_put() {
    let scene = Scene::new();
    let mut spool = scene.open();
    let mut said = dropped(&spool);
    said.spool = [0; 16];
    assert!(matches!(spool.put_saying(&item("a", b""), &said, NOW_S), Err(Error::NotDropped)));
    assert_eq!(numbers(&spool), [0; 0]);
    assert_eq!(put(&mut spool, "a", 1).unwrap(), 1);
}
