//! 23: a helper that the kernel starts runs outside of every session.

use std::fs;

use tests::{Alone, Scratch, bystander};

use crate::calls::{run, session, succeeded};

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// The setting as it was, which it gets back.
struct Kept(Vec<u8>);

impl Kept {
    fn now() -> Self {
        Self(fs::read(CORE_PATTERN).expect("the setting is there"))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::write(CORE_PATTERN, &self.0);
    }
}

#[test]
fn a_setting_that_somebody_else_changes_meanwhile_ends_completeness() {
    let scratch = Scratch::new();
    let host = Alone::wait();
    let mut running = session(&scratch, bystander::waiting()).within(&host).start();
    running.wait_for(&scratch.join("here"));
    let kept = Kept::now();
    fs::write(CORE_PATTERN, "core.of-a-test").expect("root sets it");
    scratch.write("go", "");
    let ran = running.wait();
    drop(kept);
    let record = succeeded(ran);
    record.must_lack("HELPER_CHANGED");
    let (start, end) =
        (record.trace.opened().platform.clone(), record.trace.closed().and_then(|end| end.platform.clone()));
    let value = |settings: &[proto::evidence::Setting]| {
        let setting = settings.iter().find(|setting| setting.name == "kernel.core_pattern");
        setting.and_then(|setting| setting.value.clone())
    };
    assert!(value(&start.expect("told").settings).is_some_and(|before| before != b"core.of-a-test"));
    assert_eq!(value(&end.expect("told").settings).as_deref(), Some(&b"core.of-a-test"[..]));
}

#[test]
fn a_setting_that_is_written_as_it_was_changes_nothing() {
    let scratch = Scratch::new();
    let host = Alone::wait();
    let mut running = session(&scratch, bystander::waiting()).within(&host).start();
    running.wait_for(&scratch.join("here"));
    drop(Kept::now());
    scratch.write("go", "");
    let record = succeeded(running.wait());
    record.must_be_complete_on_the_weakest();
    assert!(!record.says("HELPER_CHANGED"));
}

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
