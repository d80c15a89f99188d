//! Inodes that a session writes, watched for writers from outside.

use agent_ebpf::{InodeKey, Member, Outside, Watch, hook, kind};
use aya_ebpf::bindings::BPF_ANY;

use crate::{
    account,
    globals::{WATCH, offset},
    kernel::read,
    member,
};

/// In a `struct file`: open for writing.
pub(crate) const FMODE_WRITE: u32 = 0x2;

/// Remembers an inode that the session writes, so that a writer from outside is seen. False where the table is full.
#[inline(always)]
pub(crate) fn watch(member: &Member, inode: u64) -> bool {
    watch_inode(member.serial, member.slot, inode) != 0
}

/// Global, as [`account::attend`] is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn watch_inode(serial: u64, slot: u32, inode: u64) -> u32 {
    // A number that a removed file had may be given to another: the generation tells them apart.
    let generation: u32 = read(inode, offset!(inode_generation));
    let sb: u64 = read(inode, offset!(inode_sb));
    let key = InodeKey { ino: read(inode, offset!(inode_ino)), dev: read(sb, offset!(sb_dev)), reserved: 0 };
    // SAFETY: the entry is freed by RCU.
    if let Some(owner) = unsafe { WATCH.get(&key) }.copied() {
        if owner.generation == generation {
            if owner.serial == serial {
                return 1;
            }
            outside(&owner, &key, 0);
        }
    }
    let value = Watch { serial, slot, generation };
    u32::from(WATCH.insert(&key, &value, u64::from(BPF_ANY)).is_ok())
}

/// A task of no session opened a file, for writing perhaps.
#[inline(always)]
pub(crate) fn opened_outside(file: u64) {
    if read::<u32>(file, offset!(file_mode)) & FMODE_WRITE != 0 {
        watch_written(read(file, offset!(file_inode)));
    }
}

/// A task of no session truncates a file by its name, which needs no open.
#[inline(always)]
pub(crate) fn truncated_outside(dentry: u64) {
    watch_written(read(dentry, offset!(dentry_inode)));
}

/// Global, as [`account::attend`] is; nobody asks for the 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn watch_written(inode: u64) -> u32 {
    let sb: u64 = read(inode, offset!(inode_sb));
    let key = InodeKey { ino: read(inode, offset!(inode_ino)), dev: read(sb, offset!(sb_dev)), reserved: 0 };
    // SAFETY: the entry is freed by RCU.
    if let Some(owner) = unsafe { WATCH.get(&key) }.copied() {
        if owner.generation == read::<u32>(inode, offset!(inode_generation)) {
            outside(&owner, &key, 0);
        } else {
            let _ = WATCH.remove(&key);
            outside(&owner, &key, 1);
        }
    }
    0
}

#[inline(always)]
fn outside(owner: &Watch, key: &InodeKey, reused: u32) {
    watch_outside(owner.serial, owner.slot, key.ino, key.dev, reused);
}

/// Global, as [`account::attend`] is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn watch_outside(serial: u64, slot: u32, ino: u64, dev: u32, reused: u32) -> u32 {
    let Some(ticket) = account::take(&Member::of(serial, slot), hook::OUTSIDE) else { return 0 };
    let (pid, tid) = member::current_ids();
    u32::from(account::send(&ticket, kind::OUTSIDE, pid, tid, Outside { ino, dev, reused }))
}
