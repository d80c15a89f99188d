//! SVIDs that change while statements are made: nothing is lost, and each statement is by the one that was valid then.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tests::workload_api::{Answer, Authority, ID, WorkloadApi};
use tests::{Scratch, ended, need_root, proven, verifier};

use crate::bench::{ANY, Bench, certificate, here, run_as};

const ROTATIONS: usize = 1000;
/// Between two of them.
const EVERY: Duration = Duration::from_millis(20);

/// Runs until it is told to stop; the names of what it signed.
fn load(api: &WorkloadApi, scratch: &Scratch, part: usize, stop: &AtomicBool) -> Vec<String> {
    let mut names = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let name = format!("s{part}-{}", names.len());
        let output = run_as(scratch, &name).args(["--signer", &api.signer(), "--", "true"]).output();
        let output = output.expect("testimony runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        names.push(name);
    }
    names
}

/// A command that runs until there is a file `stop`.
fn until_told(scratch: &Scratch, signer: &str) -> Child {
    let mut across = run_as(scratch, "across");
    across.args(["--signer", signer, "--", "sh", "-c", "until [ -e stop ]; do sleep 0.1; done"]);
    across.spawn().expect("testimony runs")
}

fn envelope(scratch: &Scratch, name: &str) -> Value {
    let text = fs::read(scratch.join(format!("{name}.intoto.jsonl"))).expect("a statement");
    serde_json::from_slice(&text).expect("an envelope")
}

#[test]
fn a_thousand_rotations_under_load_lose_nothing() {
    if !here() {
        return;
    }
    need_root();
    let authority = Authority::new(|_| {});
    let answer = || Answer::Svids(vec![authority.svid(|_| {})]);
    let (api, scratch, stop) = (WorkloadApi::start(answer()), Scratch::new(), AtomicBool::new(false));
    fs::write(scratch.join("bundle"), authority.pem()).expect("written");
    let mut across = until_told(&scratch, &api.signer());
    let mut names = thread::scope(|scope| {
        let (api, scratch, stop) = (&api, &scratch, &stop);
        let loads: Vec<_> = (0..2).map(|part| scope.spawn(move || load(api, scratch, part, stop))).collect();
        for _ in 0..ROTATIONS {
            api.answer(answer());
            thread::sleep(EVERY);
        }
        stop.store(true, Ordering::Relaxed);
        loads.into_iter().flat_map(|load| load.join().expect("no statement was lost")).collect::<Vec<_>>()
    });
    fs::write(scratch.join("stop"), "").expect("written");
    assert!(across.wait().expect("it ends").success());
    names.push("across".to_owned());
    let certificates: BTreeSet<String> = names.iter().map(|name| certificate(&envelope(&scratch, name))).collect();
    // Two that end at the same moment may have the same.
    assert!(certificates.len() * 2 > names.len(), "{} SVIDs in {} runs", certificates.len(), names.len());
    all_of_one_chain(&scratch, &names);
}

/// All verify, and the verifier finds none missing between them.
fn all_of_one_chain(scratch: &Scratch, names: &[String]) {
    let mut verify = Command::new(verifier());
    verify.args(["--json", "--trust-bundle", "example.org=bundle", "--spiffe-id", ID]);
    verify.args(names.iter().map(|name| format!("{name}.intoto.jsonl"))).current_dir(scratch.path());
    let said = verify.output().expect("the verifier runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let verdicts: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (last, each) = verdicts.split_last().expect("verdicts");
    assert_eq!(each.len(), names.len());
    assert!(each.iter().all(|verdict| verdict["exitCode"] == 0), "{said}");
    let sequence = &last["checks"][0];
    assert_eq!((&sequence["outcome"], &sequence["code"]), (&Value::from("proven"), &Value::Null), "{last}");
}

#[test]
fn twenty_rotations_of_spire_lose_nothing() {
    if !here() {
        return;
    }
    let bench = Bench::new("2m");
    let signer = bench.signer();
    let stop = bench.scratch.join("stop");
    let mut across = until_told(&bench.scratch, &signer);
    let mut certificates = BTreeSet::new();
    let mut names: Vec<String> = (0..20).map(|round| format!("s{round}")).collect();
    for name in &names {
        bench.spire.rotate(crate::bench::ID);
        ended(&bench.run(name, &["--signer", &signer], &["true"]), 0);
        certificates.insert(certificate(&bench.envelope(name)));
    }
    assert_eq!(certificates.len(), names.len(), "each is by an SVID of its own");
    fs::write(stop, "").expect("written");
    assert!(across.wait().expect("it ends").success());
    names.push("across".to_owned());
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| bench.session(name)["number"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=21).collect::<Vec<_>>());
    for name in &names {
        assert_eq!(bench.verify(name, &["--trust-bundle", "example.org=pem", "--spiffe-id", ANY]), proven(), "{name}");
    }
    assert!(Path::new(&bench.statement("across")).exists());
}
