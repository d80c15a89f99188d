//! The kernel side, from user space: the only room that knows aya, and the only one with `unsafe`.
//!
//! It loads the programs with the offsets of the running kernel, attaches for each observation the strongest hook that the
//! kernel grants, and hands out raw records, accounts and folded counts. Only `session` tells it what to do.

mod abi;
mod asked;
mod attach;
mod btf;
mod calls;
pub mod census;
mod costs;
mod hooks;
pub mod lease;
mod load;
mod network;
mod object;
mod recent;
mod ring;
mod root;
mod shared;
mod table;
mod truncate;
pub mod verity;

use std::{collections::BTreeSet, os::fd::BorrowedFd};

pub use abi::Folded;
use agent_ebpf::{Account, Member, Session, hook};
pub use asked::{
    ask_for_event, ask_for_key, call_bpf, control, look_at, make_queue, make_semaphore, make_user_namespace, map,
    protect, share_memory, trace_a_child,
};
pub(crate) use calls::name as call_name;
pub use costs::Cost;
pub use hooks::{Attached, Limits, optional};
pub use load::{Error, cgroup_root, may_load};
pub use network::{own_ipc, own_network};
pub use root::namespace_root;
use table::Tables;
pub use truncate::truncate;

/// The loaded and attached kernel side.
pub struct Probe {
    ebpf: aya::Ebpf,
    ring: ring::Ring,
    tables: Tables,
    hooks: Vec<Attached>,
    /// SHA-256 of the object file that the programs came from.
    object_sha256: [u8; 32],
}

impl Probe {
    /// Loads and attaches.
    pub fn start(limits: &Limits) -> Result<Self, Error> {
        load::start(limits)
    }

    /// What is attached, a row a hook.
    pub fn hooks(&self) -> &[Attached] {
        &self.hooks
    }

    /// SHA-256 of the object file that the programs came from.
    pub fn object_sha256(&self) -> [u8; 32] {
        self.object_sha256
    }

    /// Numbers of the programs that were loaded here. Each is attached.
    pub fn own_programs(&self) -> BTreeSet<u32> {
        self.ebpf.programs().filter_map(|(_, program)| Some(program.info().ok()?.id())).collect()
    }

    /// What each program costs.
    pub fn costs(&self) -> Vec<Cost> {
        costs::costs(&self.ebpf)
    }

    /// Hands every record that waits in the ring to `take`, whole; returns how many.
    pub fn drain(&mut self, take: impl FnMut(&[u8])) -> usize {
        self.ring.drain(take)
    }

    /// Sleeps until the ring holds much, or `milliseconds` have passed.
    pub fn wait(&self, milliseconds: i32) -> Result<(), Error> {
        self.ring.wait(milliseconds, None)
    }

    /// The same, or until another descriptor has something to read.
    pub fn wait_with(&self, milliseconds: i32, other: BorrowedFd<'_>) -> Result<(), Error> {
        self.ring.wait(milliseconds, Some(other))
    }

    /// Sets a slot's session; takes effect for every event from now on.
    pub fn set_session(&mut self, slot: u32, session: Session) -> Result<(), Error> {
        self.tables.set_session(slot, session)
    }

    /// A slot's session as the kernel side has it.
    pub fn session(&self, slot: u32) -> Result<Session, Error> {
        self.tables.session(slot)
    }

    /// Renames that the host has seen, by the hook that counts them.
    pub fn renames(&self) -> Result<u64, Error> {
        self.tables.renames()
    }

    /// A serial that no session of this loader had.
    pub fn next_serial(&mut self) -> Result<u64, Error> {
        self.tables.next_serial()
    }

    /// How often a task of no session made a call by which it may have written a file, nobody can say which.
    pub fn unseen_outside(&self) -> Result<u64, Error> {
        self.tables.unseen_outside()
    }

    /// How many cgroups were made below a watched one while there was no slot for a session of theirs.
    pub fn unopened(&self) -> Result<u64, Error> {
        self.tables.unopened()
    }

    /// Makes a process a member.
    pub fn adopt(&mut self, pid: u32, member: Member) -> Result<(), Error> {
        self.tables.adopt(pid, member)
    }

