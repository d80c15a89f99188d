//! The end-to-end tests in the guests: which suites in which kernel, two guests at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::tally::Tally;
use super::{environment, is_one_of, shipped};
use crate::setup::{self, Group};
use crate::vm;

/// Suites that run in every guest.
const GUEST_SUITES: [&str; 1] = ["hooks"];
/// Suites of many sessions: in a guest, whose processor is software, each loads its programs for seconds. Without a choice
/// of kernels they run in the oldest and the newest; in every kernel that is named with `--kernels` they run.
const LONG_SUITES: [&str; 1] = ["run"];
const LONG_KERNELS: [&str; 2] = ["6.1", "7.3"];
/// Suites that are of most use with the strongest hooks, and take long: they run in these guests, where 6.18 costs the least.
const STRONG_SUITES: [&str; 2] = ["judge", "oracle"];
const STRONG_KERNELS: [&str; 1] = ["6.18"];
/// The suite of the kernel that is refused: all others would only find that nothing starts there.
const REFUSED_KERNEL_SUITES: [&str; 1] = ["hooks"];
/// The kernel of the matrix that is too old.
const REFUSED_KERNEL: &str = "5.10";
/// How long all end-to-end tests may take in one guest.
const GUEST_TIME_MAX: Duration = Duration::from_secs(1800);
/// Guests that run at once. One keeps two processors busy for two thirds of its time only: it waits for its kernel's grace
/// periods, and while it boots.
const AT_ONCE: usize = 2;

/// What a guest has to say, with its kernel.
enum Said {
    Line(String),
    Ended(Result<()>, Duration),
}

/// Runs the suites in every kernel of the matrix; in those that are `named` all of them, also those that take long.
pub(super) fn run(named: &[String], binaries: &[PathBuf], harness: &[String], tally: &mut Tally) {
    if let Err(fault) = setup::ensure(Group::Vm) {
        println!("guests: {fault:#}");
        return tally.part_failed("guests", tally.failed());
    }
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let kernels = Mutex::new(order(named));
    let (send, said) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (send, kernels) = (send.clone(), &kernels);
            scope.spawn(move || {
                while let Some(kernel) = next(kernels) {
                    let suites = guest_suites(&kernel, !named.is_empty());
                    let started = Instant::now();
                    let ended = in_guest(&kernel, &suites, binaries, harness, &mut |line| {
                        let _ = send.send((kernel.clone(), Said::Line(line.to_owned())));
                    });
                    if send.send((kernel, Said::Ended(ended, started.elapsed()))).is_err() {
                        // Nobody hears what further guests would say.
                        break;
                    }
                }
            });
        }
        drop(send);
        for (kernel, said) in said {
            let tally = tallies.entry(kernel.clone()).or_default();
            match said {
                Said::Line(line) => {
                    println!("{kernel}: {line}");
                    tally.read(&line);
                }
                Said::Ended(ended, took) => {
                    let name = format!("end-to-end tests in kernel {kernel}");
                    if let Err(fault) = ended {
                        println!("{name}: {fault:#}");
                        tally.part_failed(&name, 0);
                    }
                    println!("== {name}: {:.0} s", took.as_secs_f64());
                }
            }
        }
    });
    tallies.into_values().for_each(|guest| tally.absorb(guest));
}

fn next(kernels: &Mutex<VecDeque<String>>) -> Option<String> {
    kernels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
}

/// Those with the most to do first, so that no guest runs alone at the end for long.
fn order(named: &[String]) -> VecDeque<String> {
    let mut kernels: Vec<String> =
        if named.is_empty() { vm::KERNELS.map(str::to_owned).to_vec() } else { named.to_vec() };
    kernels.sort_by_cached_key(|kernel| (Reverse(guest_suites(kernel, !named.is_empty()).len()), kernel.clone()));
    kernels.dedup();
    kernels.into()
}

/// One boot for all suites.
fn in_guest(
    kernel: &str,
    suites: &[&str],
    binaries: &[PathBuf],
    harness: &[String],
    print: &mut dyn FnMut(&str),
) -> Result<()> {
    print(&format!("suites: {}", suites.join(", ")));
    let binaries: Vec<&PathBuf> = binaries.iter().filter(|binary| is_one_of(binary, suites)).collect();
    if binaries.len() != suites.len() {
        bail!("of the suites {} only {} were built", suites.join(", "), binaries.len());
    }
    let mut files: Vec<PathBuf> = binaries.iter().copied().cloned().collect();
    files.extend(shipped().map(|(_, path)| path));
    let script = binaries.iter().fold("cd tests; status=0".to_owned(), |script, binary| {
        format!("{script}; '{}' \"$@\" || status=1", binary.display())
    });
    let mut words = ["bash", "-c", &format!("{script}; exit $status"), "bash"].map(str::to_owned).to_vec();
    words.extend(harness.iter().cloned());
    let ran = vm::run_command(kernel, &files, words, environment(kernel), GUEST_TIME_MAX, print)?;
    if ran.status != 0 {
        bail!("the tests in the guest ended with {}", ran.status);
    }
    Ok(())
}

/// What runs in the guest of a kernel.
fn guest_suites(kernel: &str, whole: bool) -> Vec<&'static str> {
    if kernel == REFUSED_KERNEL {
        return REFUSED_KERNEL_SUITES.to_vec();
    }
    let strong: &[&str] = if STRONG_KERNELS.contains(&kernel) { &STRONG_SUITES } else { &[] };
    let long: &[&str] = if whole || LONG_KERNELS.contains(&kernel) { &LONG_SUITES } else { &[] };
    [&GUEST_SUITES, long, strong].concat()
}
