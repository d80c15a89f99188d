//! Runs that are sealed in a TPM: what their quotes prove, and what befalls one whose TPM goes away, is reset, or is used by others.

use std::fs;
use std::process::{Child, Stdio};

use attestation::platform::{SEAL_BYTES, SealList};
use tests::{Swtpm, ended, proven, refused};

use crate::bench::here;
use crate::node::{Node, log_of, wait_for_a_seal, well};
use crate::rewritten;

/// A command that opens a file anew each half second.
const SOME_SECONDS: [&str; 3] =
    ["sh", "-c", "for i in 1 2 3 4 5 6 7; do cat /etc/hostname >/dev/null; sleep 0.5; done"];
const NONCE: &str = "00112233445566778899aabbccddeeff";

#[test]
fn a_run_is_sealed_while_it_runs_and_its_quote_is_the_machines() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    let said = well(&node.run("out", &["--nonce", NONCE], &SOME_SECONDS));
    assert!(said.contains("out.quote.intoto.jsonl quotes the TPM") && said.contains("COMPLETE"), "{said}");
    assert_eq!(node.verify("out", &[]), proven());
    let says = node.says("out", &["--nonce", NONCE]);
    let heads: u32 = says.split("; ").find_map(|part| part.split_once(" heads")?.0.parse().ok()).expect("heads");
    assert!((2..=12).contains(&heads), "{says}");
    assert!(
        says.contains("builder (a maker vouches for its TPM)") && says.contains("each of them the log's"),
        "{says}"
    );
    assert!(says.ends_with("the nonce is the one given"), "{says}");
    // Without its log, and with another nonce, machine, or nothing to hold it against.
    assert_eq!(node.verify("out", &["--nonce", "00"]), refused("QUOTE_REFUSED"));
    fs::rename(node.path("out.evidence"), node.path("elsewhere")).expect("moved");
    assert!(node.says("out", &[]).contains("not compared with the log"));
    fs::rename(node.path("elsewhere"), node.path("out.evidence")).expect("moved");
    let stranger = Node::enrolled();
    fs::copy(stranger.path("machine"), node.path("stranger")).expect("copied");
    let with = |enrolment: &[&str]| node.check("platform", "out", &[&["--key", "key.pub"][..], enrolment].concat());
    assert_eq!(with(&["--enrolment", "stranger"]), refused("QUOTE_REFUSED"));
    assert_eq!(with(&["--enrolment", "stranger", "--enrolment", "machine"]), proven());
    assert_eq!(with(&[]), (0, Some(("not claimed".to_owned(), None))));
    fs::rename(node.path("out.quote.intoto.jsonl"), node.path("quote")).expect("moved");
    assert_eq!(node.verify("out", &[]), refused("QUOTE_MISSING"));
    assert_eq!(node.verify("out", &["--quote", "quote"]), proven());
}

#[test]
fn a_quote_is_of_its_own_statement_and_identity() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    well(&node.run("one", &[], &["true"]));
    well(&node.run("two", &[], &["true"]));
    assert_eq!((node.verify("one", &[]), node.verify("two", &[])), (proven(), proven()));
    assert_eq!(node.verify("one", &["--quote", "two.quote.intoto.jsonl"]), refused("QUOTE_REFUSED"));
    node.enrol("named", &["--name", "builder", "--spiffe-id", "spiffe://example.org/ci/builder"]);
    let named = ["--key", "key.pub", "--enrolment", "named"];
    assert_eq!(node.check("platform", "one", &named), refused("QUOTE_REFUSED"));
    // Any byte.
    let quote = fs::read(node.path("one.quote.intoto.jsonl")).expect("a quote");
    for at in (10..quote.len()).step_by(quote.len() / 40) {
        let mut changed = quote.clone();
        changed[at] ^= 1;
        fs::write(node.path("changed"), changed).expect("written");
        assert_eq!(node.verify("one", &["--quote", "changed"]), refused("QUOTE_REFUSED"), "{at}");
    }
}

#[test]
fn a_pack_has_the_quote() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    well(&node.run("out", &[], &["true"]));
    well(&node.testimony(&["pack", "out"]));
    for file in ["out.intoto.jsonl", "out.quote.intoto.jsonl"] {
        fs::remove_file(node.path(file)).expect("removed");
    }
    assert_eq!(node.verify("out.pack.tar", &[]), proven());
}

