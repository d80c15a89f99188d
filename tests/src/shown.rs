//! What a test has shown of a way to hide. docs/threats.md is made of it: `cargo xtask threats` collects it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread;

/// The file to which each finding is added, a line each: row, test, path, verdict, what. Without it nothing is noted.
const VARIABLE: &str = "TESTIMONY_SHOWN";

/// Which hooks a session had.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path {
    /// Opens at the kernel's objects.
    Strong,
    /// Opens at the end of system calls.
    Weak,
    /// What was shown has no session, or the same on either path.
    Any,
}

/// Notes that the way leads nowhere: there is nothing to be seen of it.
pub fn held(what: &str) {
    note(Path::Any, "held", what);
}

/// Only tests of a row, `tNN_name::test`, show something, and a twin, which does not hide, shows nothing.
pub(crate) fn note(path: Path, verdict: &str, what: &str) {
    let Some(file) = std::env::var_os(VARIABLE) else { return };
    let thread = thread::current();
    let Some((test, row)) = thread.name().and_then(|test| Some((test, row(test)?))) else { return };
    let path = match path {
        Path::Strong => "strong",
        Path::Weak => "weak",
        Path::Any => "any",
    };
    let line = format!("{row} {test} {path} {verdict} {what}\n");
    let mut out = OpenOptions::new().append(true).create(true).open(&file).expect("the file of what was shown");
    out.write_all(line.as_bytes()).expect("a line of what was shown");
}

fn row(test: &str) -> Option<u32> {
    let (module, function) = test.split_once("::")?;
    let number = module.strip_prefix('t')?.split('_').next()?;
    (!function.starts_with("twin")).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn a_row_s_test_has_its_number_in_front() {
        assert_eq!(row("t07_pids::reused"), Some(7));
        assert_eq!(row("t07_pids::twin"), None);
        assert_eq!(row("t07_pids::twin_of_another"), None);
        assert_eq!(row("folding::counts"), None);
        assert_eq!(row("tables::t07"), None);
    }
}
