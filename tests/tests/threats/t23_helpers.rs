//! 23: a helper that the kernel starts runs outside of every session.

use tests::Scratch;

use crate::calls::run;

#[test]
fn the_setting_of_a_helper_that_is_opened_for_writing_ends_completeness() {
    let scratch = Scratch::new();
    run(&scratch, "os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)").must_lack("HELPER_CHANGED");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    run(&scratch, "open('/proc/sys/kernel/core_pattern').read()").must_be_complete_on_the_weakest();
}
