//! Writers against readers, on every file system whose digests are relied on, and on two whose are not: what is called
//! `stable` is what the reader got, and what is called `ephemeral` nobody outside wrote. Each version of a file is filled
//! with its own number, so the test knows the truth.
//!
//! `TESTIMONY_RACE_ROUNDS` is how many rounds all file systems get together; a round is one file with its writer and two
//! readers. Needs root, loop devices and the file systems' tools.

mod judge;
mod truth;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use judge::Tally;
use tests::{Run, Scratch, Volume, compile};
use truth::{Reads, Written};

const ROUNDS: u32 = 20_000;
const FILE_SYSTEMS: u32 = 5;
/// Pairs of writer and readers at once.
const LANES: u32 = 16;
/// Rounds of a lane in one session. Of two sessions one is calm, as `race.c` says.
const SESSION_ROUNDS_MAX: u32 = 500;
/// Of a thousand reads of files that nobody touches, so many are `stable`.
const QUIET_STABLE_MIN: u64 = 950;
/// How long a writer may go on when the session has ended.
const WRITER_TIME_MAX: Duration = Duration::from_secs(60);

/// One after the other: each has more to do at once than this machine has processors.
static ALONE: Mutex<()> = Mutex::new(());

fn rounds() -> u32 {
    let asked = std::env::var("TESTIMONY_RACE_ROUNDS").ok().map(|rounds| rounds.parse().expect("a number of rounds"));
    asked.unwrap_or(ROUNDS).div_ceil(FILE_SYSTEMS)
}

/// The program of writers and readers, at work in a folder.
struct Race {
    program: PathBuf,
    control: PathBuf,
    folder: PathBuf,
    rounds: u32,
    seed: u32,
}

impl Race {
    fn words(&self, party: &str) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let numbers = [LANES, self.rounds, self.seed].map(|number| number.to_string());
        let mut words = vec![path(&self.program), party.to_owned(), path(&self.control), path(&self.folder)];
        words.extend(numbers);
        words
    }

    fn command(&self, party: &str) -> Command {
        let words = self.words(party);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// One session, with its writers outside.
    fn run(&self, scratch: &Scratch) -> (Reads, Written, tests::Record) {
        fs::create_dir(&self.folder).expect("a folder for the files");
        fs::write(&self.control, [0; 4096]).expect("a page to meet on");
        assert!(self.command("make").status().expect("it starts").success());
        let said = scratch.join(format!("written-{}", self.seed));
        let outside =
            self.command("outside").stdout(fs::File::create(&said).expect("a file")).stdin(Stdio::null()).spawn();
        let mut outside = Ended(outside.expect("it starts"));
        let out = scratch.join(format!("out-{}", self.seed));
        let ran = Run::new(scratch, self.words("inside")).output(&out).go();
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
        outside.must_succeed();
        let record = ran.record();
        let reads = Reads::parse(&ran.stdout);
        let written = Written::parse(&fs::read_to_string(said).expect("lines"), &self.folder);
        fs::remove_dir_all(&self.folder).expect("the files are removed");
        fs::remove_dir_all(ran.evidence()).expect("the evidence is removed");
        (reads, written, record)
    }
}

/// A program that does not outlive its test.
struct Ended(Child);

impl Ended {
    fn must_succeed(&mut self) {
        let limit = Instant::now() + WRITER_TIME_MAX;
        loop {
            if let Some(status) = self.0.try_wait().expect("it is ours") {
                return assert!(status.success(), "the writers outside failed");
            }
            assert!(Instant::now() < limit, "the writers outside do not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All rounds on one file system.
fn race(name: &str, volume: &Volume) -> Tally {
    let started = Instant::now();
    let scratch = Scratch::new();
    let program = compile(&scratch, "race", include_str!("race.c"), &["-pthread"]);
    let (lane_rounds, mut done, mut tally) = (rounds().div_ceil(LANES), 0, Tally::default());
    let at_once = SESSION_ROUNDS_MAX.min(lane_rounds.div_ceil(2));
    for session in 0.. {
        if done == lane_rounds {
            break;
        }
        let race = Race {
            program: program.clone(),
            control: scratch.join("control"),
            folder: volume.root().join(format!("files-{done}")),
            rounds: at_once.min(lane_rounds - done),
            seed: (std::process::id() & 0xffff) << 14 ^ session,
        };
        let (reads, written, record) = race.run(&scratch);
        tally.add(judge::judge(&record, &reads, &written));
        done += race.rounds;
        tally.must_be_true(name, race.seed);
    }
    // The harness keeps to itself what a test that passes prints; this is to be seen.
    let took = started.elapsed().as_secs_f64();
    let line = format!("races on {name}: {} rounds in {took:.1} s, {tally}\n", lane_rounds * LANES);
    let _ = std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes());
    tally
}

/// Where digests can be `stable`.
fn relied_on(name: &str, volume: &Volume) {
    let tally = race(name, volume);
    tally.must_be_a_race(true);
    assert!(tally.stable > 0, "{name}: nothing is stable");
    let quiet = tally.quiet_stable * 1000 / tally.quiet.max(1);
    assert!(quiet >= QUIET_STABLE_MIN, "{name}: only {quiet} of 1000 reads of quiet files are stable: {tally}");
}

/// Where they cannot.
fn not_relied_on(name: &str, volume: &Volume, shows_writers: bool) {
    let tally = race(name, volume);
    tally.must_be_a_race(shows_writers);
    assert_eq!(tally.stable, 0, "{name}: nothing here can be known to be stable");
}

fn alone() -> std::sync::MutexGuard<'static, ()> {
    tests::need_root();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn ext4() {
    let _alone = alone();
    relied_on("ext4", &Volume::ext4());
}

#[test]
fn xfs() {
    let _alone = alone();
    relied_on("xfs", &Volume::image(&["mkfs.xfs", "-q"], 512));
}

#[test]
fn btrfs() {
    let _alone = alone();
    relied_on("btrfs", &Volume::image(&["mkfs.btrfs", "-q"], 512));
}

#[test]
fn tmpfs() {
    let _alone = alone();
    not_relied_on("tmpfs", &Volume::memory(), true);
}

#[test]
fn overlayfs() {
    let _alone = alone();
    not_relied_on("overlayfs", &Volume::overlay(), false);
}
