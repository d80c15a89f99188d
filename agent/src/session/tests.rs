//! Sessions under one loader, on the running kernel: nested ones, and one that the kernel side opens itself. Needs root.

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use agent_ebpf::{Member, Seat, Session, hook, state};

use crate::{
    decode::{Body, Event, decode},
    probe::{Limits, Probe, cgroup_root},
};

fn probe() -> Probe {
    let limits = Limits { ring_bytes: 1 << 20, slots: 4, folds: 4096, members: 4096, ..Limits::default() };
    Probe::start(&limits).expect("this test needs root and a supported kernel")
}

fn open(probe: &mut Probe, slot: u32, parent: u32) -> u64 {
    let serial = probe.next_serial().unwrap();
    let session = Session { serial, epoch: 0, state: state::OPEN, parent, reported: 0, cgroup_id: 0 };
    probe.set_session(slot, session).unwrap();
    serial
}

/// A cgroup of this test's own, removed at its end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).expect("a cgroup v2 hierarchy");
        let path = cgroup_root().unwrap().join(own).join(format!("testimony-test-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn id(&self) -> u64 {
        fs::metadata(&self.0).unwrap().ino()
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A shell that waits for a line before it goes on. It has said so: its own exec is over, which `spawn` does not wait for.
fn waiting_shell(script: &str) -> Child {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("echo; read line; {script}")]).process_group(0);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    shell
}

/// Lets a waiting shell go on, and waits for its end.
fn release(mut shell: Child) {
    shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(shell.wait().unwrap().success());
}

/// Closes a slot and drains the ring.
fn close(probe: &mut Probe, slot: u32) -> Vec<Event> {
    let mut session = probe.session(slot).unwrap();
    session.state = state::CLOSED;
    probe.set_session(slot, session).unwrap();
    probe.grace_period().unwrap();
    let mut events = Vec::new();
    probe.drain(|bytes| events.push(decode(bytes).unwrap()));
    events
}

/// What the kernel counted is what arrived and what was folded, for each hook of the slot.
fn balanced(probe: &mut Probe, slot: u32, serial: u64, events: &[Event]) {
    let mut delivered: HashMap<u16, u64> = HashMap::new();
    for event in events.iter().filter(|event| event.head.serial == serial) {
        *delivered.entry(event.head.hook).or_default() += 1;
    }
    let folded: u64 = probe.take_folded(serial, 0).unwrap().iter().map(|folded| folded.count).sum();
    let mut coalesced = 0;
    let mut attempted: HashMap<u16, u64> = HashMap::new();
    for (_, hook, account) in probe.accounts(slot, 0).unwrap() {
        assert_eq!((account.lost, account.truncated), (0, 0));
        coalesced += account.coalesced;
        *attempted.entry(hook).or_default() += account.attempted - account.coalesced;
    }
    assert_eq!(folded, coalesced);
    attempted.retain(|_, count| *count > 0);
    assert_eq!(attempted, delivered);
}

fn execs(events: &[Event], serial: u64) -> Vec<String> {
    let path = |event: &Event| match &event.body {
        Body::Exec { filename, .. } if event.head.serial == serial => {
            Some(String::from_utf8_lossy(filename).into_owned())
        }
        _ => None,
    };
    events.iter().filter_map(path).collect()
}

#[test]
fn a_task_belongs_to_the_innermost_of_two_nested_sessions() {
    let mut probe = probe();
    let outer = open(&mut probe, 0, u32::MAX);
    let inner = open(&mut probe, 1, 0);
    let cgroup = Cgroup::new("nested");
    probe.follow_cgroup(cgroup.id(), 1).unwrap();
    let shell = waiting_shell(&format!("/bin/true; echo $$ > {}/cgroup.procs; /bin/false; :", cgroup.0.display()));
    probe.adopt(shell.id(), Member::of(outer, 0)).unwrap();
    release(shell);
    let mut events = close(&mut probe, 1);
    events.extend(close(&mut probe, 0));
    assert_eq!(execs(&events, outer), ["/bin/true"]);
    assert_eq!(execs(&events, inner), ["/bin/false"]);
    assert!(events.iter().any(|event| event.head.serial == inner && matches!(event.body, Body::Joined(_))));
    balanced(&mut probe, 0, outer, &events);
    balanced(&mut probe, 1, inner, &events);
}

#[test]
fn a_cgroup_made_below_a_watched_one_opens_a_session_that_has_the_first_exec() {
    let mut probe = probe();
    let parent = open(&mut probe, 0, u32::MAX);
    let above = Cgroup::new("prefix");
    probe.watch_prefix(above.id(), 0).unwrap();
    probe.offer_slot(2).unwrap();
    let cgroup = Cgroup(above.0.join("container"));
    let shell = waiting_shell("exec /bin/echo first");
    fs::create_dir(&cgroup.0).unwrap();
    cgroup.take(shell.id());
    release(shell);
    let opened = probe.session(2).unwrap();
    assert_eq!((opened.state, opened.parent, opened.cgroup_id), (state::PROVISIONAL, 0, cgroup.id()));
    assert!(opened.serial > parent);
    let events = close(&mut probe, 2);
    assert_eq!(execs(&events, opened.serial), ["/bin/echo"]);
    let provisional = events.iter().find(|event| matches!(event.body, Body::Provisional { .. })).unwrap();
    assert_eq!((provisional.head.slot, provisional.head.number, provisional.head.hook), (2, 0, hook::CGROUP));
    balanced(&mut probe, 2, opened.serial, &events);
}

