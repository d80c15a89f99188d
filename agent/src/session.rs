//! Whose event it is, and what it becomes in the log: the only room that tells the kernel side what to do.
//!
//! A session opens a slot, turns decoded events into frames (giving every file version an id of the session), hands
//! accesses to the hashers, and closes by the one end protocol: no more events, a grace period, the ring drained, the
//! accounts and the folded repeats read.

mod consequences;
mod files;
mod frames;
mod held;
pub mod host;
mod names;
mod renames;
#[cfg(test)]
mod tests;

pub use names::{boottime_ns, grain_ns, start_ns};

use std::{collections::HashMap, sync::Arc};

use agent_ebpf::{CANARY, Member, Session as Slot, flag, hook, state};
use attestation::codes;
use proto::evidence::{
    BlindSpot, Canary, Directive, Folded, HookAccount, HookMisses, SessionClosed, SessionOpened, Survivor, frame::Body,
};

use crate::{
    content::Content,
    decode::{self, Event},
    evidence::{self, Log},
    probe::{self, Attached, Probe},
    redact::Redaction,
};

use files::Files;
use held::Held;
use renames::Renames;

/// Details of undecodable records that are kept; more of them are only counted.
const FAULTS_MAX: u64 = 16;
/// Of USER_HZ, 100 on x86-64.
const TICK_NS: u64 = 10_000_000;

