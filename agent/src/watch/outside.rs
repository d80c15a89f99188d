//! What a session must know of the others beside it. To each of them a task of another is a task outside, which the kernel side
//! sees open its files; what it sees of no call, it can see of nobody's.

use agent_ebpf::{CANARY, hook, name_op};

use super::seats::Seats;
use crate::{
    decode::{Body, Event},
    probe::Probe,
    session::boottime_ns,
};

/// Whether an event of one session says that any file may have been written by what no hook sees: by a truncation of its name, by
/// the 32-bit entry, through a ring.
pub(super) fn may_write_unseen(event: &Event) -> bool {
    match &event.body {
        // The agent's own known acts are done to files of its own.
        _ if event.head.serial & CANARY != 0 => false,
        Body::Name { fixed, .. } => fixed.operation == name_op::TRUNCATE,
        Body::Attention(_) => true,
        _ => false,
    }
}

/// Before a session is settled: where events of that kind were lost in another, one of them may have been such, and where they were in
/// this one, the others have to know.
pub(super) fn lost_elsewhere(seats: &mut Seats, probe: &Probe, slot: u32) -> anyhow::Result<()> {
    let mut losers = Vec::new();
    for watched in seats.iter() {
        let rows = probe.accounts(watched.slot(), 0)?;
        let mut those = rows.iter().filter(|(_, of, _)| [hook::TRUNCATE, hook::ATTENTION].contains(of));
        if those.any(|(_, _, account)| account.lost > 0) {
            losers.push(watched.slot());
        }
    }
    let now = boottime_ns();
    for watched in seats.iter_mut() {
        let own = watched.slot();
        let of_others = losers.iter().any(|loser| *loser != own);
        if of_others && (own == slot || losers.contains(&slot)) {
            watched.unseen_writer(now);
        }
    }
    Ok(())
}