#[test]
fn a_key_of_the_tpm_signs_and_the_enrolment_alone_says_whose_it_is() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    let run = |name: &str| node.command(name, &["--signer", "tpm"], &["true"]).output().expect("testimony runs");
    well(&run("out"));
    let by_machine = |name: &str, options: &[&str]| {
        node.check("platform", name, &[&["--enrolment", "machine"][..], options].concat())
    };
    assert_eq!(by_machine("out", &[]), proven());
    // Its quote is what says so.
    well(&run("other"));
    fs::remove_file(node.path("out.quote.intoto.jsonl")).expect("removed");
    assert_eq!(by_machine("out", &[]).0, 1);
    assert_eq!(by_machine("out", &["--quote", "other.quote.intoto.jsonl"]), refused("QUOTE_REFUSED"));
    // Both of them.
    well(&node.command("both", &["--signer", "tpm", "--signer", "key:key"], &["true"]).output().expect("it runs"));
    assert_eq!(by_machine("both", &[]), proven());
    assert_eq!(node.verify("both", &[]), proven());
    let stranger = Node::enrolled();
    fs::copy(stranger.path("machine"), node.path("stranger")).expect("copied");
    assert_eq!(node.check("signature", "both", &["--enrolment", "stranger"]), refused("SIGNATURE_INVALID"));
}

#[test]
fn a_reset_meanwhile_is_seen_whatever_is_extended_afterwards() {
    if !here() {
        return;
    }
    let mut node = Node::enrolled();
    // The next seal is not due before the TPM is back, however busy this machine is: nobody may find it gone.
    let mut run = node.command_sealing("out", "5", &["--key", "key"], &["sh", "-c", "sleep 12"]);
    let run = run.stderr(Stdio::piped()).spawn().expect("it starts");
    wait_for_a_seal(&node);
    node.tpm.power_off();
    node.tpm.power_on();
    // What was sealed is extended again, so that the register has the value that it had.
    let mut helper = node.helper();
    for (number, seal) in seals(&node).iter() {
        let sha256 = seal.digest(number).to_vec().into();
        let extended = helper.ask(tpm_protocol::Ask::Extend { pcr: 12, sha256 });
        assert!(matches!(extended, Ok(tpm_protocol::Answer::Extended)), "{extended:?}");
    }
    well(&run.wait_with_output().expect("it ends"));
    assert_eq!(node.verify("out", &[]), refused("SEAL_REFUSED"));
    assert!(node.says("out", &[]).contains("the TPM was reset"), "{}", node.says("out", &[]));
}

#[test]
fn a_tpm_that_goes_away_costs_the_quote_and_not_the_statement() {
    if !here() {
        return;
    }
    let mut node = Node::enrolled();
    let run = begin(&node, "out");
    wait_for_a_seal(&node);
    node.tpm.power_off();
    let said = well(&run.wait_with_output().expect("it ends"));
    assert!(said.contains("heads of the log were not sealed") && said.contains("there is no quote"), "{said}");
    assert!(said.contains("COMPLETE"), "{said}");
    let shown = node.testimony(&["show", "--gaps", "out"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("NOT_SEALED"));
    assert_eq!(node.verify("out", &[]), refused("QUOTE_MISSING"));
    assert_eq!(node.check("completeness", "out", &["--key", "key.pub"]).0, 0);
    // Before the command it is refused.
    let said = ended(&node.run("never", &[], &["touch", "ran"]), 125);
    assert!(said.contains("the TPM cannot seal") && !node.path("ran").exists(), "{said}");
    assert!(!node.path("never.evidence").exists());
    node.tpm.power_on();
    well(&node.run("back", &[], &["true"]));
    assert_eq!(node.verify("back", &[]), proven());
}

#[test]
fn another_register_than_the_enrolments_proves_nothing() {
    if !here() {
        return;
    }
    let mut node = Node::enrolled();
    well(&node.run("out", &[], &["true"]));
    // One that is still as it was at the boot takes any history.
    node.register = "13";
    well(&node.run("other", &[], &["true"]));
    assert_eq!((node.verify("out", &[]), node.verify("other", &[])), (proven(), refused("SEAL_REFUSED")));
    node.enrol("thirteen", &["--name", "builder", "--seal-pcr", "13"]);
    let all = ["--key", "key.pub", "--enrolment", "thirteen"];
    assert_eq!(node.check("platform", "other", &all), proven());
    assert_eq!(node.check("platform", "out", &all), refused("SEAL_REFUSED"));
}

#[test]
fn a_tpm_that_hangs_holds_up_the_end_for_a_while_and_no_longer() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    let run = begin(&node, "out");
    wait_for_a_seal(&node);
    node.tpm.freeze();
    let said = well(&run.wait_with_output().expect("it ends"));
    assert!(said.contains("the TPM did not answer in time") && said.contains("there is no quote"), "{said}");
    assert!(said.contains("COMPLETE"), "{said}");
}

