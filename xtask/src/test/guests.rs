//! The end-to-end tests in the guests: which suites in which kernel, two guests at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::tally::Tally;
use super::{SHOWN, environment, is_one_of, shipped};
use crate::setup::{self, Group};
use crate::{command, threats, vm};

/// Suites that run in every guest.
const GUEST_SUITES: [&str; 1] = ["hooks"];
/// The suites of many sessions: in a guest, whose processor is software, each loads its programs for seconds. Without a
/// choice of kernels their tests are dealt out between the oldest and the newest kernel, and those below in both; in every
/// kernel that is named with `--kernels` all of them run.
const DEALT_SUITES: [&str; 1] = ["run"];
const DEALT_KERNELS: [&str; 2] = ["6.1", "7.3"];
/// Tests of what the verifier of one kernel alone has been seen to break, and of what kernels do in different ways.
const NOT_DEALT: [&str; 2] = ["folding::", "asked::"];
/// The suite of ways to hide, which runs in every kernel that is named.
const THREATS: &str = "threats";
/// Suites that are of most use with the strongest hooks, or in a machine of their own: each runs in one guest, the longest first.
const STRONG_SUITES: [(&str, &str); 5] =
    [(THREATS, "6.1"), ("oracle", "6.18"), ("judge", "6.12"), ("hotplug", "6.12"), ("machine", "6.18")];
/// Tests of these suites that take minutes each in a guest, or are twins of others and do nothing that those do not: they run
/// where their kernel is named. On this machine all run.
const ONLY_NAMED: [&str; 5] = [
    "an_autotools_configure",
    "cargo_build_of_three_crates",
    "t30_canaries::every_hook",
    "controls::without",
    "::twin",
];
/// The suite of the kernel that is refused: all others would only find that nothing starts there.
const REFUSED_KERNEL_SUITES: [&str; 1] = ["hooks"];
/// The kernel of the matrix that is too old.
const REFUSED_KERNEL: &str = "5.10";
/// How long all end-to-end tests may take in one guest.
const GUEST_TIME_MAX: Duration = Duration::from_secs(1800);
/// Where the tests in a guest put what they have shown, and how it comes out.
const SHOWN_IN_GUEST: &str = "/tmp/testimony-shown";
const FINDING: &str = "shown: ";
/// Guests that run at once. One keeps two processors busy for two thirds of its time only: it waits for its kernel's grace
/// periods, and while it boots.
const AT_ONCE: usize = 2;

/// What a guest has to say, with its kernel.
enum Said {
    Line(String),
    Ended(Result<()>, Duration),
}