#[test]
fn without_a_free_slot_the_session_around_is_told() {
    let mut probe = probe();
    let parent = open(&mut probe, 0, u32::MAX);
    let above = Cgroup::new("full");
    probe.watch_prefix(above.id(), 0).unwrap();
    let cgroup = Cgroup(above.0.join("container"));
    fs::create_dir(&cgroup.0).unwrap();
    let events = close(&mut probe, 0);
    let told = events.iter().any(|event| {
        event.head.serial == parent
            && matches!(&event.body, Body::Attention(told) if told.code == agent_ebpf::attention::NO_SLOT)
    });
    assert!(told, "{events:?}");
}

#[test]
fn a_stale_member_of_a_reused_slot_is_nobodys() {
    let mut probe = probe();
    let first = open(&mut probe, 0, u32::MAX);
    let shell = waiting_shell("/bin/true; :");
    probe.adopt(shell.id(), Member::of(first, 0)).unwrap();
    let second = open(&mut probe, 0, u32::MAX);
    release(shell);
    let events = close(&mut probe, 0);
    assert_eq!((execs(&events, first), execs(&events, second)), (vec![], vec![]));
}

/// More files than the kernel side has lines for repeats, opened by two sessions at once: whose count is moved, when and by
/// whom must not matter. One of them still runs when the other is counted.
#[test]
fn repeats_are_counted_whoever_takes_their_line() {
    const FILES: usize = 6000;
    const ROUNDS: usize = 5;
    let files = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        fs::write(files.path().join(number.to_string()), "").unwrap();
    }
    let limits = Limits { ring_bytes: 16 << 20, slots: 4, folds: 1 << 16, members: 4096, ..Limits::default() };
    let mut probe = Probe::start(&limits).unwrap();
    let serials = [open(&mut probe, 0, u32::MAX), open(&mut probe, 1, u32::MAX)];
    let once = format!("for file in {}/*; do : <$file; done", files.path().display());
    // The second ends with this test, however that ends.
    let endless = format!("while kill -0 {} 2>/dev/null; do {once}; done", std::process::id());
    let scripts = [format!("for round in {}; do {once}; done", "1 ".repeat(ROUNDS)), endless];
    let shells = scripts.map(|script| waiting_shell(&script));
    for (slot, (serial, shell)) in (0..).zip(serials.iter().zip(&shells)) {
        probe.adopt(shell.id(), Member::of(*serial, slot)).unwrap();
    }
    let [first, mut second] = shells;
    second.stdin.take().unwrap().write_all(b"go\n").unwrap();
    release(first);
    let mut events = close(&mut probe, 0);
    let opened: Vec<_> = events
        .iter()
        .filter(|event| event.head.serial == serials[0] && matches!(event.body, Body::Open { .. }))
        .map(|event| (event.head.cpu, event.head.number))
        .collect();
    // The folder too is opened once a round.
    assert_eq!(opened.len(), FILES + 1);
    let folded = probe.take_folded(serials[0], 0).unwrap();
    let counts: HashMap<_, _> = folded.iter().map(|folded| ((folded.cpu, folded.number), folded.count)).collect();
    assert!(opened.iter().all(|event| counts.get(event) == Some(&(ROUNDS as u64 - 1))));
    second.kill().unwrap();
    second.wait().unwrap();
    events.extend(close(&mut probe, 1));
    balanced(&mut probe, 1, serials[1], &events);
}

/// Threads of one process that open the same few files at once: they want the same lines, and no repeat is lost or counted
/// for another file.
#[test]
fn repeats_of_threads_are_each_counted_once() {
    const THREADS: usize = 4;
    const FILES: usize = 3;
    const ROUNDS: usize = 50_000;
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..FILES).map(|number| folder.path().join(format!("contended-{number}"))).collect();
    files.iter().for_each(|file| fs::write(file, "").unwrap());
    let limits = Limits { ring_bytes: 16 << 20, slots: 4, folds: 1 << 16, members: 4096, ..Limits::default() };
    let mut probe = Probe::start(&limits).unwrap();
    let serial = open(&mut probe, 0, u32::MAX);
    probe.adopt(std::process::id(), Member::of(serial, 0)).unwrap();
    files.iter().for_each(|file| drop(fs::File::open(file).unwrap()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..ROUNDS).for_each(|round| drop(fs::File::open(&files[round % FILES]).unwrap())));
        }
    });
    let events = close(&mut probe, 0);
    let folded = probe.take_folded(serial, 0).unwrap();
    let counts: HashMap<_, _> = folded.iter().map(|folded| ((folded.cpu, folded.number), folded.count)).collect();
    for (number, file) in files.iter().enumerate() {
        let path = file.as_os_str().as_encoded_bytes();
        let told: Vec<_> = events
            .iter()
            .filter(|event| matches!(&event.body, Body::Open { file: told, .. } if told.path == path))
            .map(|event| counts.get(&(event.head.cpu, event.head.number)).copied())
            .collect();
        let rounds = (0..ROUNDS).filter(|round| round % FILES == number).count();
        assert_eq!(told, [Some((THREADS * rounds) as u64)]);
    }
}

