//! 24: system calls by the 32-bit entry have other numbers.

use proto::evidence::Level;
use tests::{Record, Run, Scratch, compat};

fn ran(call: &str) -> Option<(Scratch, Record)> {
    let scratch = Scratch::new();
    scratch.write("input", "x");
    let program = compat(&scratch, call)?;
    let ran = Run::new(&scratch, [&program]).go();
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let record = ran.record();
    Some((scratch, record))
}

#[test]
fn an_open_by_it_is_seen_or_ends_completeness() {
    let Some((scratch, record)) = ran("compat(5, (long)name, 0)") else { return };
    let hooks = &record.trace.opened().hooks;
    if hooks.iter().any(|hook| hook.observation == "open" && hook.level() == Level::Object) {
        assert_eq!(record.accesses(&scratch.join("input")), 1);
        record.sees("open", "by the 32-bit entry");
    } else {
        record.must_lack("COMPAT_SYSCALL");
    }
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let input = scratch.write("input", "x");
    let record = Run::new(&scratch, ["/bin/cat", "input"]).go().record();
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.accesses(&input), 1);
}
