//! Files as they are while processes act, cut and changed: what is opened is the queue as it once was, or an error says why not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use spool::{Error, Spool};

use super::process::Queue;
use super::{Chance, items, limits};

const BYTES_MAX: u64 = 2 << 20;
const IMAGES: u64 = 30;
const CHANGES: u64 = 20;

/// What an image has: each number that waits, and the last that was given.
struct Seen {
    waiting: BTreeMap<u64, (u64, u64)>,
    newest: u64,
}

#[test]
fn torn_files_give_an_earlier_queue_or_an_error() {
    let mut chance = Chance::new();
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("spool");
    let queue = Queue { folder: &folder, rule: "drop-oldest", bytes_max: BYTES_MAX };
    let mut acting = vec![queue.put(0, 1), queue.put(1, 1), queue.take()];
    let (mut opened, mut errors) = (0, BTreeMap::<String, u64>::new());
    for at in 0..IMAGES {
        thread::sleep(Duration::from_micros(20_000 + chance.below(50_000)));
        let image = above.path().join(format!("image-{at}"));
        acting.iter().for_each(|acting| acting.signal(Signal::STOP));
        copy(&folder, &image);
        acting.iter().for_each(|acting| acting.signal(Signal::CONT));
        let copied = above.path().join("copied");
        copy(&image, &copied);
        let whole = look(&copied).unwrap_or_else(|error| panic!("an image that nobody touched: {error}"));
        fs::remove_dir_all(&copied).unwrap();
        for _ in 0..CHANGES {
            copy(&image, &copied);
            let change = change(&copied, &mut chance);
            match look(&copied) {
                Ok(seen) => {
                    compare(&seen, &whole, &change);
                    opened += 1;
                }
                Err(error) => *errors.entry(short(&error)).or_default() += 1,
            }
            fs::remove_dir_all(&copied).unwrap();
        }
        // Without one who takes, and with: the log is copied into the database in both.
        if at == IMAGES / 2 {
            acting.pop().unwrap().end();
        }
    }
    acting.into_iter().for_each(|acting| drop(acting.end()));
    println!("{opened} opened; {errors:?}");
    assert!(opened > 0 && !errors.is_empty());
}

fn short(error: &Error) -> String {
    match error {
        Error::Damaged { what, .. } => (*what).to_owned(),
        other => format!("{other:?}"),
    }
}

/// The database first: while all stand still, any order is one.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in ["spool.db", "spool.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// Cuts or changes one of the files, and says how.
fn change(folder: &Path, chance: &mut Chance) -> String {
    let name = if chance.below(3) == 0 { "spool.db" } else { "spool.db-wal" };
    let Ok(mut bytes) = fs::read(folder.join(name)) else { return "no log".to_owned() };
    let place = chance.below(bytes.len() as u64);
    let at = usize::try_from(place).unwrap();
    let change = match chance.below(3) {
        0 => {
            bytes.truncate(at);
            "cut"
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
            "a bit"
        }
        _ => {
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
            "a sector of zeros"
        }
    };
    fs::write(folder.join(name), bytes).unwrap();
    format!("{change} at {place} of {name}")
}

/// Opens, reads all there is, and goes on with it. Every item is one that was put.
fn look(folder: &Path) -> Result<Seen, Error> {
    let mut spool = Spool::open(folder, limits(BYTES_MAX))?;
    let waiting = spool.waiting(0, u64::MAX)?;
    let number = |held: &spool::Held| (held.number, items::origin(held).expect("an item that was never put"));
    let seen = Seen { waiting: waiting.iter().map(number).collect(), newest: spool.state()?.newest };
    for refused in spool.refused()? {
        assert!(spool.refused_envelope(refused.number)?.is_some());
    }
    spool.dropped()?;
    spool.put(&items::Made::of(9, 9).item(), 1_800_000_000)?;
    spool.tidy(1_800_000_000)?;
    Ok(seen)
}

/// An earlier queue has all that still waits in a later one, but for what was not put yet.
fn compare(seen: &Seen, whole: &Seen, change: &str) {
    assert!(seen.newest <= whole.newest, "{change}: numbers up to {}, of {}", seen.newest, whole.newest);
    let expected: BTreeMap<_, _> =
        whole.waiting.range(..=seen.newest).map(|(number, origin)| (*number, *origin)).collect();
    for (number, origin) in &expected {
        assert_eq!(seen.waiting.get(number), Some(origin), "{change}: {number}");
    }
    // What is there besides went later: the oldest go first, so it is older than all that stayed.
    let first = expected.keys().next().copied().unwrap_or(u64::MAX);
    let besides: BTreeSet<_> = seen.waiting.keys().filter(|number| !expected.contains_key(number)).collect();
    assert!(besides.iter().all(|number| **number < first), "{change}: {besides:?} before {first}");
}
