//! The maps that user space reads and writes.
#![expect(unsafe_code, reason = "membarrier has no safe wrapper")]

use std::borrow::BorrowMut;

use agent_ebpf::{Account, FoldKey, FoldValue, Member, Session, hook};
use aya::maps::{Array, HashMap, MapData, Queue};

use super::{
    Error,
    abi::{Folded, Plain},
    recent::Lines,
    shared::Seats,
};

/// Typed handles.
pub(super) struct Tables {
    pub(super) cpus: u32,
    pub(super) sessions: Array<MapData, Plain<Session>>,
    pub(super) accounts: Array<MapData, Plain<Account>>,
    pub(super) tasks: HashMap<MapData, u32, Plain<Member>>,
    pub(super) seats: Seats,
    pub(super) fold: HashMap<MapData, Plain<FoldKey>, Plain<FoldValue>>,
    pub(super) recent: Lines,
    pub(super) files: HashMap<MapData, Plain<FoldKey>, Plain<FoldValue>>,
    pub(super) cgroups: HashMap<MapData, u64, u32>,
    pub(super) prefixes: HashMap<MapData, u64, u32>,
    pub(super) free_slots: Queue<MapData, u32>,
    pub(super) counters: Array<MapData, u64>,
}

/// Index in the map COUNTERS.
const RENAMES: u32 = 0;
const SERIAL: u32 = 1;
/// Index in the map COUNTERS.
const UNSEEN: u32 = 2;
/// Index in the map COUNTERS.
const UNOPENED: u32 = 3;

impl Tables {
    pub(super) fn set_session(&mut self, slot: u32, session: Session) -> Result<(), Error> {
        self.sessions.set(slot, Plain(session), 0).map_err(Error::map("SESSIONS"))
    }

    pub(super) fn session(&self, slot: u32) -> Result<Session, Error> {
        Ok(self.sessions.get(&slot, 0).map_err(Error::map("SESSIONS"))?.0)
    }

    pub(super) fn renames(&self) -> Result<u64, Error> {
        self.counters.get(&RENAMES, 0).map_err(Error::map("COUNTERS"))
    }

    pub(super) fn next_serial(&mut self) -> Result<u64, Error> {
        let serial = self.counters.get(&SERIAL, 0).map_err(Error::map("COUNTERS"))? + 1;
        self.counters.set(SERIAL, serial, 0).map_err(Error::map("COUNTERS"))?;
        Ok(serial)
    }

    pub(super) fn unseen_outside(&self) -> Result<u64, Error> {
        self.counters.get(&UNSEEN, 0).map_err(Error::map("COUNTERS"))
    }

    pub(super) fn unopened(&self) -> Result<u64, Error> {
        self.counters.get(&UNOPENED, 0).map_err(Error::map("COUNTERS"))
    }

    pub(super) fn adopt(&mut self, pid: u32, member: Member) -> Result<(), Error> {
        // The kernel side looks for a member only where there was a turn.
        self.seats.turn(pid);
        let joined = self.tasks.insert(pid, Plain(member), 0).map_err(Error::map("TASKS"));
        self.seats.turn(pid);
        joined
    }

    pub(super) fn dismiss(&mut self, pid: u32) -> Result<(), Error> {
        let gone = gone_is_fine(self.tasks.remove(&pid), "TASKS");
        self.seats.turn(pid);
        gone
    }

    pub(super) fn follow_cgroup(&mut self, cgroup_id: u64, slot: u32) -> Result<(), Error> {
        self.cgroups.insert(cgroup_id, slot, 0).map_err(Error::map("CGROUPS"))
    }

    pub(super) fn forget_cgroup(&mut self, cgroup_id: u64) -> Result<(), Error> {
        gone_is_fine(self.cgroups.remove(&cgroup_id), "CGROUPS")
    }

    pub(super) fn watch_prefix(&mut self, cgroup_id: u64, parent_slot: u32) -> Result<(), Error> {
        self.prefixes.insert(cgroup_id, parent_slot, 0).map_err(Error::map("PREFIXES"))
    }

