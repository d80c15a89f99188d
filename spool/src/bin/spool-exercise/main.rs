//! Acts on a queue until it is killed, and compares what it said with what the queue then holds: for tests, and for machines that
//! are cut off from power.
//!
//! ```text
//! spool-exercise put FOLDER RULE BYTES_MAX WRITER FIRST   puts items of a writer, from the one of this number on
//! spool-exercise take FOLDER RULE BYTES_MAX               acknowledges what waits, and refuses every seventh
//! spool-exercise check FOLDER RULE BYTES_MAX KILLED       compares the queue with the lines on stdin
//! ```
//!
//! RULE is `drop-oldest` or `refuse-new`. The first two run until they are killed. Each line on stdout is one write, made after the
//! act it tells of was done and not before, so what was told must hold whatever happens next; what is not told may or may not be.
//! Items follow from the writer and the number, so that whoever checks knows each without having seen it.
//!
//! Where power is cut: run one `take` and some `put`, each with a WRITER of its own, in the machine, with their stdout on a serial
//! line or another way that leaves it at once; keep all lines outside. After the next boot give them to `check`, in the order in
//! which each process wrote them, with the number of processes that were ever killed: each may have done one act that it did not tell.
//! Then go on: FIRST is one more than what the writer last told. `check` fails with a sentence for each fault, and otherwise prints
//! how much it compared.

mod accounts;
mod items;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spool::{Error, Limits, Rule, Spool};

use crate::accounts::Accounts;
use crate::items::Made;

/// Bytes that are taken from the queue at once.
const BATCH_BYTES: u64 = 256 << 10;
const USAGE: &str = "spool-exercise put|take|check FOLDER drop-oldest|refuse-new BYTES_MAX [WRITER FIRST|KILLED]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(says) => {
            eprintln!("spool-exercise: {says}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), String> {
    let [act, folder, rule, bytes_max, rest @ ..] = arguments else { return Err(USAGE.to_owned()) };
    let rule = match *rule {
        "drop-oldest" => Rule::DropOldest,
        "refuse-new" => Rule::RefuseNew,
        _ => return Err(USAGE.to_owned()),
    };
    let spool = Spool::open(Path::new(folder), limits(rule, parsed(bytes_max)?)).map_err(|error| chain(&error))?;
    match (*act, rest) {
        ("put", [writer, first]) => put(spool, parsed(writer)?, parsed(first)?),
        ("take", []) => take(spool),
        ("check", [killed]) => check(&spool, parsed(killed)?),
        _ => Err(USAGE.to_owned()),
    }
}

fn limits(rule: Rule, bytes_max: u64) -> Limits {
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let (items_max, age_max) = (u64::MAX, 100 * year);
    Limits { bytes_max, items_max, age_max, rule, receipts_max: 100_000, receipts_age_max: year }
}

fn put(mut spool: Spool, writer: u64, first: u64) -> Result<(), String> {
    for number in first.. {
        let made = Made::of(writer, number);
        // Now and then an item says what was dropped.
        let said = (number.is_multiple_of(16)).then(|| spool.dropped()).transpose().map_err(|error| chain(&error))?;
        let put = match &said {
            Some(said) => spool.put_saying(&made.item(), said, now_s()),
            None => spool.put(&made.item(), now_s()),
        };
        match put {
            Ok(given) => tell(&format!("put {writer} {number} {given}"))?,
            Err(Error::Full) => tell(&format!("full {writer} {number}"))?,
            Err(error) => return Err(chain(&error)),
        }
        if let (Ok(_), Some(said)) = (put, said) {
            tell(&format!("said {} {} {}", said.until.full, said.until.old, said.until.refused))?;
        }
    }
    Ok(())
}

fn take(mut spool: Spool) -> Result<(), String> {
    loop {
        let held = spool.waiting(0, BATCH_BYTES).map_err(|error| chain(&error))?;
        if held.is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        for held in held {
            let number = held.number;
            let (told, done) = match number % 7 {
                3 => ("refuse", spool.refuse(number, "seventh", "every seventh is refused", now_s())),
                _ => ("ack", spool.acknowledge(number, &accounts::receipt(number), now_s())),
            };
            match done {
                Ok(()) => tell(&format!("{told} {number}"))?,
                // It was dropped since it was read.
                Err(Error::NotWaiting(_)) => {}
                Err(error) => return Err(chain(&error)),
            }
        }
    }
}

fn check(spool: &Spool, killed: u64) -> Result<(), String> {
    let told = io::read_to_string(io::stdin()).map_err(|error| error.to_string())?;
    let accounts = Accounts::read(&told)?;
    let faults = accounts.compare(spool, killed).map_err(|error| chain(&error))?;
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    tell(&accounts.summary())
}

/// One write, so that a line is there or not.
fn tell(line: &str) -> Result<(), String> {
    io::stdout().write_all(format!("{line}\n").as_bytes()).map_err(|error| error.to_string())
}

fn parsed<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
