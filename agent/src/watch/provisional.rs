//! A session that the kernel side opened by itself, when a cgroup was made below a watched one: its events wait here until it is known
//! what it is, the first one of its first process with all others.

use std::time::{Duration, Instant};

use super::hierarchy::Subject;
use crate::decode::{Body, Event};

/// Events that wait.
const EVENTS_MAX: usize = 65_536;
/// How long a cgroup may stay empty before its session is opened without knowing its first process: a runtime makes it and moves
/// that in.
const EMPTY_MAX: Duration = Duration::from_secs(10);

/// The session, and what was told of it.
pub(super) struct Provisional {
    pub(super) slot: u32,
    pub(super) serial: u64,
    pub(super) cgroup_id: u64,
    pub(super) parent_id: u64,
    /// Last component of its path.
    pub(super) name: Vec<u8>,
    pub(super) events: Vec<Event>,
    /// The first process that entered, and when that began.
    pub(super) root: Option<(u32, u64)>,
    pub(super) made_ns: u64,
    /// What its cgroup is, and that one's path, once somebody looked.
    pub(super) subject: Option<(Subject, String)>,
    since: Instant,
}

impl Provisional {
    /// Of the event that tells its making; any other is of a session that is over.
    pub(super) fn of(event: Event) -> Option<Self> {
        let Body::Provisional { fixed, name } = &event.body else { return None };
        Some(Self {
            slot: event.head.slot,
            serial: event.head.serial,
            cgroup_id: fixed.cgroup_id,
            parent_id: fixed.parent_id,
            name: name.clone(),
            root: None,
            made_ns: event.head.boottime_ns,
            subject: None,
            since: Instant::now(),
            events: vec![event],
        })
    }

    /// Slot, serial and cgroup.
    pub(super) fn place(&self) -> (u32, u64, u64) {
        (self.slot, self.serial, self.cgroup_id)
    }

    /// Takes an event of its slot. What is beyond the limit is missing in the account of what was delivered, and shows there.
    pub(super) fn take(&mut self, event: Event) {
        if event.head.serial != self.serial {
            return;
        }
        if let (None, Body::Joined(joined)) = (self.root, &event.body) {
            self.root = Some((event.head.pid, joined.start_ns));
        }
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }

    /// Whether it is known what it is, and its first process entered, or none will for now.
    pub(super) fn is_known(&self) -> bool {
        self.subject.is_some() && (self.root.is_some() || self.since.elapsed() > EMPTY_MAX)
    }
}