/// Files opened in a session, by name.
fn opened(events: &[Event], serial: u64, below: &std::path::Path) -> Vec<String> {
    let name = |event: &Event| match &event.body {
        Body::Open { file, .. } if event.head.serial == serial => {
            let path = String::from_utf8_lossy(&file.path).into_owned();
            path.strip_prefix(below.to_str()?).map(|name| name.trim_start_matches('/').to_owned())
        }
        _ => None,
    };
    events.iter().filter_map(name).collect()
}

/// A folder with files of these names.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    names.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
    folder
}

/// What was looked up of a member holds no longer when it is one of another session: in the kernel, and by user space.
#[test]
fn an_open_is_told_in_the_session_that_its_process_is_in_then() {
    let files = folder(&["outer", "inner", "dismissed"]);
    let mut probe = probe();
    let outer = open(&mut probe, 0, u32::MAX);
    let inner = open(&mut probe, 1, 0);
    let cgroup = Cgroup::new("seat");
    probe.follow_cgroup(cgroup.id(), 1).unwrap();
    let (at, procs) = (files.path().display(), cgroup.0.join("cgroup.procs"));
    let script = format!(
        ": <{at}/outer; : <{at}/outer; echo $$ >{}; : <{at}/inner; : <{at}/inner; echo; read line; : <{at}/dismissed",
        procs.display()
    );
    let mut shell = waiting_shell(&script);
    probe.adopt(shell.id(), Member::of(outer, 0)).unwrap();
    shell.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    shell.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    probe.dismiss(inner).unwrap();
    release(shell);
    let mut events = close(&mut probe, 1);
    events.extend(close(&mut probe, 0));
    assert_eq!(opened(&events, outer, files.path()), ["outer"]);
    assert_eq!(opened(&events, inner, files.path()), ["inner"]);
}

/// Lets the next process have a number, of more than the usual ones; as it was when it is dropped.
struct Numbers(String);

impl Numbers {
    const MAX: &str = "/proc/sys/kernel/pid_max";

    fn many() -> Self {
        let before = fs::read_to_string(Self::MAX).unwrap();
        fs::write(Self::MAX, "4194304").unwrap();
        Self(before)
    }

    /// A waiting shell with this number. Another process may be quicker.
    fn shell(&self, number: u32, script: &str) -> Child {
        for _ in 0..100 {
            fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).unwrap();
            let mut shell = waiting_shell(script);
            if shell.id() == number {
                return shell;
            }
            shell.kill().unwrap();
            shell.wait().unwrap();
        }
        panic!("no process was given the number {number}");
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        let _ = fs::write(Self::MAX, &self.0);
    }
}

/// Two members whose numbers share a seat, in two sessions at once; and one outside, with the number of a member that ended.
#[test]
fn numbers_that_share_a_seat_are_told_apart() {
    let files = folder(&["one", "two", "outside"]);
    let numbers = Numbers::many();
    let mut probe = probe();
    let serials = [open(&mut probe, 0, u32::MAX), open(&mut probe, 1, u32::MAX)];
    let reads = |name: &str| {
        let path = files.path().join(name);
        format!("for round in 1 2 3 4 5 6 7 8 9; do : <{}; read line; done", path.display())
    };
    let pids = [200_000, 200_000 + 65_536];
    assert_eq!(Seat::place(pids[0]), Seat::place(pids[1]));
    let mut shells = [numbers.shell(pids[0], &reads("one")), numbers.shell(pids[1], &reads("two"))];
    for (slot, (serial, pid)) in (0..).zip(serials.iter().zip(pids)) {
        probe.adopt(pid, Member::of(*serial, slot)).unwrap();
    }
    for _ in 0..10 {
        shells.iter_mut().for_each(|shell| shell.stdin.as_mut().unwrap().write_all(b"go\n").unwrap());
    }
    for mut shell in shells {
        assert!(shell.wait().unwrap().success());
    }
    release(numbers.shell(pids[0], &reads("outside").replace("read line", ":")));
    let mut events = close(&mut probe, 0);
    events.extend(close(&mut probe, 1));
    assert_eq!(opened(&events, serials[0], files.path()), ["one"]);
    assert_eq!(opened(&events, serials[1], files.path()), ["two"]);
    for (slot, serial) in (0..).zip(serials) {
        balanced(&mut probe, slot, serial, &events);
    }
}
