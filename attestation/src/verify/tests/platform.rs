//! Sessions that were sealed on a machine, held against its enrolment: what is proven, and every way to bend it.

use super::*;
use crate::platform::Machine;
use crate::synthetic::tpm::{Node, Sealed};

const SECOND: u64 = 1_000_000_000;

fn machine(node: &Node) -> Machine {
    node.machine("builder").unwrap()
}

fn verdict(sealed: &Sealed, machines: &[Machine], with_evidence: bool) -> Verdict {
    let (keys, quote) = (keys(), sealed.quote().unwrap());
    let evidence: Option<&dyn Objects> = if with_evidence { Some(&sealed.signed.objects) } else { None };
    let platform = Platform { machines, quote: Some(&quote), ..Platform::default() };
    verify(sealed.signed.envelope.as_slice(), &Options { evidence, platform, ..Options::by_keys(&keys) })
}

fn platform(verdict: &Verdict) -> &Check {
    verdict.checks.iter().find(|check| check.name == "platform").unwrap()
}

#[test]
fn a_session_that_was_sealed_is_its_machines() {
    let mut node = Node::new(3).unwrap();
    let sealed = Session::build().seal(&mut node, 5, &[SECOND, 2 * SECOND, 3 * SECOND]).unwrap();
    for with_evidence in [true, false] {
        let verdict = verdict(&sealed, &[machine(&node)], with_evidence);
        let check = platform(&verdict);
        assert_eq!((check.outcome, verdict.exit_code()), (Outcome::Proven, 0), "{}", check.says);
        assert!(check.says.contains("3 heads sealed"), "{}", check.says);
    }
}

fn session(id: u8) -> Session {
    let mut session = Session::build();
    session.id = [id; 16];
    session
}

fn unsealed(at: &[u64], with_evidence: bool) -> String {
    let mut node = Node::new(3).unwrap();
    let sealed = Session::build().seal(&mut node, 5, at).unwrap();
    let verdict = verdict(&sealed, &[machine(&node)], with_evidence);
    let check = platform(&verdict);
    assert_eq!(check.outcome, Outcome::Proven, "{}", check.says);
    check.says.clone()
}

#[test]
fn the_longest_time_without_a_seal_is_told() {
    let says = |seconds: &str| format!(", never longer than {seconds} s without one by the node's clock, the last one");
    // Between opening and first seal, between two, and before the last; rounded up.
    assert!(unsealed(&[3 * SECOND, 4 * SECOND, 6 * SECOND], true).contains(&says("3.000")));
    assert!(unsealed(&[SECOND, 3 * SECOND + 1, 4 * SECOND], true).contains(&says("2.001")));
    assert!(unsealed(&[SECOND, 2 * SECOND, 9 * SECOND], true).contains(&says("7.000")));
    assert!(unsealed(&[SECOND], true).contains(&says("1.000")));
    // Without its log nobody knows when the session was opened.
    let says = unsealed(&[3 * SECOND, 4 * SECOND, 6 * SECOND], false);
    assert!(
        says.contains(", never longer than 2.000 s without one from the first of them on by the node's clock"),
        "{says}"
    );
    assert!(!unsealed(&[SECOND], false).contains("never longer"));
}

#[test]
fn a_head_that_the_log_does_not_have_is_refused() {
    let mut node = Node::new(3).unwrap();
    let mut sealed = Session::build().seal(&mut node, 5, &[SECOND, 2 * SECOND]).unwrap();
    sealed.quoting.seals.heads.0.get_mut(&1).unwrap().root[0] ^= 1;
    let verdict = verdict(&sealed, &[machine(&node)], true);
    assert_eq!(platform(&verdict).code, Some(codes::SEAL_REFUSED));
    assert!(verdict.sealed.is_none() && seals([&verdict, &verdict]).is_empty());
}

