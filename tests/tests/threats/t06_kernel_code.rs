//! 6: a BPF program or a kernel module can change what the tracer is told.

use attestation::trace::Finding;
use proto::evidence::PlatformEnd;
use tests::{Alone, Bystander, Record, Scratch, bystander};

use crate::calls::{one, run, session, succeeded, told};

/// Says `load(type, flags)`: BPF_PROG_LOAD of a program that does nothing; `attach(program)`, to the begin of system calls; and
/// `end()`, which lets go of all, and returns when the kernel has, as it does a while later.
const LOAD: &str = r#"
import struct, time
held, ids = [], []
def load(kind, flags=0):
    code = ctypes.create_string_buffer(struct.pack("<QQ", 0xb7, 0x95))
    licence = ctypes.create_string_buffer(b"GPL")
    words = (kind, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, flags, b"bystander")
    given = struct.pack("<IIQQIIQII16s", *words)
    held.append(must(call(321, 5, given, len(given))))
    info = ctypes.create_string_buffer(256)
    must(call(321, 15, struct.pack("<IIQ", held[-1], 256, ctypes.addressof(info)), 16))
    ids.append(struct.unpack_from("<I", info, 4)[0])
    return held[-1]
def attach(program):
    name = ctypes.create_string_buffer(b"sys_enter")
    given = struct.pack("<QII", ctypes.addressof(name), program, 0)
    held.append(must(call(321, 17, given, len(given))))
def end():
    while held: os.close(held.pop())
    for id in ids:
        while (there := call(321, 13, struct.pack("<3I", id, 0, 0), 12)) >= 0:
            os.close(there)
            time.sleep(0.01)
"#;
/// BPF_PROG_TYPE_SYSCALL, which must be sleepable: a program that may call bpf() itself.
const LOADER: &str = "load(31, 1 << 4)";
/// BPF_PROG_TYPE_RAW_TRACEPOINT, in place: it watches.
const WATCHER: &str = "attach(load(17))";

/// A session, and a bystander that does something before it and something while it lasts.
fn beside(before: &str, meanwhile: &str) -> Record {
    let scratch = Scratch::new();
    let script = format!(
        "{LOAD}\n{before}\nprint('here', flush=True)\nsys.stdin.readline()\n{meanwhile}\nprint('done', flush=True)\nsys.stdin.readline()\nend()\nprint('gone', flush=True)"
    );
    let host = Alone::wait();
    let mut other = Bystander::start(&scratch, &script);
    let mut running = session(&scratch, bystander::waiting()).within(&host).start();
    running.wait_for(&scratch.join("here"));
    other.tell("go");
    assert_eq!(other.hear(), "done");
    scratch.write("go", "");
    let record = succeeded(running.wait());
    // What is still there is told by the next session.
    other.tell("end");
    assert_eq!(other.hear(), "gone");
    record
}

/// What was said of the bystander's programs: on the host there may be other ones that come and go.
fn said(record: &Record) -> Vec<&str> {
    let of_the_bystander = |spot: &&Finding| spot.detail.contains("bystander");
    record.trace.blind_spots().iter().filter(of_the_bystander).map(|spot| spot.code.as_str()).collect()
}

fn at_the_end(record: &Record) -> PlatformEnd {
    record
        .trace
        .closed()
        .and_then(|closed| closed.platform.as_deref().cloned())
        .expect("the end says what the host was")
}

#[test]
fn a_program_that_can_change_what_happens_ends_completeness_when_somebody_else_loads_it() {
    let record = beside("", LOADER);
    record.must_lack("BPF_CHANGED");
    let came = at_the_end(&record).bpf.expect("listed").programs_came;
    let program = came.iter().find(|program| program.name == "bystander").expect("it is told");
    assert_eq!((program.r#type.as_str(), program.tag.len(), program.ours), ("syscall", 8, false));
}

#[test]
fn one_that_goes_meanwhile_ends_completeness_too() {
    let record = beside(LOADER, "end()");
    record.must_lack("BPF_CHANGED");
    let start = record.trace.opened().platform.clone().and_then(|platform| platform.bpf).expect("listed");
    let program = start.programs.iter().find(|program| program.name == "bystander").expect("it was there");
    assert!(at_the_end(&record).bpf.expect("listed").programs_gone.contains(&program.id));
}

#[test]
fn a_program_that_only_watches_is_told_and_ends_nothing() {
    let record = beside("", WATCHER);
    record.must_be_complete_on_the_weakest();
    assert_eq!(said(&record), ["BPF_OTHERS"]);
    record.must_say("BPF_OTHERS");
    let links = at_the_end(&record).bpf.expect("listed").links_came;
    assert!(links.iter().any(|link| link.target == "sys_enter"), "{links:?}");
}

#[test]
fn a_program_that_was_there_and_stays_ends_nothing() {
    let record = beside(&format!("{LOADER}\n{WATCHER}"), "");
    record.must_be_complete_on_the_weakest();
    assert!(said(&record).is_empty());
}

#[test]
fn another_session_that_begins_and_ends_meanwhile_ends_nothing() {
    let scratch = Scratch::new();
    let mut outer = session(&scratch, bystander::waiting()).start();
    outer.wait_for(&scratch.join("here"));
    let within = Scratch::new();
    let inner = run(&within, "open('/proc/version').read()");
    let begins = Scratch::new();
    let mut last = session(&begins, bystander::waiting()).start();
    last.wait_for(&begins.join("here"));
    scratch.write("go", "");
    let outer = succeeded(outer.wait());
    begins.write("go", "");
    for record in [inner, outer, succeeded(last.wait())] {
        record.must_be_complete_on_the_weakest();
        assert!(!record.says("BPF_CHANGED"));
        let platform = record.trace.opened().platform.clone().expect("told");
        let ours: Vec<_> = platform.bpf.expect("listed").programs.into_iter().filter(|program| program.ours).collect();
        assert!(!ours.is_empty() && ours.iter().all(|program| program.sha256.is_some()), "{ours:?}");
        assert!(platform.sessions_since_boot >= Some(1));
    }
}

#[test]
fn the_use_of_bpf_ends_completeness() {
    let scratch = Scratch::new();
    // BPF_MAP_CREATE of an array: type, key size, value size, entries.
    let record = run(&scratch, "import struct\nmust(call(321, 0, struct.pack('<4I', 2, 4, 8, 1) + bytes(48), 64))");
    record.must_lack("BPF_USED");
    assert_eq!(one(&record, "bpf").arguments[0], 0);
}

#[test]
fn a_module_that_the_kernel_refused_is_told_and_ends_nothing() {
    let scratch = Scratch::new();
    let record =
        run(&scratch, "assert call(175, b'no module', 9, b'') < 0\nassert call(176, b'no_such_module', 0) < 0");
    record.must_be_complete_on_the_weakest();
    assert!(one(&record, "init_module").result < 0);
    assert_eq!(one(&record, "delete_module").texts[0], Some(&b"no_such_module"[..]));
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(&scratch, "open('/proc/version').read()");
    record.must_be_complete_on_the_weakest();
    assert!(told(&record, "bpf").is_empty() && told(&record, "init_module").is_empty());
}
