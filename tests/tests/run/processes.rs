//! The process tree: who made whom, and how each ended.

use attestation::trace::Origin;
use tests::{Record, Run, Scratch, compile, python};

#[test]
fn a_tree_has_its_parents_and_every_end() {
    let scratch = Scratch::new();
    let script = r#"
import os, signal
def child(act):
    pid = os.fork()
    if pid == 0: act()
    os.waitpid(pid, 0)
    return pid
child(lambda: os._exit(0))
child(lambda: os._exit(7))
child(lambda: os._exit(255))
child(lambda: os.kill(os.getpid(), signal.SIGKILL))
def nested():
    child(lambda: os._exit(3))
    os._exit(4)
child(nested)
"#;
    let record = Run::new(&scratch, python(script)).go().complete();
    let children = record.children(record.root());
    let ends = |processes: &[&attestation::trace::Process]| -> Vec<u32> {
        processes.iter().map(|process| process.end.expect("it ended").status).collect()
    };
    assert_eq!(ends(&children), [0, 7 << 8, 255 << 8, 9, 4 << 8]);
    assert_eq!(ends(&record.children(children[4])), [3 << 8]);
    assert_eq!(record.trace.processes().len(), 7);
    assert!(record.trace.processes().iter().skip(1).all(|process| process.origin == Origin::Forked));
    let in_time = |process: &attestation::trace::Process| {
        process.start_ns != 0 && process.end.is_some_and(|end| end.boottime_ns >= process.start_ns)
    };
    assert!(record.trace.processes().iter().skip(1).all(in_time));
}

#[test]
fn the_command_s_own_end_is_the_root_s() {
    let scratch = Scratch::new();
    let ran = Run::new(&scratch, python("raise SystemExit(42)")).go();
    assert_eq!(ran.code(), 42);
    let record = ran.record();
    record.must_be_complete();
    assert_eq!(record.root().end.map(|end| end.status), Some(42 << 8));
    assert_eq!(record.trace.closed().map(|closed| closed.root_status), Some(42 << 8));
}

#[test]
fn threads_are_one_process() {
    let scratch = Scratch::new();
    let script = r#"
import sys, threading
def read(name): open(name).close()
threads = [threading.Thread(target=read, args=(name,)) for name in sys.argv[1:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
"#;
    let names: Vec<_> = (0..8).map(|number| scratch.write(format!("input-{number}"), "x")).collect();
    let mut command: Vec<_> = python(script).into_iter().map(std::ffi::OsString::from).collect();
    command.extend(names.iter().map(|name| name.clone().into_os_string()));
    let record = Run::new(&scratch, command).go().complete();
    assert_eq!(record.trace.processes().len(), 1);
    for name in &names {
        let file = record.file(name);
        assert_eq!(file.processes().collect::<Vec<_>>(), [(0, 1)]);
    }
}

#[test]
fn vfork_and_exec_is_a_child() {
    let scratch = Scratch::new();
    let source = r#"
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            pid_t child = vfork();
            if (child == 0) { execl("/bin/false", "after-vfork", (char *)0); _exit(127); }
            int status = 0;
            waitpid(child, &status, 0);
            return WEXITSTATUS(status) == 1 ? 0 : 1;
        }"#;
    let program = compile(&scratch, "vforked", source, &[]);
    let record = Run::new(&scratch, [&program]).go().complete();
    let [child] = record.children(record.root())[..] else { panic!("one child") };
    let execs: Vec<_> = record.trace.execs(child).collect();
    assert_eq!(execs.iter().map(|exec| exec.filename).collect::<Vec<_>>(), [b"/bin/false"]);
    assert_eq!(child.end.map(|end| end.status), Some(1 << 8));
}

#[test]
fn an_orphan_keeps_the_parent_that_made_it() {
    let scratch = Scratch::new();
    let script = r#"
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.3)
        open("late", "w").close()
        os._exit(5)
    os._exit(0)
os.wait()
"#;
    let record = Run::new(&scratch, python(script)).option("--grace=60").go().complete();
    let [child] = record.children(record.root())[..] else { panic!("one child") };
    let [orphan] = record.children(child)[..] else { panic!("one grandchild") };
    assert_eq!(orphan.end.map(|end| end.status), Some(5 << 8));
    assert!(record.file(&scratch.join("late")).product, "what the orphan left is a product");
    assert!(record.trace.survivors().is_empty());
}

#[test]
fn a_child_that_outlives_the_grace_is_named_and_ends_completeness() {
    let scratch = Scratch::new();
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
    let ran = Run::new(&scratch, ["/bin/sh", "-c", script]).option("--grace=0.2").go();
    let pid: u32 = String::from_utf8_lossy(&ran.stdout).trim().parse().unwrap();
    let alive = std::path::Path::new("/proc").join(pid.to_string()).exists();
    kill(pid);
    assert!(alive, "the child was to live on");
    assert_eq!(ran.code(), 0);
    let record = ran.record();
    record.must_lack("SURVIVOR");
    assert_eq!(record.trace.survivors().iter().map(|survivor| survivor.0).collect::<Vec<_>>(), [pid]);
    assert!(record.process(pid).is_some_and(|process| process.survivor && process.end.is_none()));
    only_gap(&record, "SURVIVOR");
}

fn only_gap(record: &Record, code: &str) {
    let codes: Vec<&str> = record.trace.incompleteness().map(|gap| gap.code.as_ref()).collect();
    assert!(codes.iter().all(|found| *found == code), "{codes:?}");
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
}
