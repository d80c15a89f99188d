//! Who belongs to a session: by inheritance whatever its cgroup, and by the session's cgroup whoever made it.

use std::process::{Command, Stdio};

use attestation::trace::Origin;
use tests::{PYTHON, Run, Scratch, python};

/// Where cgroup v2 is mounted, and the folder of the process's own cgroup.
const CGROUP: &str = r#"
import os, sys, time
def mount():
    for line in open("/proc/self/mounts"):
        fields = line.split()
        if fields[2] == "cgroup2": return fields[1]
    sys.exit("no cgroup v2 is mounted")
def own():
    for line in open("/proc/self/cgroup"):
        if line.startswith("0::"): return mount() + line[3:].strip()
"#;

#[test]
fn a_process_that_leaves_the_cgroup_stays_a_member() {
    let scratch = Scratch::new();
    let script = format!(
        r#"{CGROUP}
inside = own()
assert "testimony" in inside, inside
open(mount() + "/cgroup.procs", "w").write("0")
assert own() != inside
if os.fork() == 0:
    open("by-a-child", "w").close()
    os._exit(0)
os.wait()
open("after", "w").close()
"#
    );
    let record = Run::new(&scratch, python(&script)).go().complete();
    assert_eq!(record.trace.opened().membership, "cgroup+inheritance");
    assert_eq!(record.file(&scratch.join("after")).processes().collect::<Vec<_>>(), [(0, 2 | 8 | 16)]);
    assert_eq!(record.file(&scratch.join("by-a-child")).processes().collect::<Vec<_>>(), [(1, 2 | 8 | 16)]);
}

#[test]
fn a_process_in_a_child_cgroup_stays_a_member() {
    let scratch = Scratch::new();
    let script = format!(
        r#"{CGROUP}
below = own() + "/below"
os.mkdir(below)
pid = os.fork()
if pid == 0:
    open(below + "/cgroup.procs", "w").write("0")
    open("from-below", "w").close()
    os._exit(0)
os.waitpid(pid, 0)
while True:
    try: os.rmdir(below); break
    except OSError: time.sleep(0.01)
"#
    );
    let record = Run::new(&scratch, python(&script)).go().complete();
    assert_eq!(record.trace.processes().len(), 2);
    assert_eq!(record.file(&scratch.join("from-below")).processes().count(), 1);
}

#[test]
fn a_process_moved_into_the_cgroup_joins_and_ends_completeness() {
    let scratch = Scratch::new();
    let stranger = r#"
import os, sys, time
open("before", "w").close()
limit = time.monotonic() + 120
while not os.path.exists("moved") and time.monotonic() < limit: time.sleep(0.01)
open("inside", "w").close()
"#;
    let mut outside = Command::new(PYTHON)
        .args(["-I", "-S", "-B", "-c", stranger])
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let script = format!(
        r#"{CGROUP}
pid = sys.argv[1]
while not os.path.exists("before"): time.sleep(0.01)
open(own() + "/cgroup.procs", "w").write(pid)
open("moved", "w").close()
while not os.path.exists("inside"): time.sleep(0.01)
"#
    );
    let mut command = python(&script);
    command.push(outside.id().to_string());
    let ran = Run::new(&scratch, command).option("--grace=60").go();
    let ended = outside.wait().unwrap();
    assert!(ended.success() && ran.code() == 0, "{}", ran.stderr);
    let record = ran.record();
    record.must_lack("JOINED_PROCESS");
    let joined = record.process(outside.id()).expect("it joined");
    assert_eq!(joined.origin, Origin::Joined);
    assert_eq!(joined.end.map(|end| end.status), Some(0));
    let index = record.trace.processes().iter().position(|process| process.pid == outside.id()).unwrap();
    let edges: Vec<_> = record.file(&scratch.join("inside")).processes().collect();
    assert_eq!(edges, [(u32::try_from(index).unwrap(), 2 | 8 | 16)]);
    assert!(record.files(&scratch.join("before")).is_empty(), "what it did before is nobody's");
}

#[test]
fn what_others_do_meanwhile_is_not_in_the_record() {
    let scratch = Scratch::new();
    let outside = Scratch::new();
    let script = "import os, time\nopen('started', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)";
    let mut run = Run::new(&scratch, python(script)).start();
    run.wait_for(&scratch.join("started"));
    for number in 0..100 {
        outside.write(format!("file-{number}"), "not the session's");
    }
    scratch.write("go", "");
    let record = run.wait().complete();
    assert_eq!(record.trace.processes().len(), 1);
    let foreign = outside.path();
    let path = foreign.as_os_str().as_encoded_bytes();
    assert!(!record.trace.files().any(|file| file.path.starts_with(path)));
}
