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
