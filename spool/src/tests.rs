//! A spool against a model of it, at its limits, and against what is no spool.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn item(byte: u8, bytes: usize) -> Item {
    Item { name: format!("run-{byte}"), payload_sha256: [byte; 32], content: vec![byte; bytes] }
}

fn spool(bytes_max: u64, rule: Rule) -> (TempDir, Spool) {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max, age_max: Duration::from_secs(100), rule };
    let spool = Spool::open(folder.path(), Some(limits)).unwrap();
    (folder, spool)
}

fn numbers(spool: &Spool) -> Vec<u64> {
    spool.waiting(0, u64::MAX).unwrap().iter().map(|held| held.number).collect()
}

/// That nothing is anywhere and nowhere.
fn agrees(spool: &Spool) {
    let state = spool.state().unwrap();
    assert_eq!(state.put, state.waiting + state.acknowledged + state.refused + state.dropped[0], "{state:?}");
    assert!(state.bytes <= state.limits.bytes_max, "{state:?}");
}

#[test]
fn what_is_put_waits_in_order_until_it_is_delivered() {
    let (folder, mut spool) = spool(1 << 20, Rule::DropOldest);
    assert_eq!((1..4).map(|byte| spool.put(&item(byte, 10)).unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(spool.put(&item(2, 10)).unwrap(), 2);
    drop(spool);
    let mut spool = Spool::open(folder.path(), None).unwrap();
    assert_eq!(spool.state().unwrap().limits.bytes_max, 1 << 20);
    assert_eq!(
        spool.waiting(1, u64::MAX).unwrap().iter().map(|held| held.item.clone()).collect::<Vec<_>>(),
        [item(2, 10), item(3, 10)]
    );
    // At least one, and no more than fits.
    assert_eq!((spool.waiting(0, 0).unwrap().len(), spool.waiting(0, 20).unwrap().len()), (1, 2));
    spool.acknowledge(1, b"receipt").unwrap();
    assert_eq!(spool.receipt_of(&[1; 32]).unwrap(), Some(b"receipt".to_vec()));
    assert_eq!(spool.receipt_of(&[2; 32]).unwrap(), None);
    assert!(matches!(spool.acknowledge(1, b"again"), Err(Error::Unknown(1))));
    spool.refuse(2, "SIGNATURE_INVALID", "no").unwrap();
    assert!(matches!(spool.refuse(2, "", ""), Err(Error::Unknown(2))));
    assert_eq!(spool.refused().unwrap()[0].code, "SIGNATURE_INVALID");
    // Neither what was delivered nor what was refused comes again.
    assert_eq!((spool.put(&item(1, 10)).unwrap(), spool.put(&item(2, 10)).unwrap()), (1, 2));
    assert_eq!(numbers(&spool), [3]);
    agrees(&spool);
}

#[test]
fn the_oldest_goes_where_there_is_no_room_and_what_was_refused_before_it() {
    let room = 3 * (1000 + 512);
    let (_folder, mut spool) = spool(room, Rule::DropOldest);
    (1..4).for_each(|byte| assert_eq!(spool.put(&item(byte, 1000)).unwrap(), byte.into()));
    assert!(spool.dropped().unwrap().is_none());
    spool.refuse(3, "C", "no").unwrap();
    spool.put(&item(4, 1000)).unwrap();
    assert_eq!((numbers(&spool), spool.refused().unwrap().len()), (vec![1, 2, 4], 0));
    spool.put(&item(5, 1001)).unwrap();
    assert_eq!(numbers(&spool), [4, 5]);
    let dropped = spool.dropped().unwrap();
    assert_eq!((dropped.full, dropped.old, dropped.refused), (2, 0, 1));
    assert!(dropped.span_s.is_some());
    // One that has no room at all drops nothing but itself.
    assert!(matches!(spool.put(&item(6, 5000)), Err(Error::Full)));
    assert!(matches!(spool.put(&item(6, ITEM_BYTES_MAX + 1)), Err(Error::TooLarge(_))));
    assert_eq!((numbers(&spool), spool.dropped().unwrap().full), (vec![4, 5], 3));
    agrees(&spool);
}

#[test]
fn what_comes_is_refused_where_that_is_the_rule() {
    let (_folder, mut spool) = spool(2 * (1000 + 512), Rule::RefuseNew);
    spool.put(&item(1, 1000)).unwrap();
    spool.put(&item(2, 1000)).unwrap();
    assert!(matches!(spool.put(&item(3, 1)), Err(Error::Full)));
    assert_eq!((numbers(&spool), spool.dropped().unwrap().full), (vec![1, 2], 1));
    spool.acknowledge(1, b"r").unwrap();
    assert_eq!(spool.put(&item(3, 1)).unwrap(), 3);
    agrees(&spool);
}

#[test]
fn what_is_too_old_goes() {
    let (_folder, mut spool) = spool(1 << 20, Rule::RefuseNew);
    spool.put_at(&item(1, 10), 1000).unwrap();
    spool.put_at(&item(2, 10), 1050).unwrap();
    spool.put_at(&item(3, 10), 1100).unwrap();
    assert_eq!(numbers(&spool), [1, 2, 3]);
    spool.put_at(&item(4, 10), 1101).unwrap();
    assert_eq!((numbers(&spool), spool.dropped().unwrap().old), (vec![2, 3, 4], 1));
    spool.expire().unwrap();
    assert_eq!((numbers(&spool), spool.dropped().unwrap().old), (vec![], 4));
    agrees(&spool);
}

#[test]
fn what_was_dropped_is_said_once() {
    let (_folder, mut spool) = spool(1 << 20, Rule::RefuseNew);
    spool.put_at(&item(1, 10), 1000).unwrap();
    spool.put_at(&item(2, 10), 2000).unwrap();
    let said = spool.dropped().unwrap();
    assert_eq!((said.old, said.span_s), (1, Some((2000, 2000))));
    // Another is dropped while the statement is signed that says the first.
    spool.put_at(&item(3, 10), 3000).unwrap();
    spool.settle(&said, &[9; 32]).unwrap();
    spool.settle(&said, &[9; 32]).unwrap();
    let left = spool.dropped().unwrap();
    assert_eq!((left.old, left.span_s.map(|span| span.1)), (1, Some(3000)));
    spool.settle(&left, &[8; 32]).unwrap();
    assert!(spool.dropped().unwrap().is_none());
    assert_eq!(spool.state().unwrap().dropped, [2, 0]);
}

#[test]
fn what_is_no_spool_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("open")).unwrap();
    fs::set_permissions(path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    symlink(path("spool"), path("link")).unwrap();
    let limits = Limits::default();
    assert!(matches!(Spool::open(&path("open"), None), Err(Error::Others)));
    assert!(matches!(Spool::open(&path("link"), None), Err(Error::Others | Error::Folder(_))));
    let mut spool = Spool::open(&path("spool"), Some(limits)).unwrap();
    spool.put(&item(1, 5000)).unwrap();
    spool.connection.execute("UPDATE item SET content = zeroblob(5000)", ()).unwrap();
    assert!(matches!(spool.waiting(0, u64::MAX), Err(Error::Damaged)));
    spool.connection.pragma_update(None, "user_version", 9).unwrap();
    drop(spool);
    assert!(matches!(Spool::open(&path("spool"), None), Err(Error::Newer(9))));
    fs::remove_dir_all(path("spool")).unwrap();
    fs::create_dir(path("spool")).unwrap();
    fs::write(path("spool").join(FILE), [0x55; 9000]).unwrap();
    assert!(matches!(Spool::open(&path("spool"), None), Err(Error::Damaged)));
    let other = Connection::open(path("spool").join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE others (a)").unwrap();
    drop(other);
    fs::rename(path("spool").join("other.db"), path("spool").join(FILE)).unwrap();
    assert!(matches!(Spool::open(&path("spool"), None), Err(Error::Foreign)));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, usize),
    Acknowledge(usize),
    Refuse(usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<u8>(), 0..2000_usize).prop_map(|(byte, bytes)| Step::Put(byte, bytes)),
        2 => any::<usize>().prop_map(Step::Acknowledge),
        1 => any::<usize>().prop_map(Step::Refuse),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_steps_keep_order_and_account(steps in steps()) {
        let (folder, mut spool) = spool(8000, Rule::DropOldest);
        let mut waiting: Vec<u64> = Vec::new();
        for step in steps {
            let pick = |at: usize| waiting.get(at % waiting.len().max(1)).copied();
            match step {
                Step::Put(byte, bytes) => drop(spool.put(&item(byte, bytes))),
                Step::Acknowledge(at) => if let Some(number) = pick(at) { spool.acknowledge(number, b"r").unwrap() },
                Step::Refuse(at) => if let Some(number) = pick(at) { spool.refuse(number, "C", "no").unwrap() },
                Step::Reopen => spool = { drop(spool); Spool::open(folder.path(), None).unwrap() },
            }
            let now = numbers(&spool);
            prop_assert!(now.is_sorted());
            // Nothing comes back, and what is new is newer than what was.
            prop_assert!(now.iter().all(|number| waiting.contains(number) || waiting.last().is_none_or(|last| number > last)));
            waiting = now;
            agrees(&spool);
        }
    }
}
