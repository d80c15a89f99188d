//! 30: a hook of the tracer's that is detached, or given another program, while all others go on.

use tests::{Alone, Bystander, Record, Scratch, bystander};

use crate::calls::{session, succeeded};

/// Says `link(pid)`: a descriptor of a cgroup's link that this process has.
const LINK: &str = r#"
import struct
def link(pid):
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        facts = dict(line.split(":", 1) for line in open(f"/proc/{pid}/fdinfo/{name}") if ":" in line)
        if facts.get("link_type", "").strip() == "cgroup":
            return must(call(321, 30, struct.pack("<3I", int(facts["link_id"]), 0, 0), 12))
    sys.exit("no link")
print("here", flush=True)
mine = link(int(sys.stdin.readline()))
"#;

/// A session of a command that waits, meanwhile a bystander is told the tracer's process id and does its work.
fn beside(act: &str) -> Record {
    let scratch = Scratch::new();
    let host = Alone::wait();
    let mut other =
        Bystander::start(&scratch, &format!("{LINK}{act}\nprint('done', flush=True)\nsys.stdin.readline()"));
    let mut run = session(&scratch, bystander::waiting()).within(&host).start();
    run.wait_for(&scratch.join("here"));
    other.tell(&run.pid().to_string());
    assert_eq!(other.hear(), "done");
    scratch.write("go", "");
    let record = succeeded(run.wait());
    drop(other);
    record
}

#[test]
fn a_link_that_root_detaches_ends_completeness() {
    // BPF_LINK_DETACH.
    beside("must(call(321, 34, struct.pack('<I', mine), 4))").must_lack("PROGRAM_CHANGED");
}

#[test]
fn a_link_that_is_given_another_program_ends_completeness() {
    // BPF_PROG_LOAD of "let it pass", for the same place; then BPF_LINK_UPDATE.
    let record = beside(
        r#"
info = ctypes.create_string_buffer(256)
must(call(321, 15, struct.pack("<IIQ", mine, 256, ctypes.addressof(info)), 16))
place = struct.unpack_from("<I", info, 24)[0]
code = ctypes.create_string_buffer(struct.pack("<QQ", 1 << 32 | 0xb7, 0x95))
licence = ctypes.create_string_buffer(b"GPL")
load = struct.pack("<IIQQIIQII16sII", 18, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0, b"pass", 0, place)
program = must(call(321, 5, load, len(load)))
must(call(321, 29, struct.pack("<4I", mine, program, 0, 0), 16))
"#,
    );
    record.must_lack("PROGRAM_CHANGED");
}

#[test]
fn twin() {
    // BPF_OBJ_GET_INFO_BY_FD, which changes nothing.
    let record = beside(
        "info = ctypes.create_string_buffer(256)\nmust(call(321, 15, struct.pack('<IIQ', mine, 256, ctypes.addressof(info)), 16))",
    );
    record.must_be_complete_on_the_weakest();
}
