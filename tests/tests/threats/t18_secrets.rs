//! 18: secrets in arguments and in the environment.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use prost::Message as _;
use sha2::Sha256;
use tests::{Ran, Record, Run, Scratch, held};

/// Six digits: any plain digest of them is guessed in a second.
const SECRET: &str = "481516";
const VALUE: &str = "2342108x";

/// Every byte that a run left, evidence unpacked.
fn left(folder: &Path, record: &Record) -> Vec<u8> {
    let mut bytes: Vec<u8> = record.frames.iter().flat_map(|frame| frame.encode_to_vec()).collect();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                bytes.extend(fs::read(entry.path()).expect("a file"));
            }
        }
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn payload(ran: &Ran) -> String {
    let envelope: serde_json::Value =
        serde_json::from_slice(&fs::read(ran.statement()).expect("a statement")).expect("JSON");
    let text = envelope["payload"].as_str().expect("a payload");
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    String::from_utf8(bytes).expect("UTF-8")
}

/// What stands for the secret under a key, by docs/format.md.
fn mark(key: &str) -> String {
    let key = attestation::hex::decode(key).expect("a key");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
    mac.update(b"testimony redaction v1\0");
    mac.update(SECRET.as_bytes());
    attestation::hex::encode(&mac.finalize().into_bytes())
}

/// A shell that hands the secret on, alone and within five thousand bytes of other arguments.
fn script() -> String {
    let much = "y".repeat(5000 - 3);
    format!("/bin/true --token {SECRET}; /bin/true {much} --token={SECRET} z; sh -c 'exit 0' --token {SECRET}")
}

#[test]
fn a_secret_that_a_rule_finds_is_nowhere() {
    let scratch = Scratch::new();
    let run = Run::new(&scratch, ["/bin/sh", "-c", &script()])
        .option(r"--redact=--token[= \x00]([0-9]+)")
        .option("--env-hash=SOMETHING")
        .option("--env=PLAIN")
        .option("--env=ABSENT")
        .option(format!("--redaction-key={}", scratch.join("kept").display()))
        .variable("SOMETHING", VALUE)
        .variable("PLAIN", "seen")
        .variable("OTHER", "not asked for");
    let ran = run.go();
    let record = ran.complete();
    let key = fs::read_to_string(scratch.join("kept")).expect("the key");
    fs::remove_file(scratch.join("kept")).expect("the key");
    let payload = payload(&ran);
    let left = [left(&scratch.path(), &record), payload.clone().into_bytes(), ran.stderr.clone().into_bytes()].concat();
    for secret in [SECRET, VALUE, "not asked for", key.trim()] {
        assert!(!holds(&left, secret), "{secret} was left");
    }
    let marked = record.execs().filter(|(_, exec)| exec.argv().any(|word| holds(word, "[redacted:"))).count();
    assert_eq!(marked, 4, "the shell, which has all of them in one word, and each program");
    let whole = record.execs().find(|(_, exec)| exec.argv().any(|word| word.len() == 5000 - 3)).expect("the long one");
    assert_eq!(whole.1.argv().count(), 4, "no argument is lost");
    assert!(
        payload.contains(
            r#""environment":[{"name":"ABSENT"},{"name":"PLAIN","value":"seen"},{"name":"SOMETHING","hmac":""#
        )
    );
    assert!(payload.contains(r#""redactionRules":1"#));
    // Who has the key can show what a mark stands for; who has not cannot try all of them.
    assert!(holds(payload.as_bytes(), &format!("[redacted:{}]", mark(key.trim()))));
    assert!(!holds(payload.as_bytes(), &mark(&"00".repeat(32))));
    held("a secret in arguments that a rule finds, and one in the environment, are nowhere in what is left");
}

#[test]
fn the_rule_of_the_manual_finds_what_it_says() {
    let manual = include_str!("../../../docs/cli.md");
    let rule = manual.split("--redact '").nth(1).and_then(|rest| rest.split('\'').next()).expect("an example");
    let scratch = Scratch::new();
    let words = ["/bin/echo", "--password", "hunter2", "--token=abc"];
    let ran = Run::new(&scratch, words).option("--redact").option(rule).go();
    let record = ran.complete();
    let bytes = left(&scratch.path(), &record);
    assert!(
        !holds(&bytes, "hunter2") && !holds(&bytes, "--token=abc") && holds(payload(&ran).as_bytes(), "--password")
    );
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let ran = Run::new(&scratch, ["/bin/sh", "-c", &script()]).variable("SOMETHING", VALUE).go();
    let record = ran.complete();
    assert!(holds(&left(&scratch.path(), &record), SECRET), "without a rule arguments stand as they were");
    assert!(!holds(&left(&scratch.path(), &record), VALUE), "the environment is never taken unasked");
    assert!(!payload(&ran).contains("redactionRules"));
}

#[test]
fn a_rule_that_is_none_and_a_key_file_that_is_there_are_refused_first() {
    let scratch = Scratch::new();
    let there = scratch.write("there", "mine");
    for option in ["--redact=(".to_owned(), format!("--redaction-key={}", scratch.join("there").display())] {
        let ran = Run::new(&scratch, ["touch", "done"]).option(&option).go();
        assert_eq!(ran.code(), 125, "{}", ran.stderr);
        assert!(ran.stderr.contains(option.split('=').next().unwrap_or_default()), "{}", ran.stderr);
        assert!(!scratch.join("done").exists());
    }
    drop(there);
    assert_eq!(fs::read(scratch.join("there")).expect("the file"), b"mine");
}