    pub(super) fn forget_prefix(&mut self, cgroup_id: u64) -> Result<(), Error> {
        gone_is_fine(self.prefixes.remove(&cgroup_id), "PREFIXES")
    }

    pub(super) fn offer_slot(&mut self, slot: u32) -> Result<(), Error> {
        self.free_slots.push(slot, 0).map_err(Error::map("FREE_SLOTS"))
    }

    pub(super) fn members(&self, serial: u64) -> Result<Vec<(u32, u64)>, Error> {
        let mut members = Vec::new();
        for entry in self.tasks.iter() {
            let (pid, Plain(member)) = entry.map_err(Error::map("TASKS"))?;
            if member.serial == serial {
                members.push((pid, member.start_ns));
            }
        }
        Ok(members)
    }

    fn row(&self, slot: u32, epoch: u32, cpu: u32, hook: u16) -> u32 {
        ((slot * 2 + (epoch & 1)) * self.cpus + cpu) * u32::from(hook::COUNT) + u32::from(hook)
    }

    pub(super) fn account(&self, slot: u32, epoch: u32, cpu: u32, hook: u16) -> Result<Account, Error> {
        Ok(self.accounts.get(&self.row(slot, epoch, cpu, hook), 0).map_err(Error::map("ACCOUNTS"))?.0)
    }

    pub(super) fn clear_account(&mut self, slot: u32, epoch: u32, cpu: u32, hook: u16) -> Result<(), Error> {
        let row = self.row(slot, epoch, cpu, hook);
        self.accounts.set(row, Plain(Account::default()), 0).map_err(Error::map("ACCOUNTS"))
    }

    pub(super) fn take_folded(&mut self, serial: u64, epoch: u32) -> Result<Vec<Folded>, Error> {
        let session = serial | u64::from(epoch) << 48;
        // First: what a program takes out of a line meanwhile to make room, it has added to its key's entry when the line is
        // seen.
        let mut recent = self.recent.take(session);
        let mut folded = Vec::new();
        let mut stale = Vec::new();
        for entry in self.fold.iter() {
            let (key, Plain(value)) = entry.map_err(Error::map("FOLD"))?;
            if key.0.session != session {
                continue;
            }
            stale.push(key);
            let count = value.count + recent.remove(&key).unwrap_or(0);
            if count > 0 {
                folded.push(Folded { hook: value.hook(), cpu: value.cpu(), number: value.number(), count });
            }
        }
        remove_all(&mut self.fold, &stale, "FOLD")?;
        Ok(folded)
    }

    /// Forgets which versions a session has been told, so that its slot and the table's room can be used again.
    pub(super) fn forget_files(&mut self, serial: u64) -> Result<(), Error> {
        let mut stale = Vec::new();
        for key in self.files.keys() {
            let key = key.map_err(Error::map("FILES"))?;
            if key.0.session & 0xffff_ffff_ffff == serial {
                stale.push(key);
            }
        }
        remove_all(&mut self.files, &stale, "FILES")
    }

    pub(super) fn grace_period(&mut self) -> Result<(), Error> {
        // MEMBARRIER_CMD_GLOBAL waits for an RCU grace period. With one CPU online it returns at once, which is right as
        // long as no program of ours can be preempted there.
        const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
        // SAFETY: no pointer is passed.
        let answer = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
        if answer == 0 { Ok(()) } else { Err(Error::Grace(std::io::Error::last_os_error())) }
    }
}

fn gone_is_fine(result: Result<(), aya::maps::MapError>, map: &'static str) -> Result<(), Error> {
    match result {
        Ok(()) | Err(aya::maps::MapError::KeyNotFound) => Ok(()),
        Err(aya::maps::MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(Error::map(map)(error)),
    }
}

fn remove_all<T: BorrowMut<MapData>>(
    map: &mut HashMap<T, Plain<FoldKey>, Plain<FoldValue>>,
    keys: &[Plain<FoldKey>],
    name: &'static str,
) -> Result<(), Error> {
    keys.iter().try_for_each(|key| gone_is_fine(map.remove(key), name))
}