/// Runs the suites in every kernel of the matrix; in those that are `named` all of them and all their tests.
pub(super) fn run(named: &[String], binaries: &[PathBuf], harness: &[String], tally: &mut Tally) {
    if let Err(fault) = setup::ensure(Group::Vm) {
        println!("guests: {fault:#}");
        return tally.part_failed("guests", tally.failed());
    }
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut found = Vec::new();
    let kernels = Mutex::new(order(named));
    let whole = !named.is_empty();
    let (send, said) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (send, kernels) = (send.clone(), &kernels);
            scope.spawn(move || {
                while let Some(kernel) = next(kernels) {
                    let suites = guest_suites(&kernel, whole);
                    let started = Instant::now();
                    let ended = in_guest(&kernel, &suites, whole, binaries, harness, &mut |line| {
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
                    if let Some(finding) = line.strip_prefix(FINDING) {
                        found.push(finding.to_owned());
                        continue;
                    }
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
    // A filter of the user's own leaves some out; in other kernels, and by tests that take minutes, something else is shown.
    if !whole
        && harness.is_empty()
        && let Err(fault) = threats::compare(&found, threats::Path::Strong)
    {
        println!("threats: {fault:#}");
        tally.part_failed("what the tests of threats have shown in the guests", tally.failed());
    }
}

/// What all tests of threats show in a kernel.
pub(super) fn shown(kernel: &str, binaries: &[PathBuf]) -> Result<Vec<String>> {
    setup::ensure(Group::Vm)?;
    let mut found = Vec::new();
    // Twins show nothing, nor does what takes minutes in a guest.
    let harness: Vec<String> = ONLY_NAMED.iter().flat_map(|test| ["--skip", test]).map(str::to_owned).collect();
    in_guest(kernel, &["threats"], true, binaries, &harness, &mut |line| match line.strip_prefix(FINDING) {
        Some(finding) => found.push(finding.to_owned()),
        None => println!("{kernel}: {line}"),
    })?;
    Ok(found)
}

fn next(kernels: &Mutex<VecDeque<String>>) -> Option<String> {
    kernels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
}

/// Those with the most to do first, so that no guest runs alone at the end for long.
fn order(named: &[String]) -> VecDeque<String> {
    let mut kernels: Vec<String> =
        if named.is_empty() { vm::KERNELS.map(str::to_owned).to_vec() } else { named.to_vec() };
    let lasts_long =
        |kernel: &str| STRONG_SUITES.iter().position(|(_, strong)| *strong == kernel).unwrap_or(usize::MAX);
    kernels.sort_by_cached_key(|kernel| {
        (lasts_long(kernel), Reverse(guest_suites(kernel, !named.is_empty()).len()), kernel.clone())
    });
    kernels.dedup();
    kernels.into()
}

/// One boot for all suites.
fn in_guest(
    kernel: &str,
    suites: &[&str],
    whole: bool,
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
    let mut script = "cd tests; status=0".to_owned();
    for binary in binaries {
        // A filter of the user's own is the choice then.
        let dealt = if whole || !harness.is_empty() {
            String::new()
        } else if is_one_of(binary, &DEALT_SUITES) {
            format!("--exact {}", deal(&tests_of(binary)?, kernel).join(" "))
        } else {
            ONLY_NAMED.map(|test| format!("--skip {test}")).join(" ")
        };
        let _ = write!(script, "; '{}' {dealt} \"$@\" || status=1", binary.display());
    }
    // The file is there when a test of threats has shown something.
    let _ = write!(script, "; [ ! -e {SHOWN_IN_GUEST} ] || sed 's/^/{FINDING}/' {SHOWN_IN_GUEST}");
    let mut words = ["bash", "-c", &format!("{script}; exit $status"), "bash"].map(str::to_owned).to_vec();
    words.extend(harness.iter().cloned());
    let mut environment = environment(kernel);
    environment.push((SHOWN.to_owned(), SHOWN_IN_GUEST.to_owned()));
    let ran = vm::run_command(kernel, &files, words, environment, GUEST_TIME_MAX, print)?;
    if ran.status != 0 {
        bail!("the tests in the guest ended with {}", ran.status);
    }
    Ok(())
}

/// The names of a test binary's tests.
fn tests_of(binary: &Path) -> Result<Vec<String>> {
    let listed = command::read(Command::new(binary).args(["--list", "--format", "terse"]))?;
    let tests: Vec<String> = listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    if tests.is_empty() {
        bail!("{} lists no tests", binary.display());
    }
    Ok(tests)
}

/// Those that run in this one of the kernels between which they are dealt out: each in turn, and some in all.
fn deal<'a>(tests: &'a [String], kernel: &str) -> Vec<&'a str> {
    let turn = DEALT_KERNELS.iter().position(|dealt| *dealt == kernel);
    let here = tests.iter().map(String::as_str).filter(|test| !ONLY_NAMED.iter().any(|named| test.contains(named)));
    let (everywhere, dealt): (Vec<&str>, Vec<&str>) =
        here.partition(|test| NOT_DEALT.iter().any(|own| test.starts_with(own)));
    let mine = dealt.into_iter().enumerate().filter(|(at, _)| Some(at % DEALT_KERNELS.len()) == turn);
    everywhere.into_iter().chain(mine.map(|(_, test)| test)).collect()
}

/// What runs in the guest of a kernel.
fn guest_suites(kernel: &str, whole: bool) -> Vec<&'static str> {
    if kernel == REFUSED_KERNEL {
        return REFUSED_KERNEL_SUITES.to_vec();
    }
    let here = |(suite, in_kernel): &&(&str, &str)| *in_kernel == kernel || whole && *suite == THREATS;
    let strong = STRONG_SUITES.iter().filter(here).map(|(suite, _)| *suite);
    let dealt = DEALT_SUITES.into_iter().filter(|_| whole || DEALT_KERNELS.contains(&kernel));
    GUEST_SUITES.into_iter().chain(dealt).chain(strong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_is_dealt_to_one_kernel_and_some_to_all() {
        let tests =
            ["exec::a", "exec::b", "folding::c", "names::d", "opens::e", "t30_canaries::every_hook"].map(str::to_owned);
        let [oldest, newest] = DEALT_KERNELS.map(|kernel| deal(&tests, kernel));
        assert_eq!(oldest, ["folding::c", "exec::a", "names::d"]);
        assert_eq!(newest, ["folding::c", "exec::b", "opens::e"]);
    }

    #[test]
    fn the_longest_guests_are_first() {
        let order: Vec<String> = order(&[]).into();
        assert_eq!(order.first().map(String::as_str), Some("6.1"));
        assert_eq!(order.last().map(String::as_str), Some(REFUSED_KERNEL));
    }
}
