//! 6: a BPF program or a kernel module can change what the tracer is told.

use tests::Scratch;

use crate::calls::{one, run, told};

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
