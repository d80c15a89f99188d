//! A user of a spool, for tests that kill it or the machine below it: `spool-user FOLDER put ROUND WHICH` puts, `spool-user FOLDER take`
//! takes, until it is killed. It writes a line once an operation was answered, and nothing before, so that what was read from it is
//! what it knows.
#![forbid(unsafe_code)]

use std::{env, io::Write as _, path::Path, time::Duration};

use spool::{Error, Item, Limits, Rule, Spool};

const BYTES: usize = 3000;

/// Room for 64 of them.
fn limits() -> Limits {
    Limits { bytes_max: 64 * (BYTES as u64 + 512), age_max: Duration::from_secs(86_400), rule: Rule::DropOldest }
}

fn item(round: &str, which: &str, number: u32) -> Item {
    let name = format!("{round}-{which}-{number}");
    let mut content = name.clone().into_bytes();
    content.resize(BYTES, b'.');
    Item { name, payload_sha256: [0; 32], content }
}

fn say(what: &str, number: u64) -> Result<(), Error> {
    let mut out = std::io::stdout();
    writeln!(out, "{what} {number}").and_then(|()| out.flush()).map_err(Error::Folder)
}

fn put(spool: &mut Spool, round: &str, which: &str) -> Result<(), Error> {
    for number in 0.. {
        say("put", spool.put(&item(round, which, number))?)?;
    }
    Ok(())
}

fn take(spool: &mut Spool) -> Result<(), Error> {
    loop {
        for held in spool.waiting(0, 10 * BYTES as u64)? {
            match spool.acknowledge(held.number, held.item.name.as_bytes()) {
                Ok(()) => say("took", held.number)?,
                // It was dropped meanwhile.
                Err(Error::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn main() -> Result<(), Error> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [folder, "put", round, which] => put(&mut Spool::open(Path::new(folder), Some(limits()))?, round, which),
        [folder, "take"] => take(&mut Spool::open(Path::new(folder), Some(limits()))?),
        _ => {
            eprintln!("spool-user FOLDER put ROUND WHICH, or take");
            std::process::exit(64)
        }
    }
}