/// The check of verdicts of one boot.
fn together(verdicts: &[Verdict]) -> (Outcome, String) {
    for verdict in verdicts {
        assert_eq!(platform(verdict).outcome, Outcome::Proven, "{}", platform(verdict).says);
    }
    let [check] = seals(verdicts).try_into().unwrap();
    assert!(check.outcome != Outcome::Refused || check.code == Some(codes::SEAL_REFUSED));
    (check.outcome, check.says)
}

#[test]
fn statements_of_one_boot_have_one_list_of_seals() {
    let mut node = Node::new(3).unwrap();
    let all: Vec<Sealed> =
        (1..=3_u8).map(|id| session(id).seal(&mut node, 5, &[u64::from(id) * SECOND]).unwrap()).collect();
    let verdicts: Vec<Verdict> = all.iter().map(|sealed| verdict(sealed, &[machine(&node)], false)).collect();
    for order in [[0, 1, 2], [2, 0, 1]] {
        let (outcome, says) = together(&order.map(|index| verdicts[index].clone()));
        assert_eq!(outcome, Outcome::Proven);
        assert!(says.contains("one list of 3 seals; of 3 sessions that were sealed there 0 have"), "{says}");
    }
    // One that is not given is counted, and one that is given twice is one.
    let (_, says) = together(&[verdicts[0].clone(), verdicts[2].clone(), verdicts[2].clone()]);
    assert!(says.contains("of 3 sessions that were sealed there 1 have no statement among these"), "{says}");
    assert!(seals(&verdicts[..1]).is_empty());
}

#[test]
fn a_tpm_that_was_set_back_is_seen_by_two_statements() {
    let mut node = Node::new(3).unwrap();
    let one = session(1).seal(&mut node, 5, &[SECOND]).unwrap();
    // Its owner sets it back to before that, and seals another session.
    let mut set_back = Node::new(3).unwrap();
    let two = session(2).seal(&mut set_back, 5, &[2 * SECOND]).unwrap();
    let three = session(3).seal(&mut set_back, 5, &[3 * SECOND]).unwrap();
    let verdicts = [one, two, three].map(|sealed| verdict(&sealed, &[machine(&node)], false));
    for pair in [[0, 1], [2, 0]] {
        let (outcome, says) = together(&pair.map(|index| verdicts[index].clone()));
        assert_eq!(outcome, Outcome::Refused);
        assert!(says.contains("have another seal 1: its TPM was set back"), "{says}");
    }
    assert_eq!(together(&verdicts[1..]).0, Outcome::Proven);
}

#[test]
fn a_session_that_was_sealed_after_its_statement_is_seen_by_another() {
    let mut node = Node::new(3).unwrap();
    let one = session(1).seal(&mut node, 5, &[SECOND]).unwrap();
    let mut more = node.begin([1; 16], 0);
    node.seal(&mut more, one.quoting.asked.log, 7 * SECOND);
    let two = session(2).seal(&mut node, 5, &[9 * SECOND]).unwrap();
    // Seals before a session's opening are earlier than that: with its evidence the second would be refused.
    let verdicts = [one, two].map(|sealed| verdict(&sealed, &[machine(&node)], false));
    let (outcome, says) = together(&verdicts);
    assert_eq!(outcome, Outcome::Refused);
    assert!(says.starts_with("seal 2 of builder is of a session whose statement was sealed as whole before"), "{says}");
}

#[test]
fn statements_of_other_boots_and_machines_are_not_held_against_each_other() {
    let (mut node, mut other) = (Node::new(3).unwrap(), Node::new(4).unwrap());
    let machines = [machine(&node), machine(&other)];
    let one = session(1).seal(&mut node, 5, &[SECOND]).unwrap();
    let elsewhere = session(2).seal(&mut other, 5, &[SECOND]).unwrap();
    node.reset();
    let later = session(3).seal(&mut node, 5, &[SECOND]).unwrap();
    let verdicts = [one, elsewhere, later].map(|sealed| verdict(&sealed, &machines, false));
    assert!(verdicts.iter().all(|verdict| verdict.sealed.is_some()));
    assert!(seals(&verdicts).is_empty());
}
