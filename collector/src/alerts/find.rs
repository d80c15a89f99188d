//! Which alerts there are of a statement that was kept, and of what did not come.

use attestation::{codes, hex, time};

use super::Alert;
use crate::index::{Added, Broken};

/// Codes that are named in a sentence at most.
const NAMED_MAX: usize = 5;

/// Of a statement that is in the index now. What is missing in its chain is told later, unless it comes.
pub(crate) fn of_statement(added: &Added, unverified_images: bool) -> Vec<Alert> {
    let alert = |code: &str, says: String| Alert {
        code: code.to_owned(),
        count: 1,
        says,
        host: Some(added.kept.host.clone()),
        peer: Some(added.kept.peer.clone()),
        payload_sha256: Some(hex::encode(&added.kept.payload_sha256)),
        session: Some(added.facts.session[0].clone()),
        ..Alert::default()
    };
    let mut alerts = Vec::new();
    for broken in &added.broken {
        if let Broken::Fork(number) = broken {
            alerts.push(alert(
                codes::CHAIN_FORKED,
                format!("the chain of its signer says two things at number {number}"),
            ));
        }
    }
    if added.facts.lost > 0 {
        let count = added.facts.lost;
        alerts.push(Alert { count, ..alert(codes::LOST_EVENTS, format!("{count} events of the session were lost")) });
    }
    if !added.kept.complete {
        let mut named: Vec<&str> =
            added.facts.gaps.iter().filter(|gap| gap.ends_completeness).map(|gap| gap.code.as_str()).collect();
        named.sort_unstable();
        named.dedup();
        let more = if named.len() > NAMED_MAX { " and more" } else { "" };
        named.truncate(NAMED_MAX);
        alerts.push(alert(codes::INCOMPLETE, format!("the statement is incomplete: {}{more}", named.join(", "))));
    }
    for gap in added.facts.gaps.iter().filter(|gap| gap.code == codes::STATEMENTS_DROPPED) {
        let says = format!("the node dropped {} statements from its spool ({})", gap.count, gap.detail);
        alerts.push(Alert { count: gap.count, ..alert(codes::STATEMENTS_DROPPED, says) });
    }
    if let Some(image) = added.facts.image.as_ref().filter(|_| unverified_images) {
        let says = format!("nobody verified the image {}", image.reference);
        alerts.push(alert(codes::IMAGE_NOT_VERIFIED, says));
    }
    alerts
}

/// Of numbers that nobody sent.
pub(crate) fn of_missing(host: String, signer: &str, [first, last]: [u64; 2]) -> Alert {
    Alert {
        code: codes::STATEMENTS_MISSING.to_owned(),
        count: last.saturating_sub(first).saturating_add(1),
        says: format!("numbers {first} to {last} of the chain of {signer} were not sent"),
        host: Some(host),
        ..Alert::default()
    }
}

/// Of a host that is silent.
pub(crate) fn of_silent(host: String, heard_s: u64) -> Alert {
    let says = format!("no statement of this host was kept since {}", time::utc(heard_s));
    Alert { code: codes::HOST_SILENT.to_owned(), count: 1, says, host: Some(host), ..Alert::default() }
}