/// Why a session could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel side failed.
    #[error(transparent)]
    Probe(#[from] probe::Error),
    /// The log could not be written.
    #[error(transparent)]
    Evidence(#[from] evidence::Error),
}

/// An open session.
pub struct Session {
    slot: u32,
    serial: u64,
    epoch: u32,
    cgroup_id: Option<u64>,
    files: Files,
    redaction: Arc<Redaction>,
    held: Held,
    live: HashMap<u32, u64>,
    faults: u64,
    foreign: u64,
    root_pid: u32,
    root_status: Option<u32>,
    /// Hook and time of the known acts that were told since the last round.
    told: Vec<(u16, u64)>,
    renames: Renames,
    /// What the kernel side had counted when the session began.
    unseen_outside: u64,
    /// Members that were there at the end, and those whose process id was seen to be another's.
    left: u64,
    /// By hook, how often the kernel had skipped its programs before the session began.
    missed_before: Vec<(u16, u64)>,
}

impl Session {
    /// Takes a slot. Nothing is a member yet.
    pub fn open(
        probe: &mut Probe,
        log: &mut Log,
        slot: u32,
        opened: SessionOpened,
        redaction: Arc<Redaction>,
    ) -> Result<Self, Error> {
        let serial = probe.next_serial()?;
        let session = Self::begin(probe, log, (slot, serial), opened, redaction)?;
        let fresh = Slot { serial, epoch: 0, state: state::OPEN, parent: u32::MAX, reported: 0, cgroup_id: 0 };
        probe.clear_accounts(slot, 0)?;
        probe.set_session(slot, fresh)?;
        Ok(session)
    }

    /// Takes over a slot that the kernel side opened by itself, for tasks of this cgroup.
    pub fn take_over(
        probe: &mut Probe,
        log: &mut Log,
        (slot, serial, cgroup_id): (u32, u64, u64),
        opened: SessionOpened,
        redaction: Arc<Redaction>,
    ) -> Result<Self, Error> {
        let mut session = Self::begin(probe, log, (slot, serial), opened, redaction)?;
        session.cgroup_id = Some(cgroup_id);
        let mut named = probe.session(slot)?;
        named.state = state::OPEN;
        probe.set_session(slot, named)?;
        Ok(session)
    }

    fn begin(
        probe: &Probe,
        log: &mut Log,
        (slot, serial): (u32, u64),
        opened: SessionOpened,
        redaction: Arc<Redaction>,
    ) -> Result<Self, Error> {
        let boottime_ns = opened.opened_boottime_ns;
        let root_pid = opened.root_pid;
        log.append(Body::Opened(opened))?;
        log.append(order("open", 0, "the session begins", boottime_ns))?;
        Ok(Self {
            slot,
            serial,
            epoch: 0,
            cgroup_id: None,
            files: Files::default(),
            redaction,
            held: Held::default(),
            live: HashMap::new(),
            faults: 0,
            foreign: 0,
            root_pid,
            root_status: None,
            told: Vec::new(),
            renames: Renames::new(look_at_renames(probe)?),
            unseen_outside: probe.unseen_outside()?,
            left: 0,
            missed_before: missed(probe),
        })
    }

    /// Makes a process a member, as the session's root.
    pub fn adopt(&mut self, probe: &mut Probe, pid: u32, start_ns: u64) -> Result<(), Error> {
        probe.adopt(pid, Member { start_ns, ..Member::of(self.serial, self.slot) })?;
        self.live.insert(pid, start_ns);
        Ok(())
    }

    /// Makes a process one that performs known acts in the session: no part of it, but seen by its hooks.
    pub fn adopt_canary(&mut self, probe: &mut Probe, pid: u32, start_ns: u64) -> Result<(), Error> {
        Ok(probe.adopt(pid, Member { start_ns, ..Member::of(self.serial | CANARY, self.slot) })?)
    }

    /// Whether every hook has told as many known acts as the round has.
    pub fn has_told(&self, round: &Canary) -> bool {
        let of_round = |at: u64| (round.began_boottime_ns..=round.ended_boottime_ns).contains(&at);
        let told = |hook: u32| self.told.iter().filter(|(by, at)| u32::from(*by) == hook && of_round(*at)).count();
        round.acts.iter().all(|act| told(act.hook) as u64 >= u64::from(act.count))
    }

    /// Enters a round of known acts, whose events have been drained: for each hook how many it must have seen.
    pub fn round(&mut self, log: &mut Log, round: Canary) -> Result<(), Error> {
        self.told.retain(|(_, at)| *at > round.ended_boottime_ns);
        Ok(log.append(Body::Canary(round))?)
    }

    /// Whether the host's renames, of which rounds that began then made so many, were counted. No event tells it; where they are not,
    /// folded repeats may be of other paths.
    pub fn renamed(&mut self, probe: &Probe, log: &mut Log, began_ns: u64, times: u64) -> Result<(), Error> {
        if !self.renames.grew(began_ns, times, look_at_renames(probe)?) {
            log.append(blind_spot(codes::PROGRAM_CHANGED, "renames are not counted", true))?;
        }
        Ok(())
    }

    /// Looks at the count of the host's renames before a round that is to be asked for: those that others made until now say nothing of it.
    pub fn before_round(&mut self, probe: &Probe) -> Result<(), Error> {
        self.renames.look(look_at_renames(probe)?);
        Ok(())
    }

    /// Follows a cgroup.
    pub fn follow_cgroup(&mut self, probe: &mut Probe, cgroup_id: u64) -> Result<(), Error> {
        self.cgroup_id = Some(cgroup_id);
        Ok(probe.follow_cgroup(cgroup_id, self.slot)?)
    }

    /// Takes everything that waits in the ring.
    pub fn drain(&mut self, probe: &mut Probe, log: &mut Log, content: &mut Content) -> Result<usize, Error> {
        let mut failed = None;
        let records = probe.drain(|bytes| {
            if failed.is_none() {
                failed = self.record(bytes, log, content).err();
            }
        });
        failed.map_or(Ok(records), Err)
    }

    /// Its number in the kernel.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Its place in the kernel's tables.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Processes that live, as the events tell it.
    pub fn living(&self) -> usize {
        self.live.len()
    }

    /// The root's status as the kernel side saw it.
    pub fn root_status(&self) -> Option<u32> {
        self.root_status
    }

    fn record(&mut self, bytes: &[u8], log: &mut Log, content: &mut Content) -> Result<(), Error> {
        match decode::decode(bytes) {
            Ok(event) => self.take(event, log, content),
            Err(error) => self.undecodable(&error, log, content),
        }
    }

    /// Takes an event. One of another session is only counted.
    pub fn take(&mut self, event: Event, log: &mut Log, content: &mut Content) -> Result<(), Error> {
        if event.head.serial == self.serial {
            self.event(event, log, content)
        } else if event.head.serial == self.serial | CANARY {
            self.told.push((event.head.hook, event.head.boottime_ns));
            Ok(log.append(frames::canary(&event.head))?)
        } else {
            self.foreign += 1;
            Ok(())
        }
    }

    /// Takes a record that nobody understands: it may have been of any session.
    pub fn undecodable(&mut self, error: &decode::Error, log: &mut Log, content: &mut Content) -> Result<(), Error> {
        self.faults += 1;
        content.lost();
        if self.faults <= FAULTS_MAX {
            log.append(blind_spot(codes::DECODE_FAILED, &error.to_string(), true))?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event, log: &mut Log, content: &mut Content) -> Result<(), Error> {
        self.follow(&event);
        let (frame, spot) = frames::of(event, &mut self.files, &self.live, content);
        if self.redaction.rules() == 0 {
            log.append(Body::Event(frame))?;
        } else {
            for frame in self.held.take(frame, &self.redaction) {
                log.append(Body::Event(frame))?;
            }
        }
        match spot {
            Some(spot) => Ok(log.append(known_spot(spot))?),
            None => Ok(()),
        }
    }

    /// Keeps the list of living processes.
    fn follow(&mut self, event: &Event) {
        let pid = event.head.pid;
        match &event.body {
            decode::Body::Fork(fork) => {
                let before = self.live.insert(fork.child_pid, fork.child_start_ns);
                self.left += u64::from(before.is_some_and(|start_ns| differ(start_ns, fork.child_start_ns)));
            }
            decode::Body::Joined(joined) => {
                let before = self.live.insert(pid, joined.start_ns);
                self.left += u64::from(before.is_some_and(|start_ns| differ(start_ns, joined.start_ns)));
            }
            decode::Body::Exit(exit) => {
                let before = self.live.remove(&pid);
                self.left += u64::from(before.is_none_or(|start_ns| differ(start_ns, exit.start_ns)));
                if pid == self.root_pid {
                    self.root_status = Some(exit.status);
                }
            }
            _ => {}
        }
    }

    /// Ends the taking of events: closes the slot, waits until every program that saw it open is through, drains the
    /// ring, reads accounts and repeats. Returns whether processes were left.
    pub fn close(&mut self, probe: &mut Probe, log: &mut Log, content: &mut Content) -> Result<bool, Error> {
        let survivors = self.shut(probe)?;
        self.drain(probe, log, content)?;
        self.account(&survivors, probe, log, content)?;
        Ok(!survivors.is_empty())
    }

    /// Takes no more events, and waits until every program that saw the session open is through: the ring has all that it will
    /// have. Returns the processes that are left, with their starts.
    pub fn shut(&mut self, probe: &mut Probe) -> Result<Vec<(u32, u64)>, Error> {
        let survivors = probe.members(self.serial)?;
        self.left += survivors.len() as u64;
        let mut slot = probe.session(self.slot)?;
        slot.state = state::CLOSED;
        probe.set_session(self.slot, slot)?;
        probe.grace_period()?;
        Ok(survivors)
    }

    /// Reads accounts and repeats, when the ring was drained after the session was shut, and gives back what the kernel side kept
    /// for it.
    pub fn account(
        &mut self,
        survivors: &[(u32, u64)],
        probe: &mut Probe,
        log: &mut Log,
        content: &mut Content,
    ) -> Result<(), Error> {
        for frame in self.held.rest() {
            log.append(Body::Event(frame))?;
        }
        if probe.unseen_outside()? != self.unseen_outside {
            content.unseen_writer(boottime_ns());
        }
        log.append(order("close", self.epoch, "the session ends", boottime_ns()))?;
        for (cpu, hook, account) in probe.accounts(self.slot, self.epoch)? {
            if account.lost > 0 {
                content.lost();
            }
            log.append(Body::Account(HookAccount {
                epoch: self.epoch,
                hook: hook.into(),
                cpu,
                attempted: account.attempted,
                coalesced: account.coalesced,
                lost: account.lost,
                truncated: account.truncated,
            }))?;
        }
        for folded in probe.take_folded(self.serial, self.epoch)? {
            log.append(Body::Folded(Folded {
                epoch: self.epoch,
                hook: folded.hook,
                cpu: folded.cpu,
                number: folded.number,
                count: folded.count,
            }))?;
        }
        for (pid, start_ns) in survivors {
            log.append(Body::Survivor(Survivor { pid: *pid, start_ns: *start_ns }))?;
        }
        self.confess(log)?;
        if let Some(cgroup_id) = self.cgroup_id {
            probe.forget_cgroup(cgroup_id)?;
        }
        probe.dismiss(self.serial)?;
        probe.dismiss(self.serial | CANARY)?;
        Ok(probe.forget_files(self.serial)?)
    }

    /// What went wrong on the way.
    fn confess(&mut self, log: &mut Log) -> Result<(), Error> {
        if self.faults > FAULTS_MAX {
            log.append(blind_spot(codes::DECODE_FAILED, &format!("{} records in all", self.faults), true))?;
        }
        if log.full() {
            let detail = format!("the disk was full: {} frames were dropped", log.dropped());
            log.append(blind_spot(codes::EVIDENCE_NOT_WRITTEN, &detail, true))?;
        }
        Ok(())
    }

    /// The last frame: nothing follows it.
    pub fn seal(&self, probe: &Probe, log: &mut Log, closed: SessionClosed) -> Result<(), Error> {
        Ok(log.append(Body::Closed(SessionClosed { misses: self.all_misses(probe), ..closed }))?)
    }

    /// How often the kernel skipped programs, for the session perhaps, by hook.
    pub fn all_misses(&self, probe: &Probe) -> Vec<HookMisses> {
        let misses = probe.hooks().iter().map(|attached| {
            let misses = self.misses(probe, attached);
            HookMisses { hook: attached.hook.into(), known: misses.is_some(), misses: misses.unwrap_or(0) }
        });
        misses.collect()
    }

    /// How often the kernel skipped the programs behind a hook, for the session perhaps. A skipped exit of a member leaves
    /// the member behind, until the end or until another process has its id, whose start is another. So there were no more
    /// of those than were left; all others were of tasks outside.
    fn misses(&self, probe: &Probe, attached: &Attached) -> Option<u64> {
        let before =
            self.missed_before.iter().find(|(hook, _)| *hook == attached.hook).map_or(0, |(_, misses)| *misses);
        let misses = probe.misses(attached)?.saturating_sub(before);
        Some(if attached.hook == hook::EXIT { misses.min(self.left) } else { misses })
    }
}

/// By hook, how often the kernel has skipped its programs.
fn missed(probe: &Probe) -> Vec<(u16, u64)> {
    probe.hooks().iter().filter_map(|attached| Some((attached.hook, probe.misses(attached)?))).collect()
}

/// A blind spot's frame, of a code that says itself whether it ends completeness.
pub fn known_spot((code, detail): (&str, String)) -> Body {
    blind_spot(code, &detail, codes::find(code).is_none_or(codes::Code::ends_completeness))
}

/// A blind spot's frame.
pub fn blind_spot(code: &str, detail: &str, ends_completeness: bool) -> Body {
    Body::BlindSpot(BlindSpot { code: code.to_owned(), detail: detail.to_owned(), ends_completeness })
}

/// How many renames were counted, and when that was known.
fn look_at_renames(probe: &Probe) -> Result<(u64, u64), Error> {
    let count = probe.renames()?;
    Ok((boottime_ns(), count))
}

/// Whether two starts are of two processes; what /proc says of one is cut to a tick.
fn differ(one_ns: u64, other_ns: u64) -> bool {
    one_ns.abs_diff(other_ns) >= TICK_NS
}

fn order(order: &str, epoch: u32, cause: &str, boottime_ns: u64) -> Body {
    Body::Directive(Directive { order: order.to_owned(), epoch, cause: cause.to_owned(), boottime_ns })
}

/// Whether an event's name comes from memory that the program could change, where that says something of content.
fn weak_truncation(head: &decode::Head, level: u32) -> bool {
    head.hook == hook::TRUNCATE && level == agent_ebpf::level::USER_ARGUMENT && head.flags & flag::OBJECT_FAULT == 0
}
