//! Two runs at once: neither sees the other, and each one's numbers are its own.

use tests::{Ran, Run, Scratch, Started, python};

/// Both are under way before either begins; then each opens its own file and a common one so many times.
fn opener(opens: u32) -> Vec<String> {
    python(&format!(
        r#"
import os, time
open("started", "w").close()
while not os.path.exists("go"): time.sleep(0.005)
for number in range({opens}):
    for name in ("own", "/etc/hostname"): os.close(os.open(name, os.O_RDONLY))
    if os.fork() == 0: os._exit(0)
    os.wait()
"#
    ))
}

#[test]
fn two_runs_at_once_keep_their_own_numbers() {
    let (one, two) = (Scratch::new(), Scratch::new());
    let counts = [60, 90];
    let mut runs: Vec<Started> = Vec::new();
    for (scratch, count) in [&one, &two].into_iter().zip(counts) {
        scratch.write("own", "x");
        runs.push(Run::new(scratch, opener(count)).start());
    }
    for (scratch, run) in [&one, &two].into_iter().zip(&mut runs) {
        run.wait_for(&scratch.join("started"));
    }
    one.write("go", "");
    two.write("go", "");
    let rans: Vec<Ran> = runs.into_iter().map(Started::wait).collect();
    for (at, (scratch, ran)) in [&one, &two].into_iter().zip(&rans).enumerate() {
        let record = ran.complete();
        let count = u64::from(counts[at]);
        let common = std::fs::canonicalize("/etc/hostname").expect("it is there");
        assert_eq!((record.accesses(&scratch.join("own")), record.accesses(&common)), (count, count));
        assert_eq!(record.numbers("fork")[0], count);
        assert_eq!(record.numbers("exit")[0], count + 1);
        record.must_balance();
        let other = [&two, &one][at].path();
        let other = other.as_os_str().as_encoded_bytes();
        assert!(!record.trace.files().any(|file| file.path.starts_with(other)), "the other's files are here");
    }
}
