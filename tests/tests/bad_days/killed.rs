//! `testimony` killed: the command lives on, the kernel keeps nothing, and what was written stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::{Run, Scratch, python};

const LIVES_ON: &str = r#"
import os, time
open("input").close()
time.sleep(1)
open("started", "w").write(str(os.getpid()))
limit = time.monotonic() + 120
while not os.path.exists("go") and time.monotonic() < limit: time.sleep(0.01)
open("input").close()
open("after", "w").close()
"#;

/// The cgroup v2 folder that this process, and so a run that it starts, lives in.
fn own_cgroup() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let is_v2 = |line: &&str| line.split(' ').nth(2) == Some("cgroup2");
    let root = mounts.lines().find(is_v2).and_then(|line| line.split(' ').nth(1)).expect("cgroup v2 is mounted");
    let cgroups = fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::")).expect("a cgroup v2 membership");
    Path::new(root).join(own.trim_start_matches('/'))
}

fn cgroups_of(pid: u32) -> Vec<PathBuf> {
    let prefix = format!("testimony-{pid}-");
    let entries = fs::read_dir(own_cgroup()).expect("the cgroup can be listed").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).map(|entry| entry.path()).collect()
}

fn pinned() -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("testimony")).collect()
}

fn mounts() -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    // Other tests mount in their scratch folders meanwhile.
    mounts.lines().filter(|line| !line.contains("/testimony-end-to-end-")).collect::<Vec<_>>().join("\n")
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < limit, "{what}: not within two minutes");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn pid(number: u32) -> Pid {
    i32::try_from(number).ok().and_then(Pid::from_raw).expect("a pid")
}

#[test]
fn the_command_lives_on_and_nothing_is_left_in_the_kernel() {
    let scratch = Scratch::new();
    scratch.write("input", "x");
    let before = mounts();
    let mut run = Run::new(&scratch, python(LIVES_ON)).start();
    run.wait_for(&scratch.join("started"));
    let tracer = run.pid();
    assert_eq!(cgroups_of(tracer).len(), 1);
    kill_process(pid(tracer), Signal::KILL).expect("it lives");
    // Its standard output is the command's too: the pipes end with the command, so it must not be waited for here.
    wait_until("the tracer's end", || has_ended(tracer));
    let command: u32 = fs::read_to_string(scratch.join("started")).expect("it is there").parse().expect("a pid");
    assert!(!has_ended(command), "the command was to live on");
    assert_eq!(pinned(), Vec::<PathBuf>::new());
    assert_eq!(mounts(), before);
    scratch.write("go", "");
    wait_until("the command's last act", || scratch.join("after").exists());
    wait_until("the command's end", || has_ended(command));
    let ran = run.wait();
    assert!(ran.status.code().is_none() && !ran.statement().exists());
    let left: Vec<_> = fs::read_dir(ran.evidence()).expect("the evidence stays").flatten().collect();
    let open = left.iter().find(|entry| entry.file_name() == "open-0").expect("the open segment stays");
    assert!(open.metadata().expect("it is there").len() > 0, "what was seen reached the disk");
    let next = Run::new(&scratch, ["/bin/true"]).output(scratch.join("next")).go();
    let _ = next.complete();
    assert_eq!(cgroups_of(tracer), Vec::<PathBuf>::new(), "the next start cleans up");
}

/// Gone, or a zombie that its parent has not looked at.
fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
        || !Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn the_next_start_leaves_the_cgroup_of_a_run_that_lives() {
    let scratch = Scratch::new();
    scratch.write("input", "x");
    let mut run = Run::new(&scratch, python(LIVES_ON)).start();
    run.wait_for(&scratch.join("started"));
    let _ = Run::new(&scratch, ["/bin/true"]).output(scratch.join("next")).go().complete();
    assert_eq!(cgroups_of(run.pid()).len(), 1);
    scratch.write("go", "");
    let tracer = run.pid();
    let record = run.wait().complete();
    assert_eq!(record.accesses(&scratch.join("input")), 2);
    assert_eq!(cgroups_of(tracer), Vec::<PathBuf>::new(), "a run cleans up after itself");
}
