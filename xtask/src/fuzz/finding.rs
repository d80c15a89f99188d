//! What a fuzzer found: the input, made smaller where that is quick, and the one command that runs it again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::{Target, run, typed};
use crate::command;

/// How long an input is made smaller.
const MINIMISE_SECONDS: u64 = 20;

/// An input of which something did not hold.
pub(super) struct Finding {
    target: Target,
    input: Option<PathBuf>,
    /// What the target said.
    said: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, said) = (self.target.name(), &self.said);
        write!(f, "{said}")?;
        let Some(input) = &self.input else {
            return write!(f, "{name}: no input was kept");
        };
        writeln!(f, "again: cargo xtask fuzz {name} --input {}", typed(input))?;
        write!(
            f,
            "Mended, it belongs to {}, where each run and an ordinary test take it up.",
            typed(&self.target.seeds())
        )
    }
}

/// The finding of a run that failed, from what the fuzzer printed.
pub(super) fn take(target: Target, said: &str, status: ExitStatus) -> Finding {
    let found = input(said).map(PathBuf::from);
    let input = found.map(|found| smaller(target, &found).unwrap_or(found));
    Finding { target, input, said: format!("{}{status}\n", told(said)) }
}

/// What stands in the output from the failed assertion on, or its end where there is none.
fn told(said: &str) -> String {
    let is_panic = |line: &&str| line.starts_with("thread ") && line.contains(" panicked at ");
    let panic: Vec<&str> = said.lines().skip_while(|line| !is_panic(line)).take_while(|line| !is_end(line)).collect();
    if panic.is_empty() { command::tail(said) } else { command::tail(&panic.join("\n")) }
}

fn is_end(line: &str) -> bool {
    line.starts_with("stack backtrace:") || line.starts_with("note: ") || line.starts_with("==")
}

/// The file in which libFuzzer left the input.
fn input(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.trim())
}

/// The input made smaller; none if it was not a failed assertion, or did not get smaller.
fn smaller(target: Target, found: &Path) -> Option<PathBuf> {
    let name = found.file_name()?.to_str()?;
    let smaller = found.with_file_name(name.strip_prefix("crash-")?).with_extension("min");
    let mut minimise = Command::new(target.binary());
    minimise
        .arg("-minimize_crash=1")
        .arg(format!("-max_total_time={MINIMISE_SECONDS}"))
        .arg(format!("-exact_artifact_path={}", smaller.display()))
        .args(run::limits())
        .arg(found);
    // It fails where it cannot make it smaller.
    let _ = command::quiet(&mut minimise);
    smaller.is_file().then_some(smaller)
}

#[cfg(test)]
mod tests {
    use super::{input, told};

    const SAID: &str = "INFO: Running\n#5 NEW\n\nthread '<unnamed>' (1) panicked at a.rs:1:2:\nleft is not right\nstack \
        backtrace:\n  0: x\n==1== ERROR: libFuzzer: deadly signal\nartifact_prefix='c/'; Test unit written to c/crash-1\n";

    #[test]
    fn the_input_and_the_assertion_are_taken_from_the_output() {
        assert_eq!(input(SAID), Some("c/crash-1"));
        let told = told(SAID);
        assert!(told.contains("left is not right") && !told.contains("0: x") && !told.contains("INFO"), "{told}");
    }

    #[test]
    fn without_an_assertion_the_end_is_told() {
        assert!(told("==1== ERROR: libFuzzer: out-of-memory\n").contains("out-of-memory"));
        assert_eq!(input("==1== ERROR"), None);
    }
}