    /// Tasks that enter this cgroup become members of the slot's session.
    pub fn follow_cgroup(&mut self, cgroup_id: u64, slot: u32) -> Result<(), Error> {
        self.tables.follow_cgroup(cgroup_id, slot)
    }

    /// No task that enters this cgroup becomes a member any more.
    pub fn forget_cgroup(&mut self, cgroup_id: u64) -> Result<(), Error> {
        self.tables.forget_cgroup(cgroup_id)
    }

    /// A cgroup made directly below this one opens a provisional session, child of the slot's.
    pub fn watch_prefix(&mut self, cgroup_id: u64, parent_slot: u32) -> Result<(), Error> {
        self.tables.watch_prefix(cgroup_id, parent_slot)
    }

    /// Nothing is opened below this cgroup any more.
    pub fn forget_prefix(&mut self, cgroup_id: u64) -> Result<(), Error> {
        self.tables.forget_prefix(cgroup_id)
    }

    /// Lends a slot to the kernel side for a provisional session.
    pub fn offer_slot(&mut self, slot: u32) -> Result<(), Error> {
        self.tables.offer_slot(slot)
    }

    /// Members of a session that live now: process and start.
    pub fn members(&self, serial: u64) -> Result<Vec<(u32, u64)>, Error> {
        self.tables.members(serial)
    }

    /// Forgets the members of a session.
    pub fn dismiss(&mut self, serial: u64) -> Result<(), Error> {
        for (pid, _) in self.members(serial)? {
            self.tables.dismiss(pid)?;
        }
        Ok(())
    }

    /// Returns when every program that ran at the call has ended: none of ours sleeps, so an RCU grace period does.
    pub fn grace_period(&mut self) -> Result<(), Error> {
        self.tables.grace_period()
    }

    /// The accounts of a closed epoch: (CPU, hook, account), those with an attempt, and for a hook without any that of the
    /// first CPU: a hook that saw nothing says so.
    pub fn accounts(&self, slot: u32, epoch: u32) -> Result<Vec<(u32, u16, Account)>, Error> {
        let mut rows = Vec::new();
        for attached in &self.hooks {
            let before = rows.len();
            for cpu in 0..self.tables.cpus {
                let account = self.tables.account(slot, epoch, cpu, attached.hook)?;
                if account.attempted != 0 {
                    rows.push((cpu, attached.hook, account));
                }
            }
            if rows.len() == before {
                rows.push((0, attached.hook, Account::default()));
            }
        }
        Ok(rows)
    }

    /// Zeroes the accounts of an epoch, before its parity is used again.
    pub fn clear_accounts(&mut self, slot: u32, epoch: u32) -> Result<(), Error> {
        for cpu in 0..self.tables.cpus {
            for hook in 1..hook::COUNT {
                self.tables.clear_account(slot, epoch, cpu, hook)?;
            }
        }
        Ok(())
    }

    /// Takes the repeats of an epoch out of the tables they are folded in, those that were counted.
    pub fn take_folded(&mut self, serial: u64, epoch: u32) -> Result<Vec<Folded>, Error> {
        self.tables.take_folded(serial, epoch)
    }

    /// Forgets which versions a session has been told.
    pub fn forget_files(&mut self, serial: u64) -> Result<(), Error> {
        self.tables.forget_files(serial)
    }

    /// How often the kernel skipped the programs behind a hook since they were attached; none where it does not tell. A
    /// program and its spare were both skipped for an event at most as often as the one that was skipped less.
    pub fn misses(&self, attached: &Attached) -> Option<u64> {
        let of = |program: &&'static str| {
            let spare = hooks::spare(program).and_then(|spare| self.misses_of(spare));
            self.misses_of(program).map(|misses| spare.map_or(misses, |spare| misses.min(spare)))
        };
        attached.programs.iter().map(of).sum()
    }

    fn misses_of(&self, program: &str) -> Option<u64> {
        let program = self.ebpf.program(program)?;
        // The kernel runs LSM and cgroup programs inside themselves too: none is skipped, and it counts nothing.
        if matches!(program, aya::programs::Program::Lsm(_) | aya::programs::Program::CgroupSockAddr(_)) {
            return Some(0);
        }
        costs::field_of(&program.info().ok()?, "recursion_misses:")
    }
}
