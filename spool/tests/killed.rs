//! A spool whose users are killed: nothing that was answered is lost, nothing is there twice, and every drop is counted.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use spool::Spool;

const ROUNDS: u32 = 100;

fn start(role: &str, folder: &Path) -> Child {
    let mut start = Command::new(env!("CARGO_BIN_EXE_spool-user"));
    start.arg(folder).args(role.split(' ')).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts")
}

/// Kills it, and gives the numbers that it had an answer for.
fn kill(mut child: Child, what: &str) -> BTreeSet<u64> {
    child.kill().expect("killed");
    let mut said = String::new();
    child.stdout.take().expect("an output").read_to_string(&mut said).expect("text");
    child.wait().expect("gone");
    let whole = said.rfind('\n').map_or("", |end| &said[..end]);
    whole.lines().filter_map(|line| line.strip_prefix(what)?.parse().ok()).collect()
}

#[test]
fn whoever_is_killed_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("spool");
    let (mut put, mut took) = (BTreeSet::new(), BTreeSet::new());
    let mut seed = u64::from(std::process::id());
    for round in 0..ROUNDS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let one = start(&format!("put {round} 0"), &folder);
        let other = start(&format!("put {round} 1"), &folder);
        let taker = start("take", &folder);
        thread::sleep(Duration::from_millis(20 + (seed >> 33) % 200));
        for (child, what) in [(one, "put "), (taker, "took "), (other, "put ")] {
            let numbers = if what == "put " { &mut put } else { &mut took };
            for number in kill(child, what) {
                assert!(numbers.insert(number), "{what}{number} was answered twice");
            }
        }
        let spool = Spool::open(&folder, None).expect("it can be opened");
        let (state, dropped) = (spool.state().expect("a state"), spool.dropped().expect("a count"));
        assert_eq!(state.put, state.waiting + state.acknowledged + state.refused + state.dropped[0], "{state:?}");
        assert_eq!(state.dropped[0], dropped.full, "{state:?} {dropped:?}");
        assert!(state.acknowledged >= took.len() as u64 && state.put >= put.len() as u64);
        let waiting: BTreeSet<u64> =
            spool.waiting(0, u64::MAX).expect("what waits").iter().map(|held| held.number).collect();
        assert!(waiting.is_disjoint(&took), "what was delivered waits again");
        // What was answered and neither waits nor was taken was taken without an answer, or dropped.
        let gone = put.iter().filter(|number| !waiting.contains(number) && !took.contains(number)).count() as u64;
        let unheard = state.acknowledged - took.len() as u64;
        assert!(gone <= state.dropped[0] + unheard, "{gone} are gone: {state:?}");
    }
    assert!(put.len() > 100 && took.len() > 100, "{} put, {} taken", put.len(), took.len());
    println!("{ROUNDS} rounds: {} put, {} taken", put.len(), took.len());
    assert!(fs::metadata(folder.join("spool.db")).expect("a file").len() < 4 << 20);
}
