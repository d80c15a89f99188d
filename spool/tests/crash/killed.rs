//! Killed at any moment: nothing that was told is lost, nothing is there twice, all is in order, and what was dropped is counted.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::Chance;
use super::process::{Acting, Queue};

/// Rounds on one queue.
const ROUNDS: u64 = 15;
const QUEUES: u64 = 10;
const WRITERS: u64 = 2;

#[test]
fn what_was_told_holds_where_the_oldest_go() {
    rounds("drop-oldest");
}

#[test]
fn what_was_told_holds_where_new_ones_stay_out() {
    rounds("refuse-new");
}

#[test]
fn a_queue_that_was_killed_while_it_was_made_is_one() {
    let mut chance = Chance::new();
    let mut empty = 0;
    for _ in 0..100 {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("spool");
        let queue = Queue { folder: &folder, rule: "drop-oldest", bytes_max: 1 << 20 };
        let acting = [queue.put(0, 1), queue.put(1, 1)];
        thread::sleep(Duration::from_micros(chance.below(12_000)));
        let told: String = acting.map(Acting::end).concat();
        empty += u32::from(told.is_empty());
        queue.check(&told, 2).unwrap_or_else(|faults| panic!("{faults}"));
    }
    println!("{empty} of 100 had nothing told yet");
    assert!(empty > 0);
}

fn rounds(rule: &str) {
    let (mut chance, began) = (Chance::new(), Instant::now());
    for queue in 0..QUEUES {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("spool");
        let queue = Queue { folder: &folder, rule, bytes_max: (1 + queue % 2) << 20 };
        let (mut told, mut next, mut killed) = (String::new(), BTreeMap::new(), 0);
        let mut says = String::new();
        for _ in 0..ROUNDS {
            told.push_str(&round(&queue, &mut chance, &mut next));
            killed += WRITERS + 1;
            says = queue.check(&told, killed).unwrap_or_else(|faults| panic!("{rule}: {faults}"));
        }
        print!("{rule}, {ROUNDS} rounds: {says}");
    }
    println!("{rule}: {} rounds in {:?}", ROUNDS * QUEUES, began.elapsed());
}

/// Some write and one takes, or not, and each is killed at a moment of its own.
fn round(queue: &Queue<'_>, chance: &mut Chance, next: &mut BTreeMap<u64, u64>) -> String {
    let mut acting: Vec<_> =
        (0..WRITERS).map(|writer| queue.put(writer, next.get(&writer).copied().unwrap_or(1))).collect();
    if chance.below(3) > 0 {
        acting.push(queue.take());
    }
    let mut told = String::new();
    while !acting.is_empty() {
        thread::sleep(Duration::from_micros(chance.below(50_000)));
        let index = usize::try_from(chance.below(acting.len() as u64)).unwrap();
        told.push_str(&acting.swap_remove(index).end());
    }
    for line in told.lines() {
        let words: Vec<_> = line.split(' ').collect();
        if let ["put" | "full", writer, number, ..] = words[..] {
            next.insert(writer.parse().unwrap(), number.parse::<u64>().unwrap() + 1);
        }
    }
    told
}