#[test]
fn others_that_extend_the_register_are_seen() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    let run = begin(&node, "out");
    wait_for_a_seal(&node);
    let extend = format!("12:sha256={}", "11".repeat(32));
    node.tpm.tool(&["tpm2_pcrextend", &extend]).expect("extended");
    let said = well(&run.wait_with_output().expect("it ends"));
    let why = "register 12 of the TPM holds something else than what this node sealed";
    assert!(said.contains("were not sealed") && said.contains("there is no quote") && said.contains(why), "{said}");
    assert_eq!(node.verify("out", &[]), refused("QUOTE_MISSING"));
    // Until the next boot nothing can be proven by it, which is known before a command starts.
    let said = ended(&node.run("never", &[], &["touch", "ran"]), 125);
    assert!(said.contains(why) && !node.path("ran").exists(), "{said}");
    // Likewise where the list is lost.
    let other = Node::enrolled();
    well(&other.run("one", &[], &["true"]));
    fs::remove_dir_all(other.path("seals")).expect("removed");
    assert!(ended(&other.run("never", &[], &["true"]), 125).contains(why));
}

#[test]
fn runs_of_one_node_share_the_register_once_a_second() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    let names = ["a", "b", "c"];
    well(&node.run("first", &[], &["true"]));
    let runs: Vec<_> = names.iter().map(|name| begin(&node, name)).collect();
    for run in runs {
        well(&run.wait_with_output().expect("it ends"));
    }
    for name in names {
        assert_eq!(node.verify(name, &[]), proven(), "{name}: {}", node.says(name, &[]));
    }
    let seals = seals(&node);
    let sessions: std::collections::BTreeSet<_> = seals.iter().map(|(_, seal)| seal.session).collect();
    assert_eq!(sessions.len(), 4);
    let times: Vec<u64> = seals.iter().map(|(_, seal)| seal.boottime_ns).collect();
    assert!(times.len() >= 6 && times.windows(2).all(|pair| pair[1] - pair[0] >= 1_000_000_000), "{times:?}");
    // What another session's log is, nobody learns from it.
    let quoted = rewritten::quoting(&node, "a");
    assert!(!quoted.seals.heads.0.is_empty() && quoted.seals.heads.0.len() < seals.iter().count());
    for (number, seal) in seals.iter() {
        assert_eq!(quoted.seals.heads.0.contains_key(&number), seal.session == quoted.asked.session, "{number}");
    }
}

#[test]
fn a_seal_that_never_came_to_the_register_is_taken_back() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    well(&node.run("one", &[], &["true"]));
    // As a run leaves it that dies between writing and extending, and while it writes.
    for (name, bytes) in [("two", SEAL_BYTES), ("three", 20)] {
        let mut log = fs::read(log_of(&node)).expect("a log");
        log.extend(vec![0x55; bytes]);
        fs::write(log_of(&node), log).expect("written");
        well(&node.run(name, &[], &["true"]));
        assert_eq!(node.verify(name, &[]), proven());
    }
    // Two of them are nobody's who died.
    let mut log = fs::read(log_of(&node)).expect("a log");
    log.extend([0x55; 2 * SEAL_BYTES]);
    fs::write(log_of(&node), log).expect("written");
    assert!(ended(&node.run("never", &[], &["true"]), 125).contains("the list of seals is lost"));
}

#[test]
fn what_cannot_be_is_refused_before_the_command() {
    if !here() {
        return;
    }
    let node = Node::new();
    let told = |options: &[&str], code: i32| {
        let run = node.command("out", &[&["--key", "key"][..], options].concat(), &["touch", "ran"]).output();
        let said = ended(&run.expect("testimony runs"), code);
        assert!(!node.path("ran").exists(), "{said}");
        said
    };
    let nowhere = ["run", "--key", "key", "--seal-pcr", "12", "--seals", "seals", "--tpm", "device:/nowhere"];
    let nowhere = [&nowhere[..], &["--tpm-state", "tpm", "-o", "out", "--", "touch", "ran"]].concat();
    let said = ended(&node.testimony(&nowhere), 125);
    assert!(said.contains("there is no TPM") && !node.path("ran").exists(), "{said}");
    assert!(told(&["--nonce", "xyz"], 64).contains("hexadecimal"));
    assert!(told(&["--seal-every", "0"], 64).contains("seal-every"));
    fs::write(node.path("out.quote.intoto.jsonl"), "").expect("written");
    assert!(told(&[], 125).contains("exists already"));
    let without = Swtpm::start();
    let known = node.testimony(&["doctor", "--json", "--tpm", &without.tcti(), "--tpm-state", "other"]);
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    assert!(known.contains("without a certificate of its maker's"), "{known}");
}

/// Starts a run of some seconds.
fn begin(node: &Node, name: &str) -> Child {
    let mut run = node.command(name, &["--key", "key"], &SOME_SECONDS);
    run.stderr(Stdio::piped()).spawn().expect("it starts")
}

fn seals(node: &Node) -> SealList {
    SealList::from_bytes(&fs::read(log_of(node)).expect("a log")).expect("seals")
}
