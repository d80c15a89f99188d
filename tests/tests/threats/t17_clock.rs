//! 17: a clock that is set lies about every time after it.

use tests::Scratch;

use crate::calls::{one, run, told};

#[test]
fn a_clock_that_could_not_be_set_is_told_and_ends_nothing() {
    let scratch = Scratch::new();
    // More nanoseconds than a second has.
    let record = run(&scratch, "import struct\nassert call(227, 0, struct.pack('<2q', 1, 1 << 40)) < 0");
    record.must_be_complete_on_the_weakest();
    assert_eq!(one(&record, "clock_settime").arguments[0], 0);
}

#[test]
fn a_clock_that_is_set_ends_completeness() {
    let scratch = Scratch::new();
    // The time zone that the kernel has anyway: nothing changes, and the call succeeds.
    let record =
        run(&scratch, "zone = ctypes.create_string_buffer(8)\nmust(call(96, 0, zone))\nmust(call(164, 0, zone))");
    record.must_lack("CLOCK_STEPPED");
    assert_eq!(one(&record, "settimeofday").result, 0);
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(&scratch, "import time\ntime.clock_gettime(time.CLOCK_REALTIME)");
    record.must_be_complete_on_the_weakest();
    assert!(told(&record, "clock_settime").is_empty());
}
